"""What a mix alone is taken for, and how it is told."""

from __future__ import annotations

import pytest

from detectors.incidents.classification import classify
from detectors.incidents.effects import Effect
from detectors.incidents.findings import Finding
from detectors.incidents.grouping import explains
from detectors.incidents.places import relative_size
from detectors.incidents.scene import Scene
from detectors.incidents.severity import severity_of_incident
from detectors.incidents.wording import with_unit
from detectors.records import FLEET, SegmentKey, Severity
from streams.signals import SIGNALS

NOW_MS = 1_790_000_000_000
EU = SegmentKey(("region",), ("eu",))


def moved(label: str, expected: float, observed: float, nats: float = 40.0) -> Effect:
    return Effect(nats, NOW_MS - 600_000, 500.0, observed, expected, observed - expected, label)


def taken_for(**effects: Effect) -> tuple[str, str]:
    scene = Scene(FLEET, effects, frozenset(), (), 0.0, SIGNALS, frozenset(effects))
    named = classify(scene)
    return named.type, severity_of_incident(named.type, scene, 1.0, 10**9, Severity.WARNING).label


@pytest.mark.parametrize(
    ("signal", "effect", "kind", "severity"),
    [
        ("topic_mix", moved("taxes", 0.0, 0.12), "input_drift", "warning"),
        ("topic_mix", moved("taxes", 0.0, 0.04), "input_drift", "info"),
        ("attributes_mix", moved("doc_locale=", 0.001, 0.0125), "schema_change", "critical"),
        ("attributes_mix", moved("doc_locale=de_DE", 0.0001, 0.005), "schema_change", "warning"),
        ("attributes_mix", moved("customer_tier=free", 0.7, 0.75), "mix_change", "info"),
        ("attributes_mix", moved("language=pt", 0.0, 0.12), "input_drift", "warning"),
        ("attributes_mix", moved("language=en", 0.6, 0.56), "input_drift", "info"),
        ("attributes_mix", moved("language=", 0.001, 0.2), "schema_change", "critical"),
        ("attributes_mix", moved("safety_model_version=g5", 0.0, 1.0), "mix_change", "info"),
        ("model_requested_mix", moved("b", 0.2, 0.8), "mix_change", "info"),
        ("model_served_mix", moved("a-1106", 0.0, 1.0), "model_drift", "warning"),
        ("finish_reason_mix", moved("length", 0.02, 0.2), "model_drift", "warning"),
        ("prompt_version_mix", moved("v20", 0.0, 1.0), "mix_change", "info"),
        ("evaluator_version_mix", moved("2026-11", 0.0, 1.0), "mix_change", "info"),
        ("tool_mix", moved("search", 0.3, 0.6), "mix_change", "info"),
    ],
)
def test_a_mix_that_moves_alone(signal: str, effect: Effect, kind: str, severity: str) -> None:
    assert taken_for(**{signal: effect}) == (kind, severity)


def test_a_new_judge_beside_other_scores_and_another_model_beside_other_prices() -> None:
    judged = Effect(20.0, NOW_MS - 600_000, 200.0, 0.81, 0.89, -0.08)
    assert (
        taken_for(evaluator_version_mix=moved("2026-11", 0.0, 1.0), judge_score_mean=judged)[0]
        == "eval_baseline"
    )
    dearer = Effect(30.0, NOW_MS - 600_000, 500.0, 0.0045, 0.003, 0.4)
    models = {"model_requested_mix": moved("b", 0.2, 0.8), "model_served_mix": moved("b-1", 0.2, 0.8)}
    assert taken_for(**models, cost_per_1k_typical_usd=dearer) == ("cost_per_token", "critical")
    slower = Effect(30.0, NOW_MS - 600_000, 500.0, 1000.0, 800.0, 0.22)
    assert taken_for(**models, latency_typical_ms=slower) == ("mix_change", "info")


def test_a_mix_has_no_direction_and_its_size_is_a_difference_of_shares() -> None:
    signal = SIGNALS["model_served_mix"]
    rose, fell = moved("b", 0.2, 0.8), moved("a", 0.7, 0.1)
    assert relative_size(signal, rose) == pytest.approx(0.6)
    assert relative_size(signal, fell) == pytest.approx(0.6)
    whole, part = Finding(FLEET, signal.name, rose, NOW_MS), Finding(EU, signal.name, fell, NOW_MS)

    class Half:
        def effect(self, segment: SegmentKey, signal: str) -> Effect | None:
            return None

        def changed(self, signal: str, least_nats: float) -> list[SegmentKey]:
            return []

        def share(self, child: SegmentKey, parent: SegmentKey) -> float:
            return 0.5

        def since(self, segment: SegmentKey, signal: str, since_ms: int) -> None:
            return None

        def rate(self, segment: SegmentKey) -> float:
            return 0.0

        def known_for_ms(self, segment: SegmentKey) -> int:
            return 10**9

    assert explains(whole, part, signal, Half()), "a part shows what the whole does, whichever label it names"


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.12, "12 %"), (0.0, "0 %"), (1.0, "100 %"), (3e-5, "under 0.01 %"), (0.00103, "0.103 %")],
)
def test_shares_are_told_in_percent(share: float, words: str) -> None:
    assert with_unit(share, "share") == words
