"""The embedded broker's log is replaced by an empty one in the middle of the traffic, as at its memory ceiling."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from typing import Final

from streams.config import Config
from streams.renewal import End, move
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import tansu
from tests.recovery.rig.run import Run, end_ms, offline, traffic
from tests.recovery.rig.verdict import RESULTS, compare, results
from tests.support.brokers import make_topics
from tests.support.processes import Child

PARTITIONS: Final = 4
FEED_SECS: Final = 6.0


class _Renewed:
    """A run whose broker is replaced: same state, same groups, another log."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.said: dict[str, list[bytes]] = {topic: [] for topic in RESULTS}

    def keep_results(self) -> None:
        for topic in RESULTS:
            self.said[topic] += self.run.read(topic)

    def renew(self, stack: ExitStack) -> int:
        """Returns how many records went along."""
        old = _end(self.run.config)
        self.keep_results()
        broker = stack.enter_context(tansu())
        state_dir = self.run.config.state_dir
        self.run.config = broker.config(state_dir, **self.run.sections)
        self.run.config_file = broker.write_config(self.run.config_file, state_dir, **self.run.sections)
        asyncio.run(make_topics(self.run.config))
        return asyncio.run(move(self.run.config, old, _end(self.run.config)))


def _end(config: Config) -> End:
    from streams.client import cluster_id

    return End(config.kafka, asyncio.run(cluster_id(config.kafka)))


def run(scale: Scale) -> Outcome:
    rng = scale.random()
    renewals = scale.pick(2, 10)
    events = traffic(8, 25.0) if scale.short else traffic()
    cuts = sorted(rng.sample(range(len(events) // 10, len(events)), renewals))
    moved = 0
    with ExitStack() as stack:
        renewed = _Renewed(Run(stack.enter_context(tansu()), scale.folder / "run", PARTITIONS))
        run = renewed.run
        for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True):
            workers = [run.worker(stack) for _ in range(2)]
            # Until they are stopped records keep coming: a source that falls quiet would seal what it has.
            run.send_slowly(events[start:end], FEED_SECS).join()
            if end < len(events):
                _stop(workers)
                moved += renewed.renew(stack)
        run.await_end(events)
        renewed.keep_results()
    verdict = compare(results(renewed.said, end_ms(events)), offline(events))
    return Outcome(
        runs=1,
        faults=renewals,
        lost=verdict.lost,
        doubled=verdict.doubled,
        notes=f"{len(events):,} records sent; the renewals moved {moved:,}",
        failures=tuple(verdict.examples),
    )


def _stop(workers: list[Child]) -> None:
    for worker in workers:
        worker.send(signal.SIGTERM)
    for worker in workers:
        worker.wait(30)


EXPERIMENTS = (
    Experiment(
        "broker-renewal",
        what="the embedded broker's log is replaced by an empty one, unread records, offsets and checkpoint moved",
        goal="nothing lost or doubled",
        needs=("tansu",),
        run=run,
        short_secs=40,
    ),
)
