"""When the level of a frozen series counts as back."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.frozen import Frozen, FrozenParams

SERIES = np.zeros(1, np.int64)


def frozen(sigmas: float, *, up: bool = True) -> Frozen:
    state = Frozen(FrozenParams())
    state.grow(1)
    state.noticed(0, up=up, severity=1, sigmas=sigmas, nats=20.0)
    state.freeze(SERIES)
    return state


def panes_until_back(state: Frozen, level: float, seed: int, most: int = 3000) -> int | None:
    """Panes of unit noise around ``level`` until the series is back."""
    for pane, noise in enumerate(np.random.default_rng(seed).normal(size=most)):
        if len(state.step(SERIES, np.array([level + noise])).at):
            return pane
    return None


@pytest.mark.parametrize(("sigmas", "within"), [(8.0, 8), (3.0, 12), (1.0, 70), (0.5, 300)])
@pytest.mark.parametrize("seed", range(5))
def test_a_level_that_is_back_is_noticed_the_sooner_the_farther_it_was_away(
    sigmas: float, within: int, seed: int
) -> None:
    found = panes_until_back(frozen(sigmas), 0.0, seed)
    assert found is not None
    assert found <= within


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sigmas", [0.7, 1.0, 3.0])
def test_noise_does_not_end_an_incident(sigmas: float, seed: int) -> None:
    assert panes_until_back(frozen(sigmas), sigmas, seed, most=1000) is None
    assert panes_until_back(frozen(sigmas, up=False), -sigmas, seed, most=1000) is None


def test_weaker_evidence_later_does_not_change_what_it_has_to_come_back_from() -> None:
    one, other = frozen(3.0), frozen(3.0)
    other.noticed(0, up=True, severity=1, sigmas=0.2, nats=9.0)
    assert other.to_state() == one.to_state()


def test_a_thawed_series_is_not_followed() -> None:
    state = frozen(8.0)
    state.thaw(SERIES)
    assert panes_until_back(state, 0.0, 1, most=50) is None
    assert not state.holds(SERIES)[0]
