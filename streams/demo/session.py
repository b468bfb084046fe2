"""One demo from an empty folder to the last answer: brings the stack up, lets the driver run, takes it down."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson

from streams.config import Config, parse_config
from streams.demo.concurrency import alongside
from streams.demo.display import Display
from streams.demo.driver import DemoFailed, Driver, new_model, tick
from streams.demo.model import DemoModel, ProcessLine
from streams.demo.outcome import Outcome
from streams.demo.queries import Answer, Query
from streams.demo.settings import Options, configuration
from streams.queryserver import ask
from streams.supervisor import LocalStack

FRAMES_PER_SEC = 5


class DemoStack:
    """The supervised stack, as the driver sees it."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    @property
    def config(self) -> Config:
        return self._stack.config

    def processes(self) -> list[ProcessLine]:
        return [ProcessLine(p.name, p.pid, p.state) for p in self._stack.processes()]

    async def query(self, query: Query) -> Answer:
        """Ask the record worker, which owns the store. Raises QueryFailed, OSError."""
        answer = orjson.loads(await asyncio.to_thread(ask, self.config.state_dir, query.sql))
        names = tuple(str(column["name"]) for column in answer["meta"])
        return Answer(query, names, tuple(tuple(row) for row in answer["data"]))


async def run_session(options: Options, display: Display) -> Outcome:
    """The whole demo.

    Raises:
        DemoFailed: it did not get to its end; the folder with the logs stays and is named.
        StackError, BrokerUnreachable: the stack could not be started.
    """
    with _folder(options.keep) as folder:
        config = parse_config(configuration(folder, "127.0.0.1:0"))
        model = new_model(config.base_window_ms)

        def tell(line: str) -> None:
            model.doing = line
            display.say(model, line)

        supervised = LocalStack(config, tell=tell)
        stack = DemoStack(supervised)
        tick(model, stack.processes())
        tell("starting the broker, the detect and record workers and chDB")
        async with supervised:
            outcome = await alongside(
                _drive(supervised, Driver(options, stack, display, model)),
                supervised.ended(),
                _refresh(model, display, stack),
            )
            display.freeze(model)
            return outcome


async def _drive(supervised: LocalStack, driver: Driver) -> Outcome:
    await supervised.ready()
    return await driver.run()


async def _refresh(model: DemoModel, display: Display, stack: DemoStack) -> None:
    while True:
        tick(model, stack.processes())
        display.refresh(model)
        await asyncio.sleep(1 / FRAMES_PER_SEC)


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Where state and logs are: the user's folder, or a temporary one that stays only when the demo failed."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="tidewatch-demo-"))
    try:
        yield folder
    except DemoFailed as error:
        raise DemoFailed(f"{error}\n  state and logs are in {folder}") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
