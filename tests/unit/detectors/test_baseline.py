"""What is normal: recent level, shape of the week, correlation; and how much calm traffic stays calm."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from builders import NUMERIC, START_MS, MatrixWindow, matrix

from detectors.incidents.severity import Extent, severity_of
from detectors.incidents.triage import Triage, TriageParams
from detectors.monitor import Detect, DetectParams
from detectors.records import FLEET, SegmentKey, Severity
from detectors.scales import Scales, scale_of
from detectors.season import HOUR_MS, Season
from streams.signals import SIGNALS

COLUMN = {name: at for at, name in enumerate(NUMERIC)}
MINUTE_MS = 60_000
DAY = 1440


@pytest.mark.parametrize("name", NUMERIC)
def test_scales_are_their_own_inverse(name: str) -> None:
    scales = Scales(list(NUMERIC.values()), 6, 10_000)
    column = np.full(4, COLUMN[name])
    values = np.array([0.0, 0.01, 0.5, 1.0])
    back = scales.inverse(column, scales.forward(column, values))
    np.testing.assert_allclose(back, values, rtol=1e-9, atol=1e-12)


def test_high_quantiles_need_enough_values() -> None:
    needed = {
        name: scale_of(signal, 1.0).min_window_n
        for name, signal in NUMERIC.items()
        if signal.kind == "quantile"
    }
    assert needed == {
        "latency_p50_ms": 3, "latency_p95_ms": 20, "latency_p99_ms": 100, "ttft_p50_ms": 3, "ttft_p95_ms": 20,
        "cost_p50_usd": 3, "cost_p95_usd": 20, "cost_max_usd": 100,
    }  # fmt: skip


def test_the_week_is_known_after_a_week_and_between_hours() -> None:
    season = Season(1)
    season.grow(1)
    index, one = np.zeros(1, np.int64), np.ones(1)
    for hour in range(-2, 170):
        at = START_MS + hour * HOUR_MS + HOUR_MS // 2
        season.learn(index, np.array([float(hour % 168)]), one, 0.0 * one, at)
    assert season.at(index, START_MS + 10 * HOUR_MS + HOUR_MS // 2)[0] == pytest.approx(10.0)
    assert season.at(index, START_MS + 11 * HOUR_MS)[0] == pytest.approx(10.5)
    assert np.isnan(one_day_of_season().at(index, START_MS + 100 * HOUR_MS)[0])


def test_an_hour_is_no_part_of_what_is_expected_right_after_it() -> None:
    season, index, one = Season(1), np.zeros(1, np.int64), np.ones(1)
    season.grow(1)
    for hour in range(-2, 170):
        season.learn(index, np.array([float(hour % 24)]), one, 0.0 * one, START_MS + hour * HOUR_MS)
    now_ms = START_MS + 171 * HOUR_MS
    before = season.at(index, now_ms)[0]
    season.learn(index, 1000.0 * one, one, 0.0 * one, START_MS + 170 * HOUR_MS)
    season.learn(index, one, one, 0.0 * one, now_ms)
    assert season.at(index, now_ms + HOUR_MS // 4)[0] == pytest.approx(before, abs=0.5)
    restored = Season(1)
    restored.from_state(season.to_state())
    for one_of_them in (season, restored):
        one_of_them.learn(index, one, one, 0.0 * one, now_ms + HOUR_MS)
        assert one_of_them.at(index, START_MS + 338 * HOUR_MS + HOUR_MS // 2)[0] > 100.0, (
            "but it is next week"
        )


def one_day_of_season() -> Season:
    season = Season(1)
    season.grow(1)
    for hour in range(24):
        season.learn(np.zeros(1, np.int64), np.ones(1), np.ones(1), np.zeros(1), START_MS + hour * HOUR_MS)
    return season


@pytest.mark.parametrize(("cycle", "believed"), [(0.0, (0.0, 0.25)), (0.01, (0.6, 0.9)), (0.1, (0.97, 1.0))])
def test_hours_are_believed_as_far_as_chance_does_not_explain_them(
    cycle: float, believed: tuple[float, float]
) -> None:
    """A rare event, one in a hundred of 400 an hour, whose cycle is none, as much as chance, or far more."""
    rng, season = np.random.default_rng(2), Season(1)
    season.grow(1)
    index, n = np.zeros(1, np.int64), np.full(1, 400.0)
    for hour in range(2 * 168 + 2):
        level = 0.01 + cycle * (1.0 + np.sin(2 * np.pi * hour / 24))
        x = np.array([rng.binomial(400, level) / 400])
        season.learn(index, x, n, np.full(1, level * (1 - level)), START_MS + hour * HOUR_MS)
    at = START_MS + (2 * 168 + 6) * HOUR_MS + HOUR_MS // 2
    crest, trough = season.at(index, at)[0], season.at(index, at + 12 * HOUR_MS)[0]
    low, high = believed
    assert low * 2 * cycle - 0.004 <= crest - trough <= high * 2 * cycle + 0.006


def weekly(day: float) -> tuple[float, float]:
    """(requests a minute, median latency in ms) of a product with a strong day and a quiet weekend."""
    cycle = np.sin(2 * np.pi * day)
    busy = 0.5 if int(day) % 7 in (5, 6) else 1.0
    return 60 * busy * float(np.exp(1.2 * cycle)), 1000 * float(np.exp(0.4 * cycle))


def minute_of(number: int, rng: np.random.Generator, slower: float = 1.0) -> MatrixWindow:
    rate, latency = weekly(number / DAY)
    n = max(int(rng.poisson(rate)), 1)
    median = float(np.median(rng.lognormal(np.log(latency * slower), 0.7, n)))
    return matrix(
        START_MS + number * MINUTE_MS,
        [FLEET],
        MINUTE_MS,
        request_rate=([n / 60], [n]),
        latency_p50_ms=([median], [n]),
    )


@pytest.mark.slow
def test_same_hour_of_the_week_is_the_reference_once_it_is_known() -> None:
    """Three weeks; the cycle is no news in the third, and a slowdown inside the cycle's own range is."""
    rng = np.random.default_rng(0)
    detect, triage = Detect(DetectParams(), (), SIGNALS, MINUTE_MS), Triage(TriageParams(), "test")
    errors = []
    for number in range(21 * DAY):
        block = minute_of(number, rng)
        closing = detect.close(block)
        step = triage.step(closing.evidence, block, SIGNALS, effects=detect.effects)
        detect.apply(step.verdicts)
        assert step.alerts == []
        if number >= 14 * DAY:
            expected = closing.expected[0, COLUMN["latency_p50_ms"]]
            errors.append(abs(np.log(expected / weekly(number / DAY)[1])))
    assert np.quantile(errors, 0.95) < 0.10, "the cycle moves the median by half to double"
    morning = 21 * DAY + DAY * 3 // 4  # the day's fastest hour, slowed to less than the day's mean
    for number in range(21 * DAY, morning + 60):
        block = minute_of(number, rng, slower=1.5 if number >= morning else 1.0)
        step = triage.step(detect.close(block).evidence, block, SIGNALS, effects=detect.effects)
        detect.apply(step.verdicts)
        if step.alerts:
            break
    assert morning <= number <= morning + 20
    assert step.alerts[0].signal == "latency_p50_ms"


SIGNAL_OF = {
    "tokens_out_mean": (lambda tokens, rng: tokens),
    "error_ratio": (lambda tokens, rng: rng.random(len(tokens)) < 0.01),
    "refusal_ratio": (lambda tokens, rng: rng.random(len(tokens)) < 0.03),
    "latency_p50_ms": (lambda tokens, rng: 500 + 8 * tokens * rng.lognormal(0, 0.4, len(tokens))),
}


def bursty_segment(rng: np.random.Generator, windows: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Calm but unpleasant: correlated bursts, daily cycle, tenants of different taste, Pareto tails."""
    level, noise = 0.0, rng.normal(size=windows)
    memory, strength = np.exp(-1 / rng.choice([3, 12, 60])), rng.choice([0.0, 0.4, 0.8])
    burst = np.empty(windows)
    for k in range(windows):
        level = memory * level + noise[k] * strength * np.sqrt(1 - memory**2)
        burst[k] = level
    cycle = rng.choice([0.0, 0.5, 1.0]) * np.sin(2 * np.pi * np.arange(windows) / 8640)
    rate = 10 ** rng.uniform(0, 2) * np.exp(cycle + burst)
    counts = rng.poisson(rate)
    of = np.repeat(np.arange(windows), counts)
    tokens = rng.lognormal(5, 1.0, len(of)) * np.where(
        rng.random(len(of)) < 0.02, 1 + rng.pareto(2.5, len(of)), 1.0
    )
    found = {"request_rate": (counts / 10.0, counts)}
    for name, read in SIGNAL_OF.items():
        values = np.asarray(read(tokens, rng), float)
        with np.errstate(invalid="ignore", divide="ignore"):
            if name.startswith("latency"):
                starts = np.cumsum(counts) - counts
                ordered = values[np.lexsort((values, of))]
                middle = np.minimum(starts + (counts - 1) // 2, len(ordered) - 1)
                found[name] = (np.where(counts > 0, ordered[middle], np.nan), counts)
            else:
                found[name] = (np.bincount(of, values, minlength=windows) / counts, counts)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_million_updates_of_calm_bursty_traffic_give_next_to_no_alert() -> None:
    """The budget is loose on purpose: the seeds are fixed, and nothing was tuned to them."""
    rng = np.random.default_rng(2024)
    windows, segments = 8640, [SegmentKey(("tenant",), (f"t{k:02d}",)) for k in range(30)]
    data = [bursty_segment(rng, windows) for _ in segments]
    detect, triage = Detect(DetectParams(), (), SIGNALS, 10_000), Triage(TriageParams(), "test")
    updates = 0
    worst: dict[str, Severity] = {}
    for number in range(windows):
        here = [k for k, found in enumerate(data) if found["request_rate"][1][number] > 0]
        signals = {
            name: ([data[k][name][0][number] for k in here], [data[k][name][1][number] for k in here])
            for name in ("request_rate", *SIGNAL_OF)
        }
        block = matrix(START_MS + number * 10_000, [segments[k] for k in here], **signals)
        closing = detect.close(block)
        step = triage.step(closing.evidence, block, SIGNALS, effects=detect.effects)
        detect.apply(step.verdicts)
        updates += int((~closing.learning & (block.counts > 0)).sum())
        worst |= {incident.incident_id: incident.severity for incident in step.incidents}
    severities = Counter(severity.label for severity in worst.values())
    print(f"{updates:,} monitor updates, incidents: {dict(severities)}")
    assert updates > 1_000_000
    assert severities["critical"] == 0
    assert severities["warning"] <= 5
    assert severities["info"] <= 60


@pytest.mark.parametrize(
    ("signal", "segment", "changes", "severity"),
    [
        ("error_ratio", FLEET, {}, Severity.CRITICAL),
        ("error_ratio", FLEET, {"events": 199}, Severity.WARNING),
        ("error_ratio", FLEET, {"observed": 0.2}, Severity.WARNING),
        ("error_ratio", FLEET, {"observed": 0.026, "distance": 0.006}, Severity.INFO),
        ("latency_p95_ms", FLEET, {"distance": 3.0}, Severity.WARNING),
        ("latency_p95_ms", FLEET, {"distance": 0.1}, Severity.INFO),
        ("request_rate", FLEET, {"observed": 0.0, "expected": 5.0}, Severity.WARNING),
        ("request_rate", FLEET, {"observed": 0.0, "expected": 0.5}, Severity.INFO),
        ("request_rate", FLEET, {"observed": 50.0, "expected": 5.0}, Severity.INFO),
        ("request_rate", SegmentKey(("tenant",), ("t",)), {"observed": 0.0, "expected": 5.0}, Severity.INFO),
        (
            "request_rate",
            SegmentKey(("tenant",), ("t",)),
            {"observed": 0.0, "expected": 5.0, "segment_age_ms": 90_000_000},
            Severity.WARNING,
        ),
        ("spend_usd", FLEET, {"distance": 5.0}, Severity.WARNING),
        ("spend_usd", FLEET, {"distance": 0.5}, Severity.INFO),
    ],
)
def test_severity(signal: str, segment: SegmentKey, changes: dict[str, float], severity: Severity) -> None:
    extent = Extent(observed=0.5, expected=0.02, distance=0.48, events=200, span_ms=180_000, segment_age_ms=0)
    found = SIGNALS[signal]
    assert severity_of(found, scale_of(found, 1.0), segment, extent._replace(**changes)) == severity
