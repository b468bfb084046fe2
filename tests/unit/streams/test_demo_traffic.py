"""The demo's traffic: taken in steps, struck by an incident in the middle, nothing lost and nothing twice."""

from __future__ import annotations

import itertools

import pytest

from streams.demo.traffic import Traffic
from streams.simulate import TrafficSpec, generate, silent_model_change

START_MS = 1_790_000_000_123
SPEC = TrafficSpec(START_MS, 90, 60, seed=4, peak_trough=1.0, weekend=1.0)


@pytest.mark.parametrize("step_ms", [700, 10_000, 200_000])
def test_steps_give_the_whole_traffic(step_ms: int) -> None:
    traffic = Traffic(SPEC)
    taken = [traffic.take(at) for at in range(START_MS, SPEC.end_ms + step_ms, step_ms)]
    assert list(itertools.chain(*taken)) == list(itertools.chain(*generate(SPEC)))
    assert traffic.take(SPEC.end_ms + 1) == []


@pytest.mark.parametrize("step_ms", [700, 7_000, 200_000])
def test_a_strike_changes_the_future_exactly_as_if_it_had_been_planned(step_ms: int) -> None:
    onset_ms = START_MS + 41_234
    incident = silent_model_change(onset_ms)
    traffic = Traffic(SPEC)
    got = traffic.take(START_MS + 20_000)
    traffic.strike(onset_ms, incident.effects)
    for at in range(START_MS + 20_000, SPEC.end_ms + step_ms, step_ms):
        got += traffic.take(at)
    planned = TrafficSpec(START_MS, 90, 60, seed=4, peak_trough=1.0, weekend=1.0, effects=incident.effects)
    assert got == list(itertools.chain(*generate(planned)))
    assert got != list(itertools.chain(*generate(SPEC)))
