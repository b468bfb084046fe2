"""A real silent model change: GPT-4 in March, then in June 2023, on the same questions (LLMDrift, prime)."""

from __future__ import annotations

import csv
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from builders import BASE_MS, LAYOUT, START_MS

from detectors.incidents.docket import STATISTICAL
from detectors.incidents.triage import Triage, TriageParams
from detectors.monitor import Detect, DetectParams
from detectors.records import FLEET, Incident, SegmentKey
from detectors.rules.defaults import DEFAULT_RULES
from detectors.sketches.build import Columns, Segmentation, build
from detectors.sketches.window import WindowBlock
from streams.signals import SIGNALS

DATA = Path(os.environ.get("TIDEWATCH_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
PRIME = DATA / "llmdrift" / "PRIME_FULL_EVAL.csv"
GPT4 = SegmentKey(("provider", "model"), ("openai", "gpt-4"))
PER_WINDOW = BASE_MS // 1000
"""One event a second."""

pytestmark = pytest.mark.skipif(not PRIME.exists(), reason=f"LLMDrift data not found at {PRIME}")


@cache
def answers(dataset: str | None) -> tuple[np.ndarray, np.ndarray]:
    """March and June answers of GPT-4: columns latency (ms), cost (USD), answer tokens."""
    months: dict[str, list[list[float]]] = {"gpt-4-0314": [], "gpt-4-0613": []}
    with PRIME.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            model = row["model"].removeprefix("openaichat/")
            if model in months and dataset in (None, row["dataset"]):
                months[model].append(
                    [float(row["latency"]) * 1e3, float(row["cost"]), float(row["answer_token"])]
                )
    march, june = (np.array(rows) for rows in months.values())
    return march, june


def incidents_of(stream: np.ndarray, seed: int) -> list[Incident]:
    """Statistical incidents of a stream at one event a second, several segmentations at once."""
    offset_ms = seed * 1237 % BASE_MS
    detect, triage = Detect(DetectParams(), DEFAULT_RULES, SIGNALS, BASE_MS), Triage(TriageParams(), "test")
    window_of = (np.arange(len(stream)) * 1000 + offset_ms) // BASE_MS
    found: list[Incident] = []
    for number in range(int(window_of[-1]) + 1):
        rows = stream[window_of == number]
        columns = Columns(
            [f"{number}-{k}" for k in range(len(rows))],
            True,
            {},
            {"duration_ms": rows[:, 0], "cost_usd": rows[:, 1], "tokens_out": rows[:, 2]},
            {},
        )
        one = np.ones(len(rows), np.int32)
        segments = (FLEET, SegmentKey(("provider",), ("openai",)), GPT4)
        block = build(columns, [Segmentation(one, [segment]) for segment in segments], LAYOUT)
        start_ms = START_MS + number * BASE_MS
        window = WindowBlock(start_ms, start_ms + BASE_MS, block, LAYOUT)
        step = triage.step(detect.close(window).evidence, window, SIGNALS, effects=detect.effects)
        detect.apply(step.verdicts)
        found += [i for i in step.incidents if i.family == STATISTICAL]
    return found


@pytest.mark.parametrize("dataset", ["prime", None], ids=["500 of each month", "1000 of each month"])
@pytest.mark.parametrize("seed", range(20))
def test_the_change_of_gpt4_is_found_after_the_switch_and_not_before(seed: int, dataset: str | None) -> None:
    rng = np.random.default_rng(seed)
    march, june = answers(dataset)
    stream = np.concatenate([rng.permutation(march), rng.permutation(june)])
    found = incidents_of(stream, seed)
    switch_ms = START_MS + len(march) * 1000
    assert [i for i in found if i.detected_at_ms <= switch_ms] == []
    hits = [i for i in found if i.segment in (FLEET, GPT4)]  # the model is all there is
    assert hits, "no statistical incident"
    assert min(i.detected_at_ms for i in hits) <= switch_ms + 120_000
    onset = min(hits, key=lambda i: i.detected_at_ms).started_at_ms
    assert abs(onset - switch_ms) <= 60_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_march_alone_is_quiet_for_half_a_day(seed: int) -> None:
    """Answers of one month drawn with replacement, 40,000 of them: nothing changes, nothing fires."""
    rng = np.random.default_rng(1000 + seed)
    march, _ = answers(None)
    assert incidents_of(march[rng.integers(0, len(march), 40_000)], seed) == []
