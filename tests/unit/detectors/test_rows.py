"""Which segments are known well enough to be judged by their own kind alone."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.base import Ints
from detectors.records import FLEET, OVERFLOW_VALUE, SegmentKey
from detectors.rows import Rows

MINUTE_MS = 60_000


def tenant(name: str) -> SegmentKey:
    return SegmentKey(("tenant",), (name,))


def _index(*rows: int) -> Ints:
    return np.array(rows, np.int64)


OLD, NEW, REST = tenant("old"), tenant("new"), tenant(OVERFLOW_VALUE)


def watched(minutes: dict[SegmentKey, range]) -> Rows:
    """Rows of segments with records in these minutes."""
    rows = Rows(100, 14.0)
    for minute in range(max(span.stop for span in minutes.values())):
        here = sorted(segment for segment, span in minutes.items() if minute in span)
        rows.place(here, (minute + 1) * MINUTE_MS)
    return rows


@pytest.mark.parametrize(
    ("span", "until", "expected"),
    [
        (range(3), 3, True),
        (range(5, 600), 600, True),
        (range(500, 562), 600, True),
        (range(500, 501), 600, False),
        (range(500, 559), 600, False),
        (range(20, 38), 38, False),
        (range(20, 45), 45, True),
    ],
    ids=["first minutes", "old", "an hour", "once", "less than an hour", "less than half", "half the time"],
)
def test_a_segment_is_known_when_its_records_span_an_hour(span: range, until: int, expected: bool) -> None:
    rows = watched({FLEET: range(until), OLD: range(until), NEW: span})
    row = rows.row(NEW)
    assert row is not None
    again = Rows(100, 14.0)
    again.from_state(rows.to_state())
    for one in (rows, again):
        assert one.known_well(_index(row)).tolist() == [expected]


def test_what_strangers_are_part_of_is_not_known() -> None:
    rows = watched({FLEET: range(600), OLD: range(600), REST: range(600)})
    index = _index(*(rows.row(segment) or 0 for segment in (FLEET, OLD, REST)))
    assert rows.known_well(index).tolist() == [False, True, False]
