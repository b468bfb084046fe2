"""What DETECT tells of signals and of mixes alike: only news, and that a level is back."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.base import Columns
from detectors.records import Evidence, SegmentKey, Severity
from detectors.scoring import Scored, Scoring
from detectors.sketches.window import WindowBlock

LEVEL: Final = "level"
"""Name under which it is said that a level is back."""
_GROWN: Final = 1.1
"""Evidence that grew by this factor is news."""


class Said(Columns):
    """When evidence was last told of each series, and how strong it was: an incident fires in every window.

    ``more`` are columns beside these.
    """

    def __init__(self, repeat_secs: int, **more: tuple[type[np.generic], float]) -> None:
        super().__init__(at_ms=(np.int64, -1), statistic=(np.float64, 0.0), **more)
        self._repeat_ms = repeat_secs * 1000

    def is_news(self, series: int, statistic: float, now_ms: int) -> bool:
        """Whether that was not told lately, or has grown since."""
        last_ms = int(self["at_ms"][series])
        recent = last_ms >= 0 and now_ms - last_ms < self._repeat_ms
        return not recent or statistic > _GROWN * float(self["statistic"][series])

    def note(self, series: int, statistic: float, now_ms: int) -> None:
        self["at_ms"][series], self["statistic"][series] = now_ms, statistic


def level_is_back(
    scored: Scored, at: int, scoring: Scoring, block: WindowBlock, segment: SegmentKey, signal: str,
    nats: float, least_nats: float, label: str | None = None,
) -> Evidence:  # fmt: skip
    """Evidence that a frozen series is where its baseline expects it; ``at`` is its pane among the scored."""
    panes = scored.panes
    expected, lower, upper = scoring.band(scored, at, float(panes.n[at]))
    return Evidence(
        detector=LEVEL, family="drift", segment=segment, signal=signal,
        window_start_ms=block.window_start_ms, window_end_ms=block.window_end_ms,
        severity=Severity.INFO, statistic=nats, threshold=least_nats,
        observed=float(panes.value[at]), expected=expected, lower=lower, upper=upper,
        n=int(panes.events[at]), started_at_ms=int(panes.start_ms[at]), firing=False, label=label,
    )  # fmt: skip
