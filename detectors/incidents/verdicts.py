"""Where the cause lies: per type, what has to speak for an origin. Without it the verdict is ``unknown``.

A row's conditions must all hold; what they found is what speaks for the verdict. What was announced, or is missing,
speaks against it. First fitting row of the type wins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from detectors.incidents.classification import (
    AUDIENCE,
    CLASSIFIER,
    COST,
    JUDGED,
    LATENCY,
    OUTCOMES,
    PRICE,
    PROVIDERS,
    RELEASES,
    TOKENS_IN,
    TOKENS_OUT,
)
from detectors.incidents.scene import (
    Announced,
    Compensated,
    Condition,
    Confined,
    Everywhere,
    LabelledAs,
    Moved,
    Not,
    NotAnnounced,
    Scene,
    Still,
)
from detectors.records import IncidentType, Origin

MAX_SENTENCES: Final = 6
MAX_CHARS: Final = 160
_STEPS: Final = ("steps_tail_ratio", "steps_mean", "tool_calls_mean", "steps_typical")
_OWN: Final = ("prompt", "deploy")
_NEW_PROMPT: Final = Moved(("prompt_version_mix",), "any")
_ONE_PROVIDER: Final = Confined(PROVIDERS)
_ONE_PLACE: Final = Confined((*PROVIDERS, "region"))


class Row(NamedTuple):
    """What has to hold for an origin."""

    origin: Origin
    needs: tuple[Condition, ...]


TABLE: Final[Mapping[IncidentType, tuple[Row, ...]]] = {
    "safety": (
        Row("evaluation baseline", (LabelledAs("attributes_mix", CLASSIFIER),)),
        Row("evaluation baseline", (Everywhere(), Announced(("model",)))),
        Row("model", (Moved(("safety_flag_ratio", "safety_high_ratio")), Not(Everywhere()))),
    ),
    "agent_loop": (
        Row("model", (Announced(_OWN),)),
        Row("model", (Moved(_STEPS), Moved(("tool_mix",), "any"))),
        Row("model", (Moved(_STEPS), Not(Confined(("tenant",))))),
    ),
    "eval_baseline": (
        Row("evaluation baseline", (Moved(("evaluator_version_mix",), "any"),)),
        Row("evaluation baseline", (Announced(("judge",)),)),
        Row(
            "evaluation baseline",
            (Everywhere(), Still(("judge_fail_ratio", "thumbs_down_ratio"), known=True)),
        ),
    ),
    "prompt_regression": (
        Row("model", (Announced(_OWN),)),
        Row("model", (Confined(("prompt_version",)),)),
        Row("model", (_NEW_PROMPT,)),
    ),
    "cache_degradation": (Row("data pipeline", (Moved(("cache_hit_ratio",), "down"),)),),
    "provider_outage": (Row("external API", (_ONE_PLACE,)),),
    "tool_failure": (
        Row("model", (Announced(_OWN),)),
        Row("model", (_NEW_PROMPT,)),
        Row("external API", (Moved(("tool_error_ratio",)), NotAnnounced(_OWN))),
    ),
    "latency": (
        Row("external API", (_ONE_PLACE, Still(TOKENS_IN, "up", 0.1))),
        Row("external API", (Moved(("error_ratio", "retry_ratio")), Moved(LATENCY))),
    ),
    "latency_tail": (Row("external API", (_ONE_PLACE,)),),
    "mix_change": (
        Row("external API", (_ONE_PROVIDER, Compensated(0.1))),
        Row("external API", (Moved(("error_ratio", "retry_ratio")),)),
        Row("model", (Announced(RELEASES),)),
    ),
    "no_data": (
        Row("data pipeline", (Moved(("request_rate",), "down"), Still(("error_ratio",), known=True))),
        Row(
            "data pipeline",
            (Moved(("request_rate",), "down"), Not(Compensated(0.1)), NotAnnounced(("deploy",))),
        ),
    ),
    "data_incident": (
        Row("data pipeline", (Moved(("retrieved_chunks_mean", "retrieval_score_mean"), "down"),)),
    ),
    "hallucination_cluster": (
        Row("data pipeline", (Moved(("retrieval_score_mean", "retrieved_chunks_mean"), "down"),)),
        Row("model", (Still(("retrieval_score_mean", "retrieved_chunks_mean"), known=True),)),
        Row("model", (Announced((*_OWN, "model")),)),
    ),
    "context_drift": (
        Row("data pipeline", (Moved(("index_age_typical_days",)),)),
        Row("data pipeline", (Moved(("idk_ratio",)), Moved(("user_corrected_ratio",)))),
        Row("data pipeline", (Moved(("idk_ratio",)), Announced(("index",)))),
    ),
    "schema_change": (Row("data pipeline", (Moved(("attributes_mix",), "any"),)),),
    "model_drift": (
        Row("model", (Announced((*_OWN, "model")),)),
        Row("model", (_NEW_PROMPT,)),
        Row("external API", (Moved(("model_served_mix",), "any"), Still(("model_requested_mix",)))),
        Row("external API", (_ONE_PROVIDER, NotAnnounced(_OWN))),
    ),
    "refusal_surge": (
        Row("model", (Announced(_OWN),)),
        Row("model", (_NEW_PROMPT,)),
        Row("external API", (_ONE_PROVIDER, NotAnnounced(_OWN))),
    ),
    "input_drift": (
        Row("evaluation baseline", (Moved(("topic_mix", "out_of_scope_ratio"), "any"),)),
        Row("evaluation baseline", (LabelledAs("attributes_mix", AUDIENCE),)),
    ),
    "cost_spike": (
        Row("evaluation baseline", (Moved(("request_rate",)), Still(COST, "up", 0.3))),
        Row(
            "evaluation baseline",
            (
                Moved(("heavy_user_cost_share", "cost_per_user_usd", "spend_usd")),
                Still(COST, known=True, least=0.3),
            ),
        ),
    ),
    "context_growth": (Row("model", (Moved(TOKENS_IN), Not(Confined(("tenant",))))),),
    "cost_per_token": (
        Row("model", (Moved(("model_requested_mix",), "any"),)),
        Row("external API", (_ONE_PROVIDER, Moved(PRICE), Still((*TOKENS_IN, *TOKENS_OUT), "up", 0.1))),
        Row("external API", (Announced(("price",)),)),
    ),
    "cost_drift": (
        Row("model", (Moved(("model_requested_mix", "model_served_mix"), "any"),)),
        Row("model", (Moved((*TOKENS_IN, *TOKENS_OUT), "up"),)),
        Row("model", (Everywhere(), Moved(PRICE))),
    ),
    "eval_divergence": (
        Row("evaluation baseline", (Moved(("thumbs_down_ratio",)), Still(JUDGED))),
        Row("evaluation baseline", (*OUTCOMES[:1], Still(JUDGED, known=True))),
        Row("evaluation baseline", (*OUTCOMES[1:], Still(JUDGED, known=True))),
    ),
}
"""Types that are not here (``threshold``, ``anomaly``) say nothing about an origin."""

AGAINST: Final[Mapping[Origin, tuple[Condition, ...]]] = {
    "external API": (Announced(RELEASES), Moved(TOKENS_IN, "up", 0.1)),
    "model": (NotAnnounced((*RELEASES, "model")),),
    "data pipeline": (Announced(RELEASES),),
    "evaluation baseline": (
        Moved(("refusal_ratio", "error_ratio")),
        Still(("thumbs_down_ratio",), known=True),
    ),
    "unknown": (NotAnnounced((*RELEASES, "model", "index", "price", "judge")),),
}


class Judgement(NamedTuple):
    """An origin with what speaks for and against it."""

    origin: Origin
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]


def judge(kind: IncidentType, scene: Scene) -> Judgement:
    """The origin of an incident of this type."""
    for row in TABLE.get(kind, ()):
        if all(need.holds(scene) for need in row.needs):
            against = [c.words(scene) for c in AGAINST[row.origin] if c not in row.needs and c.holds(scene)]
            return Judgement(row.origin, _short([need.words(scene) for need in row.needs]), _short(against))
    missing = [c.words(scene) for c in AGAINST["unknown"] if c.holds(scene)]
    return Judgement("unknown", (), _short(missing))


def _short(sentences: list[str]) -> tuple[str, ...]:
    distinct = dict.fromkeys(s if len(s) <= MAX_CHARS else f"{s[: MAX_CHARS - 1]}…" for s in sentences if s)
    return tuple(distinct)[:MAX_SENTENCES]


def reference() -> Iterator[str]:
    """The table as Markdown."""
    yield "| type | verdict | when all of |"
    yield "|---|---|---|"
    for kind, rows in TABLE.items():
        for row in rows:
            yield f"| `{kind}` | {row.origin} | {'; '.join(need.reference for need in row.needs)} |"
