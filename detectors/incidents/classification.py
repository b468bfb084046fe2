"""What kind of thing happened: a table of types, and one function that reads it.

Rows are tried from the top; the first that fits names the incident. The order says what outranks what: harm before
its symptoms, causes before what follows from them (longer prompts before the latency and the cost that they
bring). ``leads`` say which signals show the type; the clearest of them becomes the signal of the incident. All
``needs`` must hold besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from detectors.incidents.findings import RELEASED
from detectors.incidents.scene import (
    Announced,
    Compensated,
    Condition,
    Confined,
    Everywhere,
    LabelledAs,
    Missing,
    Moved,
    Not,
    Scene,
    Still,
    Usual,
)
from detectors.records import IncidentType

LATENCY: Final = (
    *("latency_typical_ms", "latency_p50_ms"),
    *("ttft_typical_ms", "ttft_p50_ms", "tpot_typical_ms"),
)
LATENCY_TAIL: Final = (
    *("latency_tail_ratio", "latency_p999_ratio"),
    *("latency_p99_ms", "latency_p95_ms", "ttft_p95_ms"),
)
TOKENS_IN: Final = ("tokens_in_typical", "tokens_in_mean")
TOKENS_OUT: Final = ("tokens_out_typical", "tokens_out_mean")
COST: Final = ("cost_typical_usd", "cost_per_request_usd", "cost_p50_usd")
PRICE: Final = ("cost_per_1k_typical_usd", "cost_per_1k_tokens_usd")
COST_TAIL: Final = ("cost_tail_ratio", "cost_p95_usd", "cost_max_usd")
JUDGED: Final = ("judge_fail_ratio", "judge_score_mean")
OUTCOMES: Final = (Moved(("success_ratio",), "down"), Moved(("abandoned_ratio", "escalated_ratio")))
"""What came of it for users: a symptom of nearly everything above it."""
USERS: Final = ("thumbs_down_ratio", "user_corrected_ratio")
RELEASES: Final = ("prompt", "deploy", "experiment")
PROVIDERS: Final = ("provider", "model")
CLASSIFIER: Final = ("safety_model_version", "safety_classifier", "guardrail")
"""Attributes whose change means that the ruler changed, not what it measures."""
AUDIENCE: Final = ("language=",)
"""Attributes that say who asks: another value is another audience, not another form of the record."""
MODELS: Final = ("model_requested_mix", "model_served_mix")
NOTABLE: Final = 0.1
"""Logarithm: a tenth more tokens, time or money."""
HARM: Final = ("refusal_ratio", "unsupported_claim_ratio", "judge_fail_ratio", "tool_error_ratio")
HARMED: Final = 0.03
"""Answers that are worse by so many points are there to be seen: that there are fewer of them is no silence."""
LONGER: Final = 0.05
"""The same of prompts alone: what makes answers slower and dearer is worth its name sooner."""


class Row(NamedTuple):
    """One way to tell a type."""

    type: IncidentType
    leads: tuple[Moved, ...]
    needs: tuple[Condition, ...] = ()


TABLE: Final = (
    Row("safety", (Moved(("safety_high_ratio", "safety_flag_ratio")),)),
    Row(
        "agent_loop",
        (
            Moved(("steps_tail_ratio",)),
            Moved(("steps_mean", "tool_calls_mean"), "up", 0.2),
            Moved(("steps_typical",), "up", 0.4),
        ),
    ),
    Row(
        "eval_baseline",
        (Moved(("judge_score_mean", "judge_fail_ratio"), "any"),),
        (
            Moved(("evaluator_version_mix",), "any"),
            Still((*USERS, "refusal_ratio", *TOKENS_OUT), "any", NOTABLE),
        ),
    ),
    Row(
        "eval_baseline",
        (Moved(("judge_score_mean", "judge_fail_ratio"), "any"),),
        (Announced(("judge",)), Still((*USERS, "refusal_ratio", *TOKENS_OUT), "any", NOTABLE)),
    ),
    Row(
        "eval_baseline",
        (Moved(("judge_score_mean",), "any"),),
        (
            Everywhere(),
            Still(("judge_fail_ratio",), known=True),
            Still(("thumbs_down_ratio", "refusal_ratio")),
        ),
    ),
    Row(
        "prompt_regression",
        (Moved(("schema_valid_ratio",), "down"),),
        (Announced(("prompt", "deploy")),),
    ),
    Row("prompt_regression", (Moved(("schema_valid_ratio",), "down"),), (Confined(("prompt_version",)),)),
    Row(
        "prompt_regression",
        (Moved(("schema_valid_ratio",), "down"),),
        (Moved(("prompt_version_mix",), "any"),),
    ),
    Row("cache_degradation", (Moved(("cache_hit_ratio",), "down"),), (Still(("error_ratio",), "up", 0.1),)),
    Row(
        "latency",
        (Moved(LATENCY, "up", 0.15),),
        (Moved(("error_ratio",)), Still(("error_ratio",), "up", 0.3), Still(TOKENS_IN, "up", NOTABLE)),
    ),
    Row(
        "provider_outage",
        (Moved(("error_ratio",)), Moved(("retry_ratio",))),
        (Not(Confined(("tenant", "topic", "prompt_name"))),),
    ),
    Row("tool_failure", (Moved(("tool_error_ratio",)),)),
    Row(
        "mix_change",
        (Moved(("request_rate",), "any"), Moved(MODELS, "any")),
        (Compensated(0.1),),
    ),
    Row(
        "mix_change",
        (Moved((*LATENCY, *LATENCY_TAIL, *COST, *PRICE, *COST_TAIL, *TOKENS_OUT, "spend_usd"), "any"),),
        (Compensated(0.8), Still((*JUDGED, "refusal_ratio", "schema_valid_ratio"), "any", 0.05)),
    ),
    Row(
        "no_data",
        (Moved(("request_rate",), "down"),),
        (Still(("error_ratio",), "up"), Still(HARM, "up", HARMED)),
    ),
    Row("data_incident", (Moved(("retrieved_chunks_mean",), "down"),)),
    Row(
        "data_incident",
        (Moved(("retrieval_score_mean",), "down"),),
        (Still(("unsupported_claim_ratio",), "up"),),
    ),
    Row("hallucination_cluster", (Moved(("unsupported_claim_ratio",)),)),
    Row(
        "context_drift", (Moved(("index_age_typical_days", "idk_ratio")),), (Still(("refusal_ratio",), "up"),)
    ),
    Row(
        "input_drift",
        (Moved(("attributes_mix",), "any"),),
        (LabelledAs("attributes_mix", AUDIENCE), Not(Missing("attributes_mix"))),
    ),
    Row(
        "schema_change",
        (Moved(("attributes_mix",), "any"),),
        (Not(LabelledAs("attributes_mix", CLASSIFIER)), Not(Usual("attributes_mix"))),
    ),
    Row(
        "model_drift",
        (Moved(("refusal_ratio",)),),
        (Moved(TOKENS_OUT, "down", 0.7), Still(("refusal_ratio",), "up", 0.5)),
    ),
    Row("refusal_surge", (Moved(("refusal_ratio",)),)),
    Row(
        "eval_divergence",
        (Moved(("thumbs_down_ratio",)),),
        (Still(JUDGED, known=True), Still((*TOKENS_OUT, *LATENCY), "any", 0.15)),
    ),
    Row("model_drift", (Moved(("schema_valid_ratio",), "down"),)),
    Row("model_drift", (Moved(("judge_fail_ratio",)), Moved(("judge_score_mean",), "down"))),
    Row("input_drift", (Moved(("topic_mix",), "any"), Moved(("out_of_scope_ratio",)))),
    Row("model_drift", (Moved(TOKENS_OUT, "any", NOTABLE),), (Still(TOKENS_IN, "any", NOTABLE),)),
    Row("model_drift", (Moved(("finish_reason_mix",), "any"),)),
    Row("model_drift", (Moved(("model_served_mix",), "any"),), (Still(("model_requested_mix",)),)),
    Row("cost_spike", (Moved(("heavy_user_cost_share",)),), (Still(COST, "up", 0.3),)),
    Row(
        "cost_spike", (Moved(("request_rate", "spend_usd")),), (Confined(("tenant",)), Still(COST, "up", 0.3))
    ),
    Row("context_growth", (Moved(TOKENS_IN, "up", LONGER),)),
    Row(
        "cost_per_token",
        (Moved(PRICE), Moved(COST)),
        (Moved(PRICE), Moved(MODELS, "any")),
    ),
    Row("cost_per_token", (Moved(PRICE), Moved(COST)), (Moved(PRICE), Announced(("price",)))),
    Row("cost_per_token", (Moved(PRICE), Moved(COST)), (Moved(PRICE), Confined(PROVIDERS))),
    Row("cost_drift", (Moved(COST), Moved(PRICE))),
    Row(
        "mix_change",
        (Moved(("model_requested_mix",), "any"),),
        (Still((*JUDGED, "refusal_ratio", "schema_valid_ratio", "error_ratio"), "any", 0.05),),
    ),
    Row("latency_tail", (Moved(LATENCY_TAIL),), (Still(("latency_p50_ms",), "up", 0.1, known=True),)),
    Row("latency", (Moved(LATENCY, "up", NOTABLE),)),
    Row("latency", (Moved(LATENCY_TAIL),), (Moved(LATENCY, "up", NOTABLE),)),
    Row("latency_tail", (Moved(LATENCY_TAIL),), (Still(LATENCY, "up", NOTABLE),)),
    Row("latency", (Moved(LATENCY),)),
    Row("eval_divergence", (Moved(("thumbs_down_ratio",)),), (Still(JUDGED),)),
    Row("prompt_regression", OUTCOMES, (Announced(("prompt", "deploy")),)),
    Row("prompt_regression", OUTCOMES, (Confined(("prompt_version",)),)),
    Row("eval_divergence", OUTCOMES, (Still(JUDGED, known=True),)),
    Row("model_drift", OUTCOMES),
    Row("cost_spike", (Moved(("cost_per_user_usd",)),)),
    Row("cost_drift", (Moved(("cost_per_success_usd",)),)),
    Row("mix_change", (Moved((*MODELS, *RELEASED, "tool_mix", "attributes_mix"), "any"),)),
)


class Named(NamedTuple):
    """What kind of incident it is."""

    type: IncidentType
    signal: str | None
    """The signal that shows it best; None when nothing is known beyond the evidence itself."""


def classify(scene: Scene, *, rule: bool = False) -> Named:
    """The first type of the table that fits; ``rule``: the incident is a rule's, and nothing else is known."""
    for row in TABLE:
        leads = [name for lead in row.leads if (name := lead.lead(scene)) is not None]
        if leads and all(need.holds(scene) for need in row.needs):
            return Named(row.type, leads[0])
    return Named("threshold" if rule else "anomaly", None)


def reference() -> Iterator[str]:
    """The table as Markdown."""
    yield "| type | shown by (one of) | and |"
    yield "|---|---|---|"
    for row in TABLE:
        leads = "; ".join(lead.reference for lead in row.leads)
        needs = "; ".join(need.reference for need in row.needs)
        yield f"| `{row.type}` | {leads} | {needs} |"
