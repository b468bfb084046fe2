"""Windows summed at once are those that AGGREGATE gives."""

from __future__ import annotations

import orjson

from detectors.sketches.block import encode
from streams.backtest.windows import Arriving, InOrder, Window
from streams.config import Config
from streams.simulate.catalogue import Span, plan
from streams.simulate.events import Event
from streams.simulate.traffic import TrafficSpec, generate

START_MS = 1_788_775_200_000
HOUR_MS = 3_600_000


def _spec(rate_per_day: float, hours: float) -> TrafficSpec:
    span = Span(START_MS, START_MS + 10 * HOUR_MS, rate_per_day, 5)
    effects = plan("S13", "severe", START_MS + HOUR_MS, span).effects
    return TrafficSpec.per_day(START_MS, hours / 24, rate_per_day, seed=5, effects=effects)


def _at_once(config: Config, spec: TrafficSpec, changes: list[Event]) -> list[Window]:
    in_order = InOrder(config, spec)
    windows: list[Window] = []
    for batch in generate(spec):
        mine = [c for c in changes if batch[0].occurred_at_ms <= c.occurred_at_ms <= batch[-1].occurred_at_ms]
        windows += in_order.add(sorted([*batch, *mine], key=lambda event: event.occurred_at_ms))
    return windows + list(in_order.finish())


def _through_aggregate(config: Config, spec: TrafficSpec, changes: list[Event]) -> list[Window]:
    arriving = Arriving(config)
    events = [event for batch in generate(spec) for event in batch] + changes
    windows: list[Window] = []
    for event in sorted(events, key=lambda event: event.occurred_at_ms):
        windows += arriving.add(event.kind, event.value)
    return windows + list(arriving.finish())


def _change(at_ms: int) -> Event:
    change = {"change_id": "c-1", "occurred_at": at_ms, "kind": "deploy", "summary": "a release"}
    return Event("change", b"c-1", at_ms, orjson.dumps(change))


def _same(rate_per_day: float, hours: float) -> int:
    config = Config()
    spec = _spec(rate_per_day, hours)
    changes = [_change(START_MS + 600_123)]
    expected = {w.start_ms: w for w in _through_aggregate(config, spec, changes)}
    found = _at_once(config, spec, changes)
    assert [w.start_ms for w in found] == list(range(START_MS, spec.end_ms, config.base_window_ms))
    assert set(expected) <= {w.start_ms for w in found}
    for window in found:
        if window.start_ms in expected:
            assert encode(window.block) == encode(expected[window.start_ms].block)
            assert window.changes == expected[window.start_ms].changes
        else:
            assert len(window.block) == 0  # at the edges: before the first and after the last record
    assert sum(len(window.changes) for window in found) == 1
    return len(found)


def test_sparse_traffic() -> None:
    """Windows with a few records, some with none."""
    assert _same(3_000, 2.2) == 792


def test_dense_traffic() -> None:
    """Blocks of the generator that are shorter than many windows."""
    assert _same(400_000, 0.6) == 216
