"""Sending: keys, routes, pace and the summary, through a real broker."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from click.testing import CliRunner

from streams.broker import free_port
from streams.client import BrokerUnreachable
from streams.commands.produce import command
from streams.files import read_events
from streams.kafka_config import KafkaConfig
from streams.producing import Outgoing, Pace, head_of, produce
from streams.topics import CHANGES, FEEDBACK, INTERACTIONS
from tests.strategies import NOW_MS
from tests.support.brokers import Broker, make_topics

LINES = [
    {"event_id": "e1", "trace_id": "t1", "occurred_at": NOW_MS, "operation": "chat"},
    {"event_id": "e2", "occurred_at": NOW_MS + 200, "operation": "chat"},
    {"kind": "feedback", "event_id": "e1", "occurred_at": NOW_MS + 300, "name": "user_feedback", "score": 1},
    {"kind": "deploy", "change_id": "c1", "occurred_at": NOW_MS + 400},
]


@pytest.fixture
def events_file(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join([*map(json.dumps, LINES), "not json"]))
    return path


async def received(broker: Broker, topic: str, count: int) -> list[tuple[bytes | None, bytes]]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        found: list[tuple[bytes | None, bytes]] = []
        while len(found) < count:
            record = await consumer.getone()
            found.append((record.key, record.value))
        return found
    finally:
        await consumer.stop()


@pytest.mark.parametrize(
    ("value", "key", "at_ms"),
    [
        (b'{"trace_id":"t","event_id":"e","occurred_at":5}', b"t", 5),
        (b'{"event_id":"e","occurred_at":"1970-01-01T00:00:01Z","x":[{}]}', b"e", 1_000),
        (b'{"change_id":"c","occurred_at":"1970-01-01T00:00:01"}', b"c", None),
        (b'{"event_id":3}', None, None),
        (b"nope", None, None),
        (b'{"event_id":"\xff"}', None, None),
        (b"{}", None, None),
    ],
)
def test_a_record_tells_its_key_and_time(value: bytes, key: bytes | None, at_ms: int | None) -> None:
    assert head_of(value) == (key, at_ms)


async def test_records_go_to_the_topic_of_their_kind_under_their_key(
    broker: Broker, events_file: Path, tmp_path: Path
) -> None:
    config = broker.config(tmp_path)
    await make_topics(config)
    done = await produce(read_events([events_file]), config.kafka)
    assert done.by_topic == {INTERACTIONS: 3, FEEDBACK: 1, CHANGES: 1}
    assert done.sent == 5
    sent = await received(broker, INTERACTIONS, 3)
    assert sorted(sent, key=str) == sorted(
        [(b"t1", json.dumps(LINES[0]).encode()), (b"e2", json.dumps(LINES[1]).encode()), (None, b"not json")],
        key=str,
    )
    [(key, value)] = await received(broker, FEEDBACK, 1)
    assert key == b"e1"
    assert "kind" not in json.loads(value)
    assert [key for key, _ in await received(broker, CHANGES, 1)] == [b"c1"]


@pytest.mark.broker
async def test_pace_holds_records_back_until_they_are_due(tansu: Broker, tmp_path: Path) -> None:
    config = tansu.config(tmp_path)
    await make_topics(config)
    records = [Outgoing("interaction", json.dumps(fields).encode()) for fields in LINES[:2]]
    times: list[float] = []
    for pace in (Pace(rate_per_sec=10), Pace(speed=2)):
        times.clear()
        await produce(records, config.kafka, pace=pace, on_sent=lambda _: times.append(time.perf_counter()))
        assert times[1] - times[0] >= 0.095  # never earlier than due; how much later is the machine's affair


async def test_an_absent_broker_is_an_error() -> None:
    with pytest.raises(BrokerUnreachable):
        await produce([Outgoing("interaction", b"{}")], KafkaConfig(bootstrap=f"127.0.0.1:{free_port()}"))


@pytest.mark.broker
def test_the_command_sends_and_reports(tansu: Broker, events_file: Path) -> None:
    to_broker = ["--bootstrap", tansu.bootstrap, "--no-idempotence"]
    result = CliRunner().invoke(command, [str(events_file), *to_broker, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["by_topic"] == {INTERACTIONS: 3, FEEDBACK: 1, CHANGES: 1}
    result = CliRunner().invoke(command, [str(events_file), *to_broker])
    assert result.stdout.startswith("sent 5 records in ")
    result = CliRunner().invoke(
        command,
        ["--simulate", "2", "--rate", "100", "--scenario", "silent-model-change", *to_broker, "--json"],
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["by_topic"][INTERACTIONS] > 50


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ([], "either FILES or --simulate", 2),
        (["{file}", "--rate", "1", "--speed", "1"], "exclude each other", 2),
        (["{file}", "--simulate", "5"], "either FILES or --simulate", 2),
        (["--simulate", "5", "--speed", "2"], "leave out --speed", 2),
        (["{file}", "--scenario", "silent-model-change"], "belongs to --simulate", 2),
        (["{file}", "--bootstrap", "kafka.example.com:9092"], "unencrypted", 2),
        (["/nowhere.jsonl"], "/nowhere.jsonl: No such file", 1),
        (["{file}", "--bootstrap", "127.0.0.1:{port}"], "no broker answers", 1),
    ],
)
def test_mistakes_are_explained(events_file: Path, arguments: list[str], message: str, code: int) -> None:
    port = free_port()
    result = CliRunner().invoke(command, [part.format(file=events_file, port=port) for part in arguments])
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.output
