"""Checkpoints that were changed: refused before they are decoded, rebuilt, told, and no row differs in the end."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, NamedTuple

import orjson
from aiokafka import AIOKafkaProducer

from streams.client import client_settings
from streams.operate.status import read_status
from streams.state import Checkpoint, StateTampered, decode, encode, load_key
from streams.state_sqlite import STATE_FILE, SqliteStateStore
from streams.topics import ALERTS, STATE
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import broker_of
from tests.recovery.rig.outcomes import together
from tests.recovery.rig.run import Run, offline, traffic
from tests.recovery.rig.verdict import compare
from tests.support.brokers import read_all
from tests.support.processes import Child, eventually

FEED_SECS: Final = 6.0
"""For each tampering; the events come without a gap, because a source that falls quiet seals its windows early."""
PARTITIONS: Final = 4


class Bomb:
    """Pickled, it makes a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._path),)


class Tampering(NamedTuple):
    """One way of changing what a worker left behind."""

    name: str
    change: Callable[[Run, random.Random], None]
    told: str
    """The subject of the alert."""


def _sql(statement: str) -> Callable[[Run, random.Random], None]:
    def change(run: Run, _: random.Random) -> None:
        bomb = pickle.dumps(Bomb(run.folder / "ran"))
        with closing(sqlite3.connect(run.config.state_dir / STATE_FILE)) as connection, connection:
            connection.execute(statement, {"bomb": bomb})

    return change


def _torn(run: Run, rng: random.Random) -> None:
    path = run.config.state_dir / STATE_FILE
    path.with_name(STATE_FILE + "-wal").unlink(missing_ok=True)
    os.truncate(path, rng.randrange(1, path.stat().st_size))


def _gone(run: Run, _: random.Random) -> None:
    for path in run.config.state_dir.glob(f"{STATE_FILE}*"):
        path.unlink()


def _other_key(run: Run, _: random.Random) -> None:
    (run.config.state_dir / "state.key").unlink()


SQLITE: Final = (
    Tampering(
        "the newest is a pickle bomb",
        _sql("UPDATE checkpoints SET sealed = :bomb WHERE serial = (SELECT max(serial) FROM checkpoints)"),
        "state_refused",
    ),
    Tampering("torn file", _torn, "state_rebuilt"),
    Tampering(
        "both have another end",
        _sql("UPDATE checkpoints SET sealed = CAST(substr(sealed, 1, length(sealed) - 1) || x'00' AS BLOB)"),
        "state_rebuilt",
    ),
    Tampering("no file", _gone, "state_rebuilt"),
    Tampering(
        "the older under the newer's number",
        _sql(
            "UPDATE checkpoints SET serial = serial + 2 WHERE serial < (SELECT max(serial) FROM checkpoints)"
        ),
        "",
    ),
    Tampering("another key", _other_key, "state_refused"),
)


def _forged(choose: Callable[[dict[bytes, bytes], str], dict[bytes, bytes | None]]) -> Callable[..., None]:
    """Records that somebody with the right to write puts on the state topic."""

    async def send(run: Run) -> None:
        records = await read_all(run.config, STATE, isolation_level="read_committed")
        newest = {record.key: record.value for record in records if record.value is not None}
        producer = AIOKafkaProducer(**client_settings(run.config.kafka))
        await producer.start()
        try:
            for key, value in choose(newest, run.config.fleet).items():
                await producer.send_and_wait(STATE, value, key=key, partition=0)
        finally:
            await producer.stop()

    return lambda run, _: asyncio.run(send(run))


def _first_pieces(newest: dict[bytes, bytes], fleet: str) -> list[bytes]:
    return sorted(key for key in newest if key.startswith(fleet.encode()) and key.endswith(b"/000000"))


TOPIC: Final = (
    Tampering(
        "a piece changed in both",
        _forged(lambda newest, fleet: {k: newest[k][:-1] + b"?" for k in _first_pieces(newest, fleet)}),
        "state_rebuilt",
    ),
    Tampering(
        "a piece missing in one",
        _forged(lambda newest, fleet: {_first_pieces(newest, fleet)[0]: None}),
        "",  # told if it was the newest
    ),
    Tampering(
        "pieces of two mixed",
        _forged(
            lambda newest, fleet: dict(
                zip(
                    _first_pieces(newest, fleet),
                    [newest[key] for key in reversed(_first_pieces(newest, fleet))],
                    strict=True,
                )
            )
        ),
        "state_rebuilt",
    ),
    Tampering(
        "pickle bombs for heads",
        _forged(
            lambda newest, fleet: {
                key: pickle.dumps(Bomb(Path("ran"))) for key in newest if key.endswith(b"/head")
            }
        ),
        "state_rebuilt",
    ),
)


def _workers(scale: Scale, kind: str, store: str, tamperings: tuple[Tampering, ...]) -> Outcome:
    """One run: kill -9, change what is there, start again; once for each way."""
    events = traffic(scale.pick(4, 24))
    rng = scale.random()
    failures = []
    assert kind in ("tansu", "kafka")
    with broker_of(kind, scale.folder) as broker, ExitStack() as stack:
        run = Run(
            broker,
            scale.folder / store,
            PARTITIONS,
            checkpoint={"interval_secs": 0.3, "store": store},
            monitoring={"every_secs": 0.2, "for_secs": 0.0, "repeat_secs": 0.0},
        )
        worker = run.worker(stack)
        feeder = run.send_slowly(events, FEED_SECS * (len(tamperings) + 1))
        stack.callback(feeder.join)
        for tampering in tamperings:
            _await_checkpoints(run, worker)
            worker.kill()
            tampering.change(run, rng)
            before = _told(run, tampering.told)
            worker = run.worker(stack)
            _await_checkpoints(run, worker)
            if tampering.told:
                eventually(
                    lambda before=before, told=tampering.told: _told(run, told) > before,  # type: ignore[misc]
                    within_secs=30,
                    what=f"{tampering.name}: an alert {tampering.told}; the worker said {run.last_words()}",
                )
            if not worker.running:
                failures.append(f"{tampering.name}: the worker ended: {run.last_words()[-300:]}")
        feeder.join()
        run.await_end(events)
        verdict = compare(run.results(events), offline(events))
        if list(run.folder.rglob("ran")):
            failures.append("a pickle was loaded")
    return Outcome(
        runs=1,
        faults=len(tamperings),
        lost=verdict.lost,
        doubled=verdict.doubled,
        notes=f"{store}: {', '.join(tampering.name for tampering in tamperings)}",
        failures=(*failures, *verdict.examples),
    )


def _await_checkpoints(run: Run, worker: Child) -> None:
    """Until both slots hold something of this worker's."""

    def saved() -> bool:
        status = read_status(run.config.state_dir).get(("detect", worker.pid), {})
        return status.get("checkpoints", 0) >= 2

    eventually(saved, within_secs=90, what=f"two checkpoints; the worker said {run.last_words()}")


def _told(run: Run, subject: str) -> int:
    """Alerts about the state so far."""
    alerts = [orjson.loads(value) for value in run.read(ALERTS)]
    return sum(a["signal"] == "state" and a["segment"].get("subject") == subject for a in alerts)


def _sealed(scale: Scale) -> Outcome:
    """Every byte of a sealed checkpoint changed in turn, every length, and foreign places; none is opened."""
    key, rng = load_key(scale.folder / "key"), scale.random()
    genuine = Checkpoint(4711, "cluster", rng.randbytes(scale.pick(2_000, 60_000)), b"m" * 16)
    sealed = encode(genuine, "fleet", key)
    changed = (
        sealed[:at] + bytes([sealed[at] ^ 1 << rng.randrange(8)]) + sealed[at + 1 :]
        for at in range(len(sealed))
    )
    cut = (sealed[:length] for length in range(len(sealed)))
    others = (
        encode(genuine, "another", key),
        encode(genuine, "fleet", b"k" * 32),
        pickle.dumps(Bomb(scale.folder / "ran")),
        *(rng.randbytes(rng.randrange(1, 5000)) for _ in range(1000)),
    )
    tried = opened = 0
    for data in (*others, *changed, *cut):
        tried += 1
        try:
            opened += decode(data, "fleet", key) is not None
        except StateTampered:
            continue
    failures = [f"{opened} changed checkpoints were opened"] * (opened > 0)
    if decode(sealed, "fleet", key) != genuine:
        failures.append("the genuine one was not opened")
    if (scale.folder / "ran").exists():
        failures.append("a pickle was loaded")
    return Outcome(
        1, tried, 0, 0, notes=f"{tried} changed checkpoints, {opened} opened", failures=tuple(failures)
    )


def _file_bytes(scale: Scale) -> Outcome:
    """Bytes of the SQLite file changed one at a time: the store opens, and holds one of the saves or nothing."""
    rng, key = scale.random(), b"k" * 32
    saves = [Checkpoint(n, "cluster", bytes([n]) * 6000, b"m" * 16) for n in (1, 2)]
    path = scale.folder / "bytes" / STATE_FILE
    refused = set_aside = 0

    async def reopen(*, fill: bool = False) -> Checkpoint | None:
        nonlocal refused, set_aside
        store = SqliteStateStore(path, "fleet", key)
        try:
            await store.claim()
            loaded = await store.load()
            refused += bool(loaded.refused)
            set_aside += any("damaged" in reason for reason in loaded.refused)
            for save in saves if fill else ():
                await store.save(save)
            return loaded.checkpoint
        finally:
            await store.close()

    async def tried() -> tuple[int, list[str]]:
        await reopen(fill=True)
        data = path.read_bytes()
        places = [*range(0, 100, scale.pick(5, 1)), *range(100, len(data), scale.pick(2000, 7))]
        problems = []
        for at in places:
            for old in path.parent.iterdir():
                old.unlink()
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
            try:
                found = await reopen()
            except Exception as error:
                problems.append(f"byte {at}: {error!r}")
                continue
            if found not in (None, *saves):
                problems.append(f"byte {at}: passed for a snapshot")
        return len(places), problems

    count, problems = asyncio.run(tried())
    notes = f"{count} bytes of the SQLite file: {refused} refused, of them {set_aside} files set aside"
    return Outcome(1, count, 0, 0, notes=notes, failures=tuple(problems[:5]))


def tampered(scale: Scale) -> Outcome:
    """Short: the forms in process and three kinds of damage under a worker; full: all, on both stores."""
    outcomes = [_sealed(scale), _file_bytes(scale)]
    outcomes.append(_workers(scale, "tansu", "sqlite", SQLITE[:2] if scale.short else SQLITE))
    if not scale.short:
        outcomes.append(_workers(scale, "kafka", "topic", TOPIC))
    return together(outcomes)


EXPERIMENTS = (
    Experiment(
        name="tampered-state",
        what="checkpoints changed at every byte, cut anywhere, moved, mixed, torn, bombs; key and file replaced",
        goal="all refused before decoding; rebuilt from the snapshot before or the log; told; equal results",
        needs=("tansu", "kafka"),
        run=tampered,
    ),
)
