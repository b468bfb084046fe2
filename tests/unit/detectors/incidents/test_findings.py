"""Which findings come first, and which must not speak."""

from __future__ import annotations

import pytest

from detectors.incidents.effects import Effect
from detectors.incidents.findings import Finding, in_order, outshone
from detectors.records import FLEET

NOW_MS = 1_790_000_000_000


def finding(signal: str, nats: float, label: str | None = None) -> Finding:
    return Finding(FLEET, signal, Effect(nats, NOW_MS - 600_000, 500.0, 0.1, 0.05, 0.05, label), NOW_MS)


def signals(*findings: Finding) -> list[str]:
    return [found.signal for found in in_order(findings)]


def test_what_moves_beside_a_mix_comes_first_and_the_clearest_of_it_before_the_rest() -> None:
    mix, weak, clear = finding("topic_mix", 25.0, "taxes"), finding("a", 9.0), finding("b", 14.0)
    assert signals(mix, weak, clear) == ["b", "a", "topic_mix"]


def test_what_a_mix_outshines_comes_last() -> None:
    mix, chance, sure = finding("topic_mix", 42.0, "taxes"), finding("a", 10.5), finding("b", 12.0)
    assert signals(chance, mix, sure) == ["b", "topic_mix", "a"]


def test_a_release_outshines_nothing_that_may_have_come_of_it() -> None:
    release, came_of_it = finding("prompt_version_mix", 400.0, "v20"), finding("a", 8.5)
    assert signals(release, came_of_it) == ["a", "prompt_version_mix"]


@pytest.mark.parametrize(
    ("nats", "strongest_nats", "is_outshone"),
    [(8.7, 27.0, True), (8.7, 25.0, False), (11.9, 400.0, True), (12.0, 400.0, False), (8.7, 8.7, False)],
)
def test_a_third_of_the_strongest_may_speak_and_what_is_sure(
    nats: float, strongest_nats: float, is_outshone: bool
) -> None:
    effects = [finding("a", n).effect for n in (nats, strongest_nats)]
    assert outshone(*effects) is is_outshone
