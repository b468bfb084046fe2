"""Each kind of incident, as DETECT sees it in a small fleet: one incident, rightly named, judged and placed."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from world import ACME, ACME_2, HOUR_MS, Cause, Desk, World, at

from detectors.records import FLEET, AnnouncedChange, SegmentKey

AGENT, CHAT, SEARCH = at(feature="agent"), at(feature="chat"), at(feature="search")


class Case(NamedTuple):
    """What happens, and what should be said."""

    cause: Cause
    type: str
    verdict: str
    severity: str
    segment: SegmentKey
    signal: str
    change: tuple[str, dict[str, str]] | None = None


CASES = {
    "input drift": Case(
        Cause(
            at(region="eu"), {"topic_mix": 0.4, "out_of_scope_ratio": 0.2, "tokens_in_typical": 980.0},
            labels={"topic_mix": "new"},
        ),
        "input_drift", "evaluation baseline", "warning", at(region="eu"), "topic_mix",
    ),
    "silent model update": Case(
        Cause(ACME_2, {"judge_fail_ratio": 0.27, "tokens_out_typical": 75.0, "latency_typical_ms": 560.0}),
        "model_drift", "external API", "critical", ACME, "judge_fail_ratio",
    ),
    "silent update of one task": Case(
        Cause(at(model="acme-2", topic="billing"), {"judge_fail_ratio": 0.35}),
        "model_drift", "external API", "warning", at(model="acme-2", topic="billing"), "judge_fail_ratio",
    ),
    "refusals": Case(
        Cause(ACME_2, {"refusal_ratio": 0.10, "tokens_out_typical": 140.0}),
        "refusal_surge", "external API", "critical", ACME, "refusal_ratio",
    ),
    "refusals after our own prompt": Case(
        Cause(CHAT, {"refusal_ratio": 0.10}),
        "refusal_surge", "model", "critical", CHAT, "refusal_ratio", ("prompt", {"feature": "chat"}),
    ),
    "refusals while the traffic falls": Case(
        Cause(CHAT, {"refusal_ratio": 0.25, "request_rate": 0.6}),
        "refusal_surge", "unknown", "critical", CHAT, "refusal_ratio",
    ),
    "stale knowledge": Case(
        Cause(
            at(topic="billing"), {"index_age_typical_days": 45.0, "idk_ratio": 0.10, "user_corrected_ratio": 0.02}
        ),
        "context_drift", "data pipeline", "warning", at(topic="billing"), "index_age_typical_days",
    ),
    "retrieval fails": Case(
        Cause(at(region="eu"), {"retrieved_chunks_mean": 1.0, "retrieval_score_mean": 0.54, "idk_ratio": 0.25}),
        "data_incident", "data pipeline", "critical", at(region="eu"), "retrieved_chunks_mean",
    ),
    "upstream schema": Case(
        Cause(
            FLEET, {"attributes_mix": 0.25, "tokens_in_typical": 630.0}, labels={"attributes_mix": "doc_locale="}
        ),
        "schema_change", "data pipeline", "critical", FLEET, "attributes_mix",
    ),
    "slow provider": Case(
        Cause(ACME, {"latency_typical_ms": 1200.0, "ttft_typical_ms": 300.0, "error_ratio": 0.024}),
        "latency", "external API", "critical", ACME, "latency_typical_ms",
    ),
    "slow tail": Case(
        Cause(ACME, {"latency_tail_ratio": 0.04}),
        "latency_tail", "external API", "warning", ACME, "latency_tail_ratio",
    ),
    "longer prompts": Case(
        Cause(
            SEARCH, {"tokens_in_typical": 1120.0, "latency_typical_ms": 1000.0, "cost_typical_usd": 0.0029}, 600.0
        ),
        "context_growth", "model", "warning", SEARCH, "tokens_in_typical",
    ),
    "cost creeps": Case(
        Cause(FLEET, {"cost_typical_usd": 0.0024, "cost_per_1k_typical_usd": 0.0036}, 600.0),
        "cost_drift", "model", "warning", FLEET, "cost_typical_usd",
    ),
    "one tenant's volume": Case(
        Cause(at(tenant="t3"), {"request_rate": 5.0, "spend_usd": 0.1}),
        "cost_spike", "evaluation baseline", "critical", at(tenant="t3"), "request_rate",
    ),
    "agents loop": Case(
        Cause(AGENT, {"steps_tail_ratio": 0.05, "steps_typical": 4.5}),
        "agent_loop", "model", "critical", AGENT, "steps_tail_ratio", ("deploy", {"feature": "agent"}),
    ),
    "price": Case(
        Cause(ACME_2, {"cost_per_1k_typical_usd": 0.0045, "cost_typical_usd": 0.003}),
        "cost_per_token", "external API", "critical", ACME, "cost_per_1k_typical_usd",
    ),
    "routing": Case(
        Cause(FLEET, {"cost_per_1k_typical_usd": 0.0045, "cost_typical_usd": 0.003, "model_requested_mix": 0.5}),
        "cost_per_token", "model", "critical", FLEET, "cost_per_1k_typical_usd",
    ),
    "outage": Case(
        Cause(ACME, {"error_ratio": 0.05, "retry_ratio": 0.10, "thumbs_down_ratio": 0.13}),
        "provider_outage", "external API", "critical", ACME, "error_ratio",
    ),
    "silence": Case(
        Cause(SEARCH, {"request_rate": 0.2}), "no_data", "data pipeline", "critical", SEARCH, "request_rate",
    ),
    "safety": Case(
        Cause(at(topic="billing"), {"safety_flag_ratio": 0.02}),
        "safety", "model", "critical", at(topic="billing"), "safety_flag_ratio",
    ),
    "hallucinations": Case(
        Cause(at(topic="travel"), {"unsupported_claim_ratio": 0.15}),
        "hallucination_cluster", "model", "critical", at(topic="travel"), "unsupported_claim_ratio",
    ),
    "hallucinations after retrieval": Case(
        Cause(at(topic="travel"), {"unsupported_claim_ratio": 0.15, "retrieval_score_mean": 0.6}),
        "hallucination_cluster", "data pipeline", "critical", at(topic="travel"), "unsupported_claim_ratio",
    ),
    "prompt regression": Case(
        Cause(CHAT, {"schema_valid_ratio": 0.90}),
        "prompt_regression", "model", "critical", CHAT, "schema_valid_ratio", ("prompt", {"feature": "chat"}),
    ),
    "cache": Case(
        Cause(CHAT, {"cache_hit_ratio": 0.2, "cost_typical_usd": 0.0026, "latency_typical_ms": 900.0}),
        "cache_degradation", "data pipeline", "warning", CHAT, "cache_hit_ratio",
    ),
    "users and judge disagree": Case(
        Cause(FLEET, {"thumbs_down_ratio": 0.16}),
        "eval_divergence", "evaluation baseline", "warning", FLEET, "thumbs_down_ratio",
    ),
    "tools fail": Case(
        Cause(AGENT, {"tool_error_ratio": 0.15, "success_ratio": 0.7, "cost_per_success_usd": 0.003}),
        "tool_failure", "external API", "critical", AGENT, "tool_error_ratio",
    ),
    "tools fail after our own release": Case(
        Cause(AGENT, {"tool_error_ratio": 0.15}),
        "tool_failure", "model", "critical", AGENT, "tool_error_ratio", ("deploy", {"feature": "agent"}),
    ),
    "users give up while the judge is content": Case(
        Cause(FLEET, {"success_ratio": 0.72, "abandoned_ratio": 0.16, "cost_per_success_usd": 0.0028}),
        "eval_divergence", "evaluation baseline", "warning", FLEET, "success_ratio",
    ),
    "more answers go to a person": Case(
        Cause(FLEET, {"escalated_ratio": 0.11}),
        "eval_divergence", "evaluation baseline", "warning", FLEET, "escalated_ratio",
    ),
    "a release that users fail with": Case(
        Cause(CHAT, {"success_ratio": 0.6, "abandoned_ratio": 0.25}),
        "prompt_regression", "model", "critical", CHAT, "success_ratio", ("prompt", {"feature": "chat"}),
    ),
    "dearer successes alone": Case(
        Cause(FLEET, {"cost_per_success_usd": 0.0031}, 600.0),
        "cost_drift", "unknown", "warning", FLEET, "cost_per_success_usd",
    ),
    "one heavy user": Case(
        Cause(at(tenant="t2"), {"heavy_user_cost_share": 0.5, "spend_usd": 0.03, "cost_per_user_usd": 0.026}),
        "cost_spike", "evaluation baseline", "warning", at(tenant="t2"), "heavy_user_cost_share",
    ),
    "every user asks more": Case(
        Cause(at(tenant="t1"), {"cost_per_user_usd": 0.028}),
        "cost_spike", "evaluation baseline", "warning", at(tenant="t1"), "cost_per_user_usd",
    ),
    "judge changed": Case(
        Cause(FLEET, {"judge_score_mean": 0.81, "evaluator_version_mix": 1.0}),
        "eval_baseline", "evaluation baseline", "warning", FLEET, "judge_score_mean",
    ),
}  # fmt: skip


def announced(world: World, kind: str, scope: dict[str, str], minutes_ago: float = 10.0) -> AnnouncedChange:
    return AnnouncedChange("c1", kind, "it was released", world.now_ms - round(minutes_ago * 60_000), scope)


@pytest.mark.parametrize("name", CASES)
def test_it_is_one_incident_with_the_right_name(name: str) -> None:
    case = CASES[name]
    world, desk = World(case.cause), Desk()
    changes = [] if case.change is None else [announced(world, *case.change)]
    step = desk.look(world, *changes)
    (incident,) = step.incidents
    said: dict[str, Any] = {
        "type": incident.incident_type, "verdict": incident.triage_verdict, "severity": incident.severity.label,
        "segment": incident.segment, "signal": incident.signal,
    }  # fmt: skip
    assert said == {name: getattr(case, name) for name in said}
    assert incident.verdict_for or case.verdict == "unknown", "a verdict has reasons"
    assert (incident.related_change is None) == (case.change is None)
    assert len(step.alerts) == 1
    assert incident.started_at_ms >= world.now_ms - 12 * HOUR_MS
    assert {(v.segment, v.signal) for v in step.verdicts} >= {(e.segment, e.signal) for e in world.evidence()}
    assert {v.action for v in step.verdicts} == {"freeze"}
