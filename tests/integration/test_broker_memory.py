"""`tidewatch up` at the ceiling of its broker's memory: the log is replaced, and nothing that matters is lost."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streams.broker_memory import memory_spent, rss_mb
from streams.client import client_settings, producer_settings
from streams.config import Config
from streams.queryserver import ask
from streams.supervisor import read_status, running_stack
from streams.topics import ALERTS, INTERACTIONS
from tests.integration.test_supervisor import await_ready, config_of, lines, up
from tests.support.brokers import read_all, send
from tests.support.processes import eventually

BATCH_RECORDS = 2_000
PADDING = "x" * 4_000
"""A field that is nobody's: it fills the log and nothing else."""
RENEWAL_SECS = 120.0
"""For filling the log and for its replacement, on a machine that has other work."""


def test_it_is_told_once_that_memory_is_short() -> None:
    """This process stands for the broker."""

    async def told_of(ceiling_mb: int, secs: float) -> list[str]:
        told: list[str] = []
        try:
            async with asyncio.timeout(secs):
                await memory_spent(os.getpid, ceiling_mb, told.append)
        except TimeoutError:
            return [*told, "goes on"]
        return [*told, "spent"]

    used_mb = asyncio.run(rss_mb(os.getpid()))
    plenty, short, spent = (asyncio.run(told_of(int(used_mb / share), 1.5)) for share in (0.4, 0.9, 1.1))
    assert plenty == ["goes on"]
    warning, end = short
    assert "takes" in warning
    assert f"up.broker_memory_mb = {int(used_mb / 0.9)}" in warning
    assert end == "goes on"
    assert spent == ["spent"]


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_full_log_is_replaced_and_nothing_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "aiokafka")  # of producers that are turned away: pages of it
    with up(tmp_path, "[up]\nbroker_memory_mb = 64\n") as child:
        await_ready(child)
        config = config_of(tmp_path)
        # Two alerts, of which somebody else has read one.
        asyncio.run(send(config, ALERTS, {0: [b'{"n":1}', b'{"n":2}']}))
        asyncio.run(_read_first_alert(config))
        try:
            sent = asyncio.run(_fill(config, tmp_path))
        except TimeoutError:
            pytest.fail(f"the log is not another one after {RENEWAL_SECS:.0f} s: {child.output()}")
        eventually(lambda: _rows(tmp_path) == sent, within_secs=180, what=f"{sent} rows are stored")
        told = "\n".join(line.get("text", "") for line in lines(child))
        # Whether it was told before that memory is short depends on how fast it filled up.
        for what in ("producers wait", "goes on with an empty log"):
            assert what in told
        assert "starting again" not in told, "a worker or the broker ended"
        alerts = [record.value for record in asyncio.run(read_all(config, ALERTS))]
        assert alerts[asyncio.run(_committed(config)) or 0] == b'{"n":2}', "the reader goes on where it was"


def _cluster(folder: Path) -> str:
    stack = running_stack(folder / "state")
    assert stack is not None
    return stack.cluster_id


def _rows(folder: Path) -> int:
    ready = any(s.get("ready") for (role, _), s in read_status(folder / "state").items() if role == "record")
    try:
        return ready and int(
            orjson.loads(ask(folder / "state", "SELECT uniqExact(event_id) FROM interactions"))["data"][0][0]
        )
    except OSError:  # the worker is being started again
        return 0


async def _fill(config: Config, folder: Path) -> int:
    """Send as a producer does that must not lose anything, until the log is another one; how many records.

    Raises TimeoutError if it stays the same.
    """
    first, sent = _cluster(folder), 0
    async with asyncio.timeout(RENEWAL_SECS), AIOKafkaProducer(**producer_settings(config.kafka)) as producer:

        async def taken(number: int) -> bool:
            try:
                await producer.send_and_wait(INTERACTIONS, _event(number), partition=number % 2)
            except KafkaError:
                return False
            return True

        while _cluster(folder) == first:
            pending = list(range(sent, sent + BATCH_RECORDS))
            sent += BATCH_RECORDS
            assert sent < 60_000, "the ceiling is not reached"
            while pending:
                answers = await asyncio.gather(*map(taken, pending))
                pending = [number for number, yes in zip(pending, answers, strict=True) if not yes]
    return sent


def _event(number: int) -> bytes:
    at = 1_790_000_000_000 + number * 10
    return orjson.dumps(
        {"event_id": f"e{number}", "occurred_at": at, "model_requested": "m", "padding": PADDING}
    )


def _reader(config: Config) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(**client_settings(config.kafka), group_id="on-call", enable_auto_commit=False)


async def _read_first_alert(config: Config) -> None:
    async with _reader(config) as reader:
        reader.assign([TopicPartition(ALERTS, 0)])
        await reader.commit({TopicPartition(ALERTS, 0): 1})


async def _committed(config: Config) -> int | None:
    async with _reader(config) as reader:
        reader.assign([TopicPartition(ALERTS, 0)])
        found: int | None = await reader.committed(TopicPartition(ALERTS, 0))
        return found
