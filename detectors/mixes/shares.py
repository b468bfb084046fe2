"""What is known of the labels of a mix, for people."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.base import Bools, Change, Floats, Ints
from detectors.baseline import Baseline
from detectors.detectable import Terms, terms_of
from detectors.drift.glr import Glr
from detectors.scoring import BAND_SIGMAS, Scoring


class Known(NamedTuple):
    """The shares of some labels; aligned arrays."""

    ready: Bools
    expected: Floats
    lower: Floats
    """The band of one pane, three sigmas wide on either side."""
    upper: Floats
    change: Change
    terms: Terms


class Shares(NamedTuple):
    """The labels of one mix of one segment."""

    labels: list[str]
    per_hour: Floats
    """Observations of the whole that each label is a part of."""
    known: Known
    nats_needed: float
    """From this much on TRIAGE opens an incident."""
    open_incident: bool
    panes_per_day: float
    """At most."""


def known_of(series: Ints, now_ms: int, baseline: Baseline, scoring: Scoring, glr: Glr) -> Known:
    ref = baseline.reference(series, now_ms)
    pane_n = np.maximum(baseline.mean_n(series), 1.0)
    spread = BAND_SIGMAS * np.sqrt(baseline.variance(series, ref, pane_n))
    expected, lower, upper = (np.clip(ref.expected + off, 0.0, 1.0) for off in (0.0, -spread, spread))
    terms = terms_of(series, pane_n, now_ms, baseline, scoring, glr)
    return Known(ref.ready, expected, lower, upper, glr.change(series), terms)
