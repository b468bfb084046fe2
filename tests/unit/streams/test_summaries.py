"""Summaries are JSON, put together from whole columns: the same bytes as encoding row by row."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from detectors.sketches.window import WindowBlock
from streams.simulate import TrafficSpec, generate
from streams.summaries import encode_summaries
from tests.support import measures

START_MS = 1_790_000_000_000
ROWS_PER_RECORD = 50


def plainly(window: WindowBlock, expected: NDArray[np.float64], learning: NDArray[np.bool_]) -> list[bytes]:
    rows = [
        [
            segment.as_dict(),
            signal,
            float(window.values[r, s]),
            int(window.counts[r, s]),
            None if np.isnan(expected[r, s]) else float(expected[r, s]),
            "learning" if learning[r, s] else "ok",
            None,
        ]
        for r, segment in enumerate(window.segments)
        for s, signal in enumerate(window.signals)
        if not np.isnan(window.values[r, s])
    ]
    rows += [
        [window.segments[row].as_dict(), signal, None, sum(mix.values()), None, "ok", mix]
        for (row, signal), mix in sorted(window.mixes().items())
    ]
    return [
        orjson.dumps(
            {
                "window_start_ms": window.window_start_ms,
                "window_end_ms": window.window_end_ms,
                "fleet": "test",
                "rows": rows[lo : lo + ROWS_PER_RECORD],
            }
        )
        for lo in range(0, len(rows), ROWS_PER_RECORD)
    ]


def simulated_window(events: int) -> WindowBlock:
    spec = TrafficSpec(START_MS, 10, events / 10, seed=1)
    values = [event.value for batch in generate(spec) for event in batch if event.kind == "interaction"]
    return measures.window(START_MS, values)


@pytest.mark.parametrize("events", [3, 2000])
def test_columns_give_the_same_bytes_as_rows(events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.summaries.ROWS_PER_RECORD", ROWS_PER_RECORD)
    window = simulated_window(events)
    rng = np.random.default_rng(4)
    expected = np.where(rng.random(window.values.shape) < 0.3, np.nan, window.values * 1.1)
    learning = rng.random(window.values.shape) < 0.5
    found = list(encode_summaries(window, expected, learning, "test", 900_000))
    assert found == plainly(window, expected, learning)
    assert len(found) > 1


def test_records_stay_below_the_limit_however_long_names_are() -> None:
    names = [f"{n}" + "\U0001f4a9" * 500 for n in range(800)]
    given = [{"event_id": n, "tenant": n, "occurred_at": START_MS, "operation": "chat"} for n in names]
    window = measures.window(START_MS, [orjson.dumps(value) for value in given])
    unknown = np.full(window.values.shape, np.nan)
    found = list(encode_summaries(window, unknown, np.isnan(unknown), "test", 900_000))
    rows = [row for record in found for row in orjson.loads(record)["rows"]]
    assert max(map(len, found)) <= 900_000
    assert rows == [
        row for record in plainly(window, unknown, np.isnan(unknown)) for row in orjson.loads(record)["rows"]
    ]
