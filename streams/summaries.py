"""A closed window as records of ``tidewatch.summaries``: JSON, under the record limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from detectors.sketches.window import WindowBlock

ROWS_PER_RECORD: Final = 4000
"""Rows of one record: what ordinary names and numbers take stays far below the limit."""
_CELLS: Final = 6
"""Pieces of JSON of which a row is joined: ``[segment``, signal, value, n, expected, ``status, mix]``."""
_STATUS: Final = np.array([b'"ok",null]', b'"learning",null]'], dtype=object)


def encode_summaries(
    window: WindowBlock,
    expected: NDArray[np.float64],
    learning: NDArray[np.bool_],
    fleet: str,
    max_bytes: int,
) -> Iterator[bytes]:
    """The window's rows ``[segment, signal, value, n, expected or null, status, mix or null]``.

    ``status`` is ``ok`` or ``learning`` (no baseline yet); mixes have value null and carry their counts. A record
    has at most ``max_bytes``, however long names are.
    """
    cells = _cells(window, expected, learning)
    header = {
        "window_start_ms": window.window_start_ms,
        "window_end_ms": window.window_end_ms,
        "fleet": fleet,
    }
    for lo in range(0, len(cells), ROWS_PER_RECORD * _CELLS):
        yield from _records(orjson.dumps(header)[:-1], cells[lo : lo + ROWS_PER_RECORD * _CELLS], max_bytes)


def _records(header: bytes, cells: list[bytes], max_bytes: int) -> Iterator[bytes]:
    """The rows as one record, or halved until each fits; a single row is far below any sensible limit."""
    record = b'%b,"rows":[%b]}' % (header, b",".join(cells))
    rows = len(cells) // _CELLS
    if len(record) <= max_bytes or rows == 1:
        yield record
        return
    half = rows // 2 * _CELLS
    yield from _records(header, cells[:half], max_bytes)
    yield from _records(header, cells[half:], max_bytes)


def _cells(window: WindowBlock, expected: NDArray[np.float64], learning: NDArray[np.bool_]) -> list[bytes]:
    """All rows as pieces of JSON. Whole columns are encoded at once: rows are most of what a window costs."""
    segments = [b"[" + orjson.dumps(segment.as_dict()) for segment in window.segments]
    signals = [orjson.dumps(signal) for signal in window.signals]
    observed = ~np.isnan(window.values)
    at_row, at_signal = np.nonzero(observed)
    cells = [b""] * (len(at_row) * _CELLS)
    cells[0::_CELLS] = map(segments.__getitem__, at_row.tolist())
    cells[1::_CELLS] = map(signals.__getitem__, at_signal.tolist())
    cells[2::_CELLS] = _numbers(window.values[observed])
    cells[3::_CELLS] = _numbers(window.counts[observed])
    cells[4::_CELLS] = _numbers(expected[observed])  # NaN (no expectation) becomes null
    cells[5::_CELLS] = _STATUS[learning[observed].astype(np.intp)].tolist()
    for (row, signal), mix in sorted(window.mixes().items()):
        count = orjson.dumps(sum(mix.values()))
        ending = b'"ok",%b]' % orjson.dumps(mix)
        cells += (segments[row], orjson.dumps(signal), b"null", count, b"null", ending)
    return cells


def _numbers(column: NDArray[Any]) -> list[bytes]:
    encoded = orjson.dumps(column.tolist())[1:-1]
    return encoded.split(b",") if encoded else []
