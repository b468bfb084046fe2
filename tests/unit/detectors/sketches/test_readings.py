"""Every form of a reading, on windows small enough to be worked out by hand; merging spans like merging windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.sketches.block import encode, merge
from detectors.sketches.buckets import RELATIVE_ERROR
from detectors.sketches.window import WindowBlock
from streams.signals import LAYOUT, SIGNALS
from tests.support import measures

START_MS = 1_790_000_000_000
LOG_ERROR = 5e-4


def interaction(number: int, **fields: Any) -> bytes:
    return orjson.dumps({"event_id": f"e{number}", "occurred_at": START_MS, "model_requested": "m", **fields})


def said(number: int, **fields: Any) -> bytes:
    return orjson.dumps(
        {"event_id": f"e{number}", "occurred_at": START_MS, "feedback_id": f"f{number}", **fields}
    )


def read(
    interactions: list[dict[str, Any]], feedback: list[dict[str, Any]] | None = None
) -> dict[str, tuple[float, int]]:
    """Signal of the fleet -> (value, observations), without those that had none."""
    window = measures.window(
        START_MS,
        [interaction(n, **fields) for n, fields in enumerate(interactions)],
        [said(n, **fields) for n, fields in enumerate(feedback or [])],
    )
    found = zip(window.signals, window.values[0].tolist(), window.counts[0].tolist(), strict=True)
    return {name: (value, n) for name, value, n in found if not math.isnan(value)}


def test_the_geometric_mean_is_of_positive_values() -> None:
    found = read([{"duration_ms": 100}, {"duration_ms": 400}, {"duration_ms": 0}, {}])
    assert found["latency_typical_ms"] == (pytest.approx(200, rel=LOG_ERROR), 2)
    assert found["latency_p50_ms"][1] == 3


def test_the_cost_of_1000_tokens_is_that_of_each_interaction() -> None:
    found = read(
        [
            {"cost": 0.002, "tokens_in": 500, "tokens_out": 500},
            {"cost": 0.032, "tokens_in": 4000},
            {"cost": 1.0, "tokens_in": 0, "tokens_out": 0},
            {"tokens_in": 10},
        ]
    )
    assert found["cost_per_1k_typical_usd"] == (pytest.approx(0.004, rel=LOG_ERROR), 2)
    assert found["cost_per_1k_tokens_usd"] == (pytest.approx(1034 / 5010), 3)


def test_the_time_per_output_token_is_that_after_the_first() -> None:
    found = read(
        [
            {"duration_ms": 1100, "ttft_ms": 100, "tokens_out": 101},
            {"duration_ms": 500, "ttft_ms": 100, "tokens_out": 11},
            {"duration_ms": 500, "ttft_ms": 100, "tokens_out": 1},
            {"duration_ms": 500, "ttft_ms": 500, "tokens_out": 9},
            {"duration_ms": 500, "tokens_out": 9},
            {"duration_ms": 500, "ttft_ms": 900, "tokens_out": 9},
        ]
    )
    assert found["tpot_typical_ms"] == (pytest.approx(20, rel=LOG_ERROR), 2)
    assert "tpot_typical_ms" not in read([{"duration_ms": 500, "tokens_out": 9}])


def test_costs_of_a_window() -> None:
    found = read([{"cost": c} for c in (0.001, 0.002, 0.004, 0.5)])
    assert found["cost_p50_usd"] == (pytest.approx(0.002, rel=RELATIVE_ERROR), 4)
    assert found["cost_max_usd"] == (pytest.approx(0.5, rel=RELATIVE_ERROR), 4)
    assert found["spend_usd"][0] == pytest.approx(0.507)


def test_costs_in_other_currencies_are_no_dollars() -> None:
    found = read([{"cost": 5.0, "currency": "EUR"}, {"cost": 1.0, "currency": "usd"}, {"cost": 1.0}])
    assert found["spend_usd"] == (2.0, 2)


def test_outcomes_are_told_by_their_words() -> None:
    words = ["success", "Resolved", "handed off", "abandoned", "failure", "purple", None]
    found = read([{"outcome": word, "cost": 0.1} for word in words])
    assert found["success_ratio"] == (2 / 5, 5)
    assert found["escalated_ratio"] == (1 / 5, 5)
    assert found["abandoned_ratio"] == (1 / 5, 5)
    assert found["cost_per_success_usd"] == (pytest.approx(0.35), 7)


def test_without_a_success_there_is_no_cost_of_one() -> None:
    assert "cost_per_success_usd" not in read([{"outcome": "failure", "cost": 0.1}])


def test_tools_are_counted_call_by_call() -> None:
    call, failed = {"name": "lookup"}, {"name": "calendar", "error_type": "timeout"}
    found = read([{"tool_calls": [call, call, failed]}, {"tool_calls": []}, {}])
    assert found["tool_error_ratio"] == (1 / 3, 3)
    assert found["tool_calls_mean"] == (1.5, 2)


def test_retries_and_steps() -> None:
    found = read([{"retries": 0, "steps": 1}, {"retries": 2, "steps": 4}, {}])
    assert found["retry_ratio"] == (0.5, 2)
    assert found["retries_mean"] == (1.0, 2)
    assert found["steps_mean"] == (2.5, 2)
    assert found["steps_typical"] == (pytest.approx(2.0, rel=LOG_ERROR), 2)


@pytest.mark.parametrize("updated", [START_MS - 2 * 86_400_000, "2026-09-19T13:33:20Z"])
def test_the_age_of_the_index_is_counted_from_when_it_was_refreshed(updated: int | str) -> None:
    later = START_MS + 1
    found = read([{"index_updated_at": updated}, {"index_updated_at": later}, {}])
    assert found["index_age_typical_days"] == (pytest.approx(2.0, rel=0.02), 1)


def test_verdicts_are_told_by_their_words() -> None:
    feedback = [
        {"name": "answer_quality", "label": "pass", "score": 0.9},
        {"name": "answer_quality", "label": "Fail", "score": 0.1},
        {"name": "answer_quality", "label": "maybe"},
        {"name": "groundedness", "label": "unsupported"},
        {"name": "groundedness", "label": "supported"},
        {"name": "groundedness", "label": "supported"},
        {"name": "user_feedback", "label": "bad"},
    ]
    found = read([], feedback)
    assert found["judge_fail_ratio"] == (0.5, 2)
    assert found["unsupported_claim_ratio"] == (1 / 3, 3)
    assert found["thumbs_down_ratio"] == (1.0, 1)
    assert found["judge_score_mean"] == (pytest.approx(0.5), 2)


def test_corrections_are_counted_against_interactions() -> None:
    correction = {"name": "user_correction", "label": "corrected"}
    assert read([{}] * 4)["user_corrected_ratio"] == (0.0, 4)
    assert read([{}] * 4, [correction])["user_corrected_ratio"] == (0.25, 4)
    assert read([{}], [correction] * 2)["user_corrected_ratio"] == (1.0, 2), "reports of another window's"
    assert read([], [correction] * 3)["user_corrected_ratio"] == (1.0, 3)


def test_a_severe_flag_is_counted_against_interactions() -> None:
    severities = ["high", "critical", "low", None]
    found = read([{"attributes": {"safety_severity": word}} for word in severities] + [{}] * 4)
    assert found["safety_high_ratio"] == (2 / 8, 8)


def test_what_no_record_has_is_not_observed() -> None:
    assert set(read([{}])) == {"request_rate", "error_ratio", "safety_high_ratio", "user_corrected_ratio"}


def test_every_reading_names_measures_that_exist() -> None:
    window = measures.window(START_MS, [interaction(0)])
    assert window.values.shape == (len(window.segments), len(LAYOUT.numeric_signals))
    assert {*LAYOUT.numeric_signals, *LAYOUT.mix_signals} == set(SIGNALS)
    mixes = {name for name, signal in SIGNALS.items() if signal.kind == "mix"}
    assert set(LAYOUT.mix_signals) == mixes


RECORDS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "duration_ms": st.floats(0, 1e5),
            "cost": st.floats(0, 10),
            "tokens_in": st.integers(0, 10_000),
            "steps": st.integers(0, 50),
            "outcome": st.sampled_from(["success", "failure", "abandoned"]),
            "tool_calls": st.lists(st.fixed_dictionaries({"name": st.sampled_from("ab")}), max_size=3),
            "attributes": st.fixed_dictionaries(
                {}, optional={"source": st.sampled_from(["a", "b", 1, 1.0, True, None])}
            ),
            "tenant": st.sampled_from("xy"),
        },
    ),
    min_size=1,
    max_size=30,
)


@given(RECORDS, st.integers(1, 30), st.randoms(use_true_random=False))
def test_neither_chunks_nor_shards_nor_order_change_a_block(
    given_: list[dict[str, Any]], cut: int, random: Any
) -> None:
    records = [interaction(n, **fields) for n, fields in enumerate(given_)]
    now_ms = START_MS + 1000
    whole = encode(measures.measured("interaction", records, now_ms))
    assert encode(measures.measured("interaction", records, now_ms, chunk_records=cut)) == whole
    parts = [
        measures.measured("interaction", part, now_ms) for part in (records[:cut], records[cut:]) if part
    ]
    assert encode(merge(parts, LAYOUT)) == whole
    random.shuffle(records)
    assert encode(measures.measured("interaction", records, now_ms, chunk_records=cut)) == whole


@given(RECORDS, RECORDS)
def test_spans_read_like_the_windows_they_are_merged_of(
    left: list[dict[str, Any]], right: list[dict[str, Any]]
) -> None:
    lines = [interaction(n, **fields) for n, fields in enumerate([*left, *right])]
    a, b = (measures.window(START_MS, part) for part in (lines[: len(left)], lines[len(left) :]))
    both = measures.window(START_MS, lines)
    whole = WindowBlock(START_MS, START_MS + 20_000, both.block, LAYOUT)
    merged = a.measures(0).merge(b.measures(0))
    for at, name in enumerate(whole.signals):
        value = merged.read(name, 20_000)
        if value is None:
            assert np.isnan(whole.values[0, at])
        else:
            assert (value.value, value.n) == (whole.values[0, at], whole.counts[0, at])
