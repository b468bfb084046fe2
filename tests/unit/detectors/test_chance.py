"""A bound is exceeded beyond chance, or not."""

from __future__ import annotations

import numpy as np
import pytest
from builders import BASE_MS, NUMERIC, START_MS, window

from detectors.rules.absolute import Rule
from detectors.rules.book import RuleBook
from detectors.rules.chance import BEYOND_NATS, nats_beyond

WEEK_OF_LOOKS = 2016
"""Spans of five minutes that do not overlap."""


@pytest.mark.parametrize("allowed", [0.02, 0.05, 0.95])
@pytest.mark.parametrize("n", [100, 1000])
def test_chance_at_the_bound_stays_below_what_is_stated(allowed: float, n: int) -> None:
    held = np.random.default_rng(1).binomial(n, allowed, 50_000) / n
    beyond = [share > allowed and nats_beyond(share, allowed, n) >= BEYOND_NATS for share in held.tolist()]
    assert np.mean(beyond) <= np.exp(-BEYOND_NATS)


def test_a_week_of_nights_at_half_the_bound_is_quiet() -> None:
    """One error in a hundred against a bound of two: 100 interactions a span show three or more all the time."""
    rule = Rule(name="errors", signal="error_ratio", warning=0.02, span_secs=60, min_events=100)
    book, rng, fired = RuleBook([rule], NUMERIC, repeat_secs=3600), np.random.default_rng(5), 0
    above = 0
    for look in range(WEEK_OF_LOOKS):
        bad = int(rng.binomial(100, 0.01))
        above += bad > 2
        for part in range(6):
            errors = [1.0] * bad + [0.0] * (100 - bad) if part == 0 else []
            at_ms = START_MS + look * 60_000 + part * BASE_MS
            fired += sum(e.firing for e in book.step(window(at_ms, {"error": errors} if errors else None)))
    assert above > 100
    assert fired <= 2


def test_an_outage_is_beyond_chance_at_once() -> None:
    rule = Rule(name="errors", signal="error_ratio", warning=0.02, span_secs=300, min_events=100)
    book = RuleBook([rule], NUMERIC, repeat_secs=3600)
    assert book.step(window(START_MS, {"error": [1.0] * 50 + [0.0] * 50}))
