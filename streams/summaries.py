"""A closed window as records of ``tidewatch.summaries``: JSON, under the record limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from detectors.sketches.window import WindowBlock

ROWS_PER_RECORD: Final = 4000
"""Rows of one record; a row is below 200 bytes but for mixes, so a record stays far below the limit."""


def encode_summaries(
    window: WindowBlock, expected: NDArray[np.float64], learning: NDArray[np.bool_], fleet: str
) -> Iterator[bytes]:
    """The window's rows ``[segment, signal, value, n, expected or null, status, mix or null]``.

    ``status`` is ``ok`` or ``learning`` (no baseline yet); mixes have value null and carry their counts.
    """
    rows = _rows(window, expected, learning)
    for lo in range(0, len(rows), ROWS_PER_RECORD):
        yield orjson.dumps(
            {
                "window_start_ms": window.window_start_ms,
                "window_end_ms": window.window_end_ms,
                "fleet": fleet,
                "rows": rows[lo : lo + ROWS_PER_RECORD],
            }
        )


def _rows(window: WindowBlock, expected: NDArray[np.float64], learning: NDArray[np.bool_]) -> list[list[Any]]:
    segments = [segment.as_dict() for segment in window.segments]
    observed = ~np.isnan(window.values)
    at_row, at_signal = np.nonzero(observed)
    columns = (
        at_row.tolist(),
        at_signal.tolist(),
        window.values[observed].tolist(),
        window.counts[observed].tolist(),
        expected[observed].tolist(),
        learning[observed].tolist(),
    )
    names = window.signals
    rows: list[list[Any]] = [
        # orjson writes NaN (no expectation) as null
        [segments[r], names[s], value, n, expectation, "learning" if new else "ok", None]
        for r, s, value, n, expectation, new in zip(*columns, strict=True)
    ]
    for (row, signal), mix in sorted(window.mixes().items()):
        rows.append([segments[row], signal, None, sum(mix.values()), None, "ok", mix])
    return rows
