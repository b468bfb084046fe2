"""`tidewatch explain` from checkpoints in a topic, beside the worker that owns them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from streams.commands.explain import command
from streams.config import Config
from streams.decide import Decide
from streams.state import Checkpoint
from streams.state_topic import TopicStateStore
from tests.support.brokers import Broker, make_topics
from tests.support.make_fixtures import KEY, SECTIONS, partials

pytestmark = pytest.mark.kafka


def test_the_newest_checkpoint_is_explained_and_its_owner_goes_on(kafka: Broker, tmp_path: Path) -> None:
    sections = {**SECTIONS, "fleet": tmp_path.name, "checkpoint": {"store": "topic"}}
    config, file = kafka.config(tmp_path, **sections), tmp_path / "tidewatch.toml"
    kafka.write_config(file, tmp_path, **sections)
    key = tmp_path / "state.key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    explain = [*("--config", str(file)), "all", "latency_p95_ms"]
    asyncio.run(make_topics(config))
    empty = CliRunner().invoke(command, explain)
    assert empty.exit_code != 0
    assert "got no checkpoint of fleet" in empty.stderr

    decide = Decide(Config.model_validate(SECTIONS))
    for record in partials(minutes=10):
        decide.step(record)
    owner = TopicStateStore(config.kafka, config.fleet, KEY)

    async def save(position: int) -> None:
        await owner.save(Checkpoint(position, "log", decide.snapshot()))

    async def played() -> None:
        await owner.claim()
        await save(1)
        told = await asyncio.to_thread(CliRunner().invoke, command, [*explain, "--json"])
        assert told.exit_code == 0, told.output
        (one,) = orjson.loads(told.stdout)["series"]
        assert one["lower"] < one["expected"] < one["upper"]
        await save(2)
        await owner.close()

    asyncio.run(played())
