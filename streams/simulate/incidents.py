"""The twenty-two incidents of the catalogue as effects on the reference product, each in three strengths.

A builder is given the strength (0 mild, 1 medium, 2 severe) and answers what the effect does at full height;
``catalogue`` adds when and for how long. Figures are those of the scenario table (docs/simulation.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from streams.simulate import reference as ref

Does = dict[str, Any]
"""Keyword arguments of an ``Effect``, without its times."""
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

ACME: Final = {"provider": "acme-ai", "model_requested": "acme-chat-2"}
EU: Final = {"region": "eu-west-1"}
TOPIC: Final = {"topic": "account-access"}


class Notice(NamedTuple):
    """A change that is announced on ``llm.changes`` at the onset."""

    kind: str
    summary: str
    scope: Mapping[str, str] = {}


class Incident(NamedTuple):
    """One row of the catalogue; triples are mild, medium, severe."""

    title: str
    alert_type: str
    severities: tuple[str, str, str]
    origin: str
    targets: tuple[int, int, int]
    """Delay targets in affected events."""
    segment: Mapping[str, str]
    fields: tuple[str, ...]
    """What changes, in the event schema's names."""
    does: Callable[[int], list[Does]]
    """Effects at full height; the first one is the incident's own, in ``segment`` unless it says otherwise."""
    ramps_ms: tuple[int, int, int] = (0, 0, 0)
    notice: Notice | None = None


WARN: Final = ("warning", "critical", "critical")
INFO: Final = ("info", "warning", "critical")
EXTERNAL: Final = "external API"
MODEL: Final = "model"
PIPELINE: Final = "data pipeline"
EVALUATION: Final = "evaluation baseline"


def _worse_topic(k: int) -> list[Does]:
    """One topic gets worse, the others of the model so much better that the pooled rate stays."""
    fail = (0.20, 0.35, 0.60)[k]
    share = ref.share_of(TOPIC)
    base = ref.MORE_RATIOS["judge_fail"]
    elsewhere = base - (fail - base) * share / (1.0 - share)
    return [
        {"segment": ACME, "ratios": {"judge_fail": max(elsewhere, 0.01)}},
        {"segment": TOPIC | ACME, "ratios": {"judge_fail": fail}},
    ]


def _outage(k: int) -> list[Does]:
    error, volume = (0.02, 0.05, 0.95)[k], (1.0, 0.95, 0.6)[k]
    types: Mapping[str | None, float] = {"server_error": 0.6, "rate_limited": 0.4}
    return [{"ratios": {"error": error}, "volume": volume, "labels": {"error_type": types} if k == 2 else {}}]


def _runaway(k: int) -> list[Does]:
    share, steps, cost = (0.002, 0.01, 0.05)[k], (5.0, 15.0, 50.0)[k], (3.0, 10.0, 40.0)[k]
    return [
        {"tail_share": share, "tail_factors": {"steps": steps, "tokens_in": cost, "duration_ms": steps / 2}}
    ]


def _schema(k: int) -> list[Does]:
    null, new = (0.01, 0.05, 0.99)[k], (0.0, 0.02, 0.0)[k]
    return [
        {
            "labels": {
                "attributes.doc_locale": {None: null, "de_DE": new},
                "attributes.customer_tier": {None: null, "tier-2": new},
            },
            "factors": {"tokens_in": (0.97, 0.9, 0.6)[k]},
        }
    ]


def _pick(**triples: Any) -> Callable[[int], list[Does]]:
    """A builder for one effect whose numbers come in triples: ``ratios={"refusal": (0.04, 0.1, 0.77)}``."""

    def does(k: int) -> list[Does]:
        made: Does = {}
        for name, what in triples.items():
            if isinstance(what, dict):
                made[name] = {key: v[k] if isinstance(v, tuple) else v for key, v in what.items()}
            else:
                made[name] = what[k]
        return [made]

    return does


INCIDENTS: Final[dict[str, Incident]] = {
    "S01": Incident(
        "Input drift: a new audience", "input_drift", ("info", "warning", "warning"), EVALUATION,
        (6_400, 1_300, 170), EU, ("topic", "out_of_scope", "tokens_in"),
        lambda k: [
            {
                "labels": {"topic": {"new-audience": (0.04, 0.12, 0.40)[k]}},
                "ratios": {"out_of_scope": (0.05, 0.08, 0.20)[k]},
                "factors": {"tokens_in": (1.05, 1.15, 1.4)[k]},
            }
        ],
        (3 * DAY_MS, 3 * DAY_MS, 0),
    ),
    "S02": Incident(
        "Silent provider model update", "model_drift", WARN, EXTERNAL, (2_800, 160, 14), ACME,
        ("judge_fail", "tokens_out"),
        _pick(ratios={"judge_fail": (0.17, 0.27, 0.49)}, factors={"tokens_out": (0.85, 0.5, 0.02)}),
    ),
    "S03": Incident(
        "Silent update hurts one task only", "model_drift", ("warning", "warning", "critical"), EXTERNAL,
        (71_000, 11_000, 2_800), TOPIC | ACME, ("judge_fail",), _worse_topic,
    ),
    "S04": Incident(
        "Refusal surge", "refusal_surge", WARN, EXTERNAL, (4_600, 440, 15), ACME, ("refusal", "tokens_out"),
        _pick(ratios={"refusal": (0.04, 0.10, 0.77)}),
    ),
    "S05": Incident(
        "Stale knowledge", "context_drift", INFO, PIPELINE, (8_100, 1_100, 210), {"topic": "billing"},
        ("index_updated_at", "idk", "user_correction"),
        _pick(
            factors={"index_age": (20 / 12, 45 / 12, 10.0)},
            ratios={"idk": (0.06, 0.10, 0.20), "user_corrected": (0.013, 0.02, 0.04)},
        ),
        (21 * DAY_MS, 14 * DAY_MS, 7 * DAY_MS),
    ),
    "S06": Incident(
        "Retrieval index failure", "data_incident", WARN, PIPELINE, (2_300, 140, 29), EU,
        ("retrieved_chunks", "retrieval_score", "idk"),
        _pick(
            factors={"retrieved_chunks": (4 / 6, 1 / 6, 0.0)}, shifts={"retrieval_score": (-0.05, -0.2, 0.0)},
            ratios={"idk": (0.08, 0.25, 0.60)},
        ),
    ),
    "S07": Incident(
        "Upstream schema change", "schema_change", WARN, PIPELINE, (2_600, 250, 6),
        {"attributes.source": "feed-b"}, ("attributes.doc_locale", "attributes.customer_tier", "tokens_in"),
        _schema,
    ),
    "S08": Incident(
        "Latency degradation", "latency", WARN, EXTERNAL, (550, 120, 16),
        {"provider": "acme-ai", "region": "us-east-1"}, ("duration_ms", "ttft_ms", "error_type"),
        _pick(
            factors={"duration_ms": (1.2, 1.5, 3.0), "ttft_ms": (1.2, 1.5, 3.0)},
            ratios={"error": (0.007, 0.024, 0.084)},
        ),
        (HOUR_MS // 2, HOUR_MS // 2, 0),
    ),
    "S09": Incident(
        "Tail latency only", "latency_tail", ("warning", "warning", "critical"), EXTERNAL, (9_300, 1_500, 260),
        {"provider": "acme-ai"}, ("duration_ms",),
        _pick(tail_share=(0.01, 0.03, 0.09), tail_factors={"duration_ms": 12.0}),
    ),
    "S10": Incident(
        "Latency from growing context", "context_growth", INFO, MODEL, (2_200, 330, 87), {"feature": "search"},
        ("tokens_in", "duration_ms", "cost"), _pick(factors={"tokens_in": (1.2, 1.6, 2.5)}),
        (5 * DAY_MS, 5 * DAY_MS, 5 * DAY_MS),
    ),
    "S11": Incident(
        "Cost creep", "cost_drift", INFO, MODEL, (8_100, 2_200, 450), {}, ("cost",),
        _pick(factors={"cost": (1.1, 1.2, 1.5)}), (14 * DAY_MS, 14 * DAY_MS, 14 * DAY_MS),
    ),
    "S12": Incident(
        "Cost spike by one tenant", "cost_spike", WARN, EVALUATION, (480, 45, 5), {"tenant": "tenant-05"},
        ("cost",), _pick(volume=(2.0, 5.0, 20.0)),
    ),
    "S13": Incident(
        "Runaway agent loop", "agent_loop", ("critical", "critical", "critical"), MODEL, (1_000, 200, 40),
        {"feature": "agent", "prompt_version": "v5"}, ("steps", "cost", "tokens_in"), _runaway,
        notice=Notice("deploy", "agent service release", {"feature": "agent"}),
    ),
    "S14": Incident(
        "Price change or wrong routing", "cost_per_token", WARN, EXTERNAL, (1_300, 170, 28), ACME, ("cost",),
        _pick(factors={"cost": (1.15, 1.5, 10.0)}),
    ),
    "S15": Incident(
        "Provider outage", "provider_outage", WARN, EXTERNAL, (2_900, 520, 8), {"provider": "acme-ai"},
        ("status", "error_type", "retries"), _outage,
    ),
    "S16": Incident(
        "Traffic silence", "no_data", WARN, PIPELINE, (1_200, 390, 37), {"feature": "search"}, (),
        _pick(volume=(0.5, 0.2, 0.0)),
    ),
    "S17": Incident(
        "Safety incident", "safety", ("critical", "critical", "critical"), MODEL, (90_000, 5_000, 430), TOPIC,
        ("safety_flag",), _pick(ratios={"safety_flag": (0.0005, 0.003, 0.02)}),
    ),
    "S18": Incident(
        "Hallucination cluster", "hallucination_cluster", WARN, MODEL, (61_000, 5_700, 980),
        {"topic": "scheduling"}, ("unsupported_claim",), _pick(ratios={"unsupported_claim": (0.06, 0.15, 0.40)}),
        (2 * DAY_MS, 0, 0),
    ),
    "S19": Incident(
        "Prompt regression after a deploy", "prompt_regression", WARN, MODEL, (1_100, 96, 7),
        {"prompt_name": "extract-json"}, ("schema_valid", "prompt_version"),
        lambda k: [
            {"ratios": {"schema_valid": (0.97, 0.90, 0.40)[k]}, "labels": {"prompt_version": {"v20": 1.0}}}
        ],
        notice=Notice("prompt", "extract-json v20", {"prompt_name": "extract-json"}),
    ),
    "S20": Incident(
        "Cache hit drop", "cache_degradation", ("warning", "warning", "critical"), PIPELINE, (2_700, 400, 94),
        {"feature": "chat"}, ("cache_hit", "cost"), _pick(ratios={"cache_hit": (0.32, 0.20, 0.03)}),
        (3 * DAY_MS, 0, 0),
    ),
    "S21": Incident(
        "Feedback and quality diverge", "eval_divergence", INFO, EVALUATION, (160_000, 43_000, 7_900), {},
        ("thumbs_down",), _pick(ratios={"thumbs_down": (0.13, 0.16, 0.25)}),
        (7 * DAY_MS, 7 * DAY_MS, 7 * DAY_MS),
    ),
    "S22": Incident(
        "Evaluation baseline wrong", "eval_baseline", ("warning", "warning", "warning"), EVALUATION,
        (180_000, 27_000, 5_000), {}, ("judge_score", "evaluator_version"),
        lambda k: [
            {
                "shifts": {"judge_score": (-0.03, -0.08, -0.20)[k]},
                "labels": {"evaluator_version": {"2026-11": 1.0}},
            }
        ],
    ),
}  # fmt: skip
