"""The generator: repeatable anywhere, true to the reference, and incidents that change only what they say."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest

from streams.events import Feedback, Interaction, is_error, is_thumbs_down, occurred_at_ms
from streams.simulate import Event, TrafficSpec, generate, silent_model_change
from streams.simulate.traffic import arrival_times

START_MS = 1_790_000_000_000  # a Monday, 14:13 UTC
FLAT: dict[str, Any] = {"peak_trough": 1.0, "weekend": 1.0}
AZURE = Path(__file__).parents[4] / "shared/data/azure/AzureLLMInferenceTrace_conv.csv"


def events(spec: TrafficSpec) -> list[Event]:
    return list(itertools.chain.from_iterable(generate(spec)))


def decoded(spec: TrafficSpec, kind: str) -> list[dict[str, Any]]:
    return [orjson.loads(e.value) for e in events(spec) if e.kind == kind]


def column(rows: list[dict[str, Any]], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([row[name] for row in rows if name in row], dtype=np.float64)


@pytest.fixture(scope="module")
def quiet() -> list[dict[str, Any]]:
    return decoded(TrafficSpec(START_MS, 400, 150, seed=3, **FLAT), "interaction")


def test_same_spec_same_bytes_and_another_seed_other_bytes() -> None:
    spec = TrafficSpec(START_MS, 30, 100, seed=1)
    assert events(spec) == events(spec)
    assert events(spec) != events(TrafficSpec(START_MS, 30, 100, seed=2))


@pytest.mark.parametrize("cut_secs", [1, 9.999, 10, 33.3])
def test_two_spans_together_are_the_whole_span(cut_secs: float) -> None:
    whole = TrafficSpec(START_MS + 777, 60, 80, seed=5)
    left = TrafficSpec(whole.start_ms, cut_secs, 80, seed=5)
    right = TrafficSpec(left.end_ms, 60 - cut_secs, 80, seed=5)
    assert events(left) + events(right) == events(whole)


def test_records_come_in_time_order_inside_the_span_with_distinct_ids() -> None:
    spec = TrafficSpec(START_MS + 1, 45.5, 120, seed=1)
    got = events(spec)
    times = [e.occurred_at_ms for e in got]
    assert times == sorted(times)
    assert spec.start_ms <= times[0]
    assert times[-1] < spec.end_ms
    assert {e.kind for e in got} == {"interaction", "feedback"}
    for event in got[:500]:
        row = orjson.loads(event.value)
        assert row["occurred_at"] == event.occurred_at_ms
        assert row["event_id"].encode() == event.key
    keys = [e.key for e in got if e.kind == "interaction"]
    assert len(set(keys)) == len(keys)


def test_every_record_is_strictly_of_the_event_schema() -> None:
    structs = {"interaction": Interaction, "feedback": Feedback}  # both forbid unknown fields
    decoders = {kind: msgspec.json.Decoder(struct) for kind, struct in structs.items()}
    for event in events(TrafficSpec(START_MS, 20, 200, seed=4)):
        record = decoders[event.kind].decode(event.value)
        assert occurred_at_ms(record) == event.occurred_at_ms
        if isinstance(record, Interaction):
            assert is_error(record) == (record.tokens_out is None)
        else:
            assert is_thumbs_down(record) == {"thumbs_down": True, "thumbs_up": False}.get(record.label or "")


def test_reference_ratios(quiet: list[dict[str, Any]]) -> None:
    n = len(quiet)
    expected = {"refusal": 0.02, "idk": 0.039, "schema_valid": 0.99, "cache_hit": 0.39, "out_of_scope": 0.03}
    for name, ratio in expected.items():
        values = column(quiet, name)
        assert values.mean() == pytest.approx(ratio, abs=5 * (ratio * (1 - ratio) / len(values)) ** 0.5), name
    failed = [row for row in quiet if row["status"] == "error"]
    assert len(failed) / n == pytest.approx(0.005, abs=5 * (0.005 / n) ** 0.5)
    assert all("error_type" in row and "tokens_out" not in row and "refusal" not in row for row in failed)
    assert all("error_type" not in row for row in quiet if row["status"] == "ok")


def test_reference_dimensions(quiet: list[dict[str, Any]]) -> None:
    def shares(name: str) -> list[tuple[str, float]]:
        return [(v, c / len(quiet)) for v, c in Counter(row[name] for row in quiet).most_common()]

    sizes = {"tenant": 50, "feature": 5, "topic": 20, "model_requested": 3, "provider": 2, "region": 3}
    assert {name: len(shares(name)) for name in sizes} == sizes
    tenants = shares("tenant")
    assert tenants[0][1] / tenants[1][1] == pytest.approx(2**1.1, rel=0.1)
    assert tenants[0][1] / tenants[9][1] == pytest.approx(10**1.1, rel=0.15)
    model, share = shares("model_requested")[0]
    assert model == "acme-chat-2"
    assert share == pytest.approx(0.6, abs=0.02)
    assert {(row["prompt_name"], row["prompt_version"]) for row in quiet} >= {("chat-system", "v12")}
    assert {row["feature"] for row in quiet if "retrieval_score" in row} == {"search", "agent"}


def test_default_rules_have_headroom(quiet: list[dict[str, Any]]) -> None:
    assert np.percentile(column(quiet, "duration_ms"), 95) < 0.8 * 3000
    assert column(quiet, "cost").mean() < 0.5 * 0.015
    assert (column(quiet, "tokens_in") >= column(quiet, "tokens_cache_read")).all()
    assert all(row["duration_ms"] >= row["ttft_ms"] - 1 for row in quiet if "ttft_ms" in row)


def test_latency_log_sd_given_tokens_is_one_half(quiet: list[dict[str, Any]]) -> None:
    rows = [r for r in quiet if r["model_requested"] == "acme-chat-2" and r["status"] == "ok"]
    tokens_in = column(rows, "tokens_in") - 0.8 * column(rows, "tokens_cache_read")
    duration = column(rows, "duration_ms")
    expected = 180.0 * (0.7 + 0.3 * tokens_in / 707.0) + 2.5 * column(rows, "tokens_out")
    assert np.log(duration / expected).std() == pytest.approx(0.5, abs=0.02)


def per_minute(spec: TrafficSpec) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Interactions in each whole minute of the span."""
    first, last = spec.start_ms // spec.block_ms, spec.end_ms // spec.block_ms
    minutes = np.concatenate([arrival_times(spec, block) for block in range(first, last + 1)]) // 60_000
    return np.bincount(minutes - minutes[0])[1:-1].astype(np.float64)


def test_arrivals_are_as_bursty_as_real_traffic_and_their_bursts_last() -> None:
    counts = per_minute(TrafficSpec.per_day(START_MS, 5.0, 100_000, seed=11, **FLAT))
    assert counts.mean() == pytest.approx(100_000 / 1440, rel=0.05)
    assert counts.var() / counts.mean() >= 5.0
    assert np.corrcoef(counts[:-1], counts[1:])[0, 1] > 0.3


def test_without_bursts_arrivals_are_poisson() -> None:
    counts = per_minute(TrafficSpec.per_day(START_MS, 5.0, 100_000, seed=11, burst_cv=0.0, **FLAT))
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.1)


def test_daily_cycle_and_weekend() -> None:
    monday_ms = START_MS - START_MS % 86_400_000
    week = TrafficSpec.per_day(monday_ms, 7, 100_000, seed=1, burst_cv=0.0)
    blocks = range(monday_ms // week.block_ms, week.end_ms // week.block_ms)
    hours = np.concatenate([arrival_times(week, block) for block in blocks]) // 3_600_000
    per_hour = np.bincount(hours - monday_ms // 3_600_000, minlength=7 * 24).reshape(7, 24)
    assert per_hour[:5].sum() / 5 == pytest.approx(100_000, rel=0.01)
    assert per_hour[5:].sum() / 2 == pytest.approx(60_000, rel=0.01)
    by_hour = per_hour[:5].sum(axis=0)
    assert by_hour.argmax() in (13, 14)
    assert by_hour.max() / by_hour.min() == pytest.approx(3.0, rel=0.1)


def test_feedback_carries_segments_and_scores_between_0_and_1() -> None:
    spec = TrafficSpec(START_MS, 400, 150, seed=3, **FLAT)
    replies = decoded(spec, "feedback")
    interactions = len(decoded(spec, "interaction"))
    votes = [r for r in replies if r["name"] == "user_feedback"]
    judged = [r for r in replies if r["name"] == "answer_quality"]
    assert len(votes) / interactions == pytest.approx(0.05, abs=0.005)
    assert len(judged) / interactions == pytest.approx(0.02, abs=0.004)
    down = [r for r in votes if r["label"] == "thumbs_down"]
    assert len(down) / len(votes) == pytest.approx(0.10, abs=0.025)
    assert all(r["score"] == (0.0 if r["label"] == "thumbs_down" else 1.0) for r in votes)
    scores = column(judged, "score")
    assert 0.84 < scores.mean() < 0.92
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert all(r["evaluator_version"] for r in judged)
    assert all(r["model_requested"] and r["tenant"] and r["provider"] for r in replies)


def test_an_incident_changes_only_its_segment_its_fields_and_its_time() -> None:
    onset_ms = START_MS + 60_000
    incident = silent_model_change(onset_ms, duration_secs=60)
    plain = TrafficSpec(START_MS, 180, 100, seed=9, **FLAT)
    struck = TrafficSpec(START_MS, 180, 100, seed=9, effects=incident.effects, **FLAT)
    before, after = decoded(plain, "interaction"), decoded(struck, "interaction")
    changed: set[str] = set()
    for old, new in zip(before, after, strict=True):
        differing = {f for f in old.keys() | new.keys() if old.get(f) != new.get(f)}
        if differing:
            assert incident.truth.onset_ms <= new["occurred_at"] < incident.truth.end_ms
            assert all(new[field] == value for field, value in incident.truth.segment.items())
            changed |= differing
    assert changed >= {"refusal", "tokens_out", "duration_ms", "cost", "finish_reason"}
    assert changed <= {*incident.truth.fields, "idk"}  # a refusal is not also an "I don't know"

    hit = [
        row
        for row in after
        if row["model_requested"] == "acme-chat-2" and onset_ms <= row["occurred_at"] < onset_ms + 60_000
    ]
    was = [row for row in before if row["model_requested"] == "acme-chat-2"]
    assert column(hit, "refusal").mean() == pytest.approx(0.40, abs=0.03)
    assert {row["model_served"] for row in hit} == {row["model_served"] for row in was}
    assert column(hit, "tokens_out").mean() < 0.4 * column(was, "tokens_out").mean()


def test_a_ramp_grows_to_full_height() -> None:
    incident = silent_model_change(START_MS, duration_secs=600)
    ramped = [replace(effect, ramp_ms=300_000) for effect in incident.effects]
    spec = TrafficSpec(START_MS, 600, 100, seed=2, effects=ramped, **FLAT)
    rows = [r for r in decoded(spec, "interaction") if r["model_requested"] == "acme-chat-2"]
    early = [r for r in rows if r["occurred_at"] - START_MS < 60_000]
    late = [r for r in rows if r["occurred_at"] - START_MS >= 300_000]
    assert column(early, "refusal").mean() == pytest.approx(0.02 + 0.38 * 0.1, abs=0.02)
    assert column(late, "refusal").mean() == pytest.approx(0.40, abs=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate_per_sec": 0},
        {"rate_per_sec": float("nan")},
        {"duration_secs": -1},
        {"peak_trough": 0.5},
        {"burst_cv": -0.1},
        {"weekend": 0},
    ],
)
def test_impossible_specs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrafficSpec(**({"start_ms": START_MS, "duration_secs": 10, "rate_per_sec": 1} | wrong))


@pytest.mark.skipif(not AZURE.exists(), reason=f"needs the Azure 2023 conversation trace at {AZURE.name}")
def test_sizes_and_burstiness_follow_the_azure_trace(quiet: list[dict[str, Any]]) -> None:
    with AZURE.open() as lines:
        trace = list(csv.DictReader(lines))
    # the real output sizes end earlier than a log-normal of their spread does
    for field, theirs, p95 in (("tokens_in", "ContextTokens", 0.15), ("tokens_out", "GeneratedTokens", 0.35)):
        ours, real = column(quiet, field), np.array([float(row[theirs]) for row in trace])
        assert ours.mean() == pytest.approx(real.mean(), rel=0.05), field
        assert np.percentile(ours, 95) == pytest.approx(np.percentile(real, 95), rel=p95), field
        assert np.log(ours).std() == pytest.approx(np.log(real).std(), rel=0.08), field
    seconds = np.array([datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp() for row in trace])
    real_counts = np.bincount(((seconds - seconds.min()) // 60).astype(np.int64))[1:-1]
    spec = TrafficSpec(START_MS, 6 * 3600, real_counts.mean() / 60, seed=4, **FLAT)
    counts = per_minute(spec)
    real_cv = real_counts.std() / real_counts.mean()  # 0.21 without the trace's cut first and last minute
    assert real_cv <= counts.std() / counts.mean() <= 1.6 * real_cv
