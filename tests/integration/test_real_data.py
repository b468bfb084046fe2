"""Real traces through `tidewatch import` and replay: what a team that tries its own history would see."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.config import Config
from streams.messages import Message
from streams.replay import Replay
from streams.topics import ALERTS, ANOMALIES, DEADLETTERS

DATA = Path(os.environ.get("TIDEWATCH_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
START_MS = 1_772_355_600_000
NOW_MS = START_MS + 86_400_000
ORDERINGS = 20


def needs(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"the data set is not there: {path}")


def imported(output: Path, *arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(main, ["import", *arguments, "--output", str(output)])
    assert done.exit_code == 0, done.output
    return [orjson.loads(line) for line in output.read_bytes().splitlines()]


def replayed(events: list[dict[str, Any]], now_ms: int = NOW_MS) -> list[Message]:
    messages: list[Message] = []
    replay = Replay(Config(), messages.append, now_ms=now_ms)
    for event in events:
        replay.feed("interaction", orjson.dumps(event))
    replay.finish()
    return messages


PRIME = DATA / "llmdrift" / "PRIME_FULL_EVAL.csv"


@needs(PRIME)
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_june_update_of_gpt4_is_found_in_every_ordering_and_nothing_before(tmp_path: Path) -> None:
    """LLMDrift prime: the March answers in random order, then the June ones, one a second."""
    maps = ("model_served=model", "duration_ms=latency:s", "cost=cost", "tokens_out=answer_token")
    events = imported(
        tmp_path / "prime.jsonl",
        *("--csv", str(PRIME), "--start", "2026-03-01T09:00:00Z", "--interval-secs", "1"),
        *(argument for field in maps for argument in ("--map", field)),
        *("--set", "model_requested=gpt-4", "--set", "provider=openai"),
    )
    march = [event for event in events if event["model_served"].endswith("gpt-4-0314")]
    june = [event for event in events if event["model_served"].endswith("gpt-4-0613")]
    assert len(march) == len(june) == 1000
    for seed in range(ORDERINGS):
        rng = random.Random(seed)
        order = [*rng.sample(march, len(march)), *rng.sample(june, len(june))]
        stream = [event | {"occurred_at": START_MS + n * 1000} for n, event in enumerate(order)]
        switch_ms = START_MS + len(march) * 1000
        evidence = [
            orjson.loads(message.value)["evidence"]
            for message in replayed(stream)
            if message.topic == ANOMALIES
        ]
        statistical = [e for e in evidence if e["family"] != "rule"]
        early = [e for e in statistical if e["window_end_ms"] <= switch_ms]
        assert not early, f"ordering {seed}: {early[0]}"
        segments = [e["segment"] for e in statistical]
        assert [["provider", "model"], ["openai", "gpt-4"]] in segments, f"ordering {seed}: not found"


AZURE = DATA / "azure" / "AzureLLMInferenceTrace_conv.csv"
MOONCAKE = DATA / "mooncake" / "conversation_trace.jsonl"


@needs(AZURE)
@pytest.mark.slow
def test_the_azure_trace_replays_without_a_dead_letter_or_a_critical_alert(tmp_path: Path) -> None:
    events = imported(
        tmp_path / "azure.jsonl",
        *("--csv", str(AZURE), "--map", "occurred_at=TIMESTAMP"),
        *("--map", "tokens_in=ContextTokens", "--map", "tokens_out=GeneratedTokens"),
        *("--set", "model_requested=gpt-x"),
    )
    assert len(events) == 19_366
    assert_quiet(replayed(events))


@needs(MOONCAKE)
@pytest.mark.slow
def test_the_mooncake_trace_replays_without_a_dead_letter_or_a_critical_alert(tmp_path: Path) -> None:
    events = imported(
        tmp_path / "mooncake.jsonl",
        *("--jsonl", str(MOONCAKE), "--start", "2026-03-01T09:00:00Z", "--map", "occurred_at=timestamp:ms"),
        *("--map", "tokens_in=input_length", "--map", "tokens_out=output_length"),
        *("--set", "model_requested=kimi"),
    )
    assert len(events) == 12_031
    assert_quiet(replayed(events))


def assert_quiet(messages: list[Message]) -> None:
    assert not [message for message in messages if message.topic == DEADLETTERS]
    alerts = [orjson.loads(message.value) for message in messages if message.topic == ALERTS]
    assert not [alert["summary"] for alert in alerts if alert["severity"] == "critical"]
