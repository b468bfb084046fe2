"""The reference product: what its traffic consists of while nothing is wrong.

Sources: token sizes are the log-normal fit of the Azure 2023 conversation trace (input mean 1,155 and
log-sd 0.99, output mean 211 and log-sd 0.86); per-minute burstiness is that trace's (323 +- 92 requests a
minute); the cache reuse is the Mooncake conversation trace's (38 % of prefix blocks hit). Names of companies
and models are made up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Names = NDArray[Any]
Floats = NDArray[np.float64]


class Model(NamedTuple):
    """One model as the product uses it; prices are USD per million tokens."""

    name: str
    served: str
    """What the provider says it answered with (``model_served``)."""
    provider: str
    share: float
    usd_in: float
    usd_cached: float
    usd_out: float
    ttft_ms: float
    """Median time to first token of a prompt of median size."""
    token_ms: float
    """Median time per output token."""


class Feature(NamedTuple):
    """One feature of the product. Token factors are relative to the median of all traffic."""

    name: str
    share: float
    tokens_in_factor: float
    tokens_out_factor: float
    retrieves: bool
    """Answers from retrieved documents."""
    structured: bool
    """Output is checked against a schema."""
    agentic: bool
    """Takes several steps and calls tools."""
    prompt: str
    version: str


class Size(NamedTuple):
    """A log-normal size in tokens: median, standard deviation of its logarithm, and the range it is cut
    to."""

    median: float
    log_sd: float
    lowest: int
    highest: int


MODELS: Final = (
    Model("acme-chat-2", "acme-chat-2-0613", "acme-ai", 0.60, 2.00, 0.20, 8.00, 180.0, 2.5),
    Model("northstar-pro", "northstar-pro-3.1", "northstar", 0.20, 3.00, 0.30, 12.00, 260.0, 3.2),
    Model("northstar-mini", "northstar-mini-3.1", "northstar", 0.20, 0.15, 0.015, 0.60, 110.0, 1.2),
)
FEATURES: Final = (
    Feature("chat", 0.40, 1.0, 1.15, False, False, False, "chat-system", "v12"),
    Feature("search", 0.20, 1.6, 1.0, True, False, False, "search-answer", "v31"),
    Feature("summarise", 0.20, 1.5, 1.1, False, False, False, "summarise", "v8"),
    Feature("extract", 0.10, 0.7, 0.5, False, True, False, "extract-json", "v19"),
    Feature("agent", 0.10, 1.2, 1.3, True, True, True, "agent-plan", "v5"),
)
TOKENS_IN: Final = Size(707.0, 0.99, 8, 128_000)
TOKENS_OUT: Final = Size(146.0, 0.86, 1, 8_192)
LATENCY_LOG_SD: Final = 0.5
"""Of the duration, given the tokens."""

REGIONS: Final = (("us-east-1", 0.55), ("eu-west-1", 0.30), ("ap-south-1", 0.15))
TOPICS: Final = (
    *("billing", "account-access", "order-status", "returns", "product-search", "troubleshooting"),
    *("contracts", "onboarding", "pricing", "integrations", "data-export", "security", "scheduling"),
    *("translation", "reporting", "hr-policy", "travel", "code-help", "legal", "health"),
)
TENANTS: Final = tuple(f"tenant-{i:02d}" for i in range(1, 51))
TENANT_ZIPF: Final = 1.1
TOPIC_ZIPF: Final = 0.6
USERS_PER_TENANT: Final = 400

RATIOS: Final[dict[str, float]] = {
    "error": 0.005,
    "refusal": 0.02,
    "idk": 0.04,
    "out_of_scope": 0.03,
    "schema_valid": 0.99,
    "cache_hit": 0.39,
    "safety_flag": 0.0001,
    "length": 0.02,
    "feedback": 0.05,
    "thumbs_down": 0.10,
    "judged": 0.02,
}
"""Share of interactions (``thumbs_down``: of votes) for which each thing happens."""

MORE_RATIOS: Final[dict[str, float]] = {
    "judge_fail": 0.12,
    "grounded": 0.05,
    "unsupported_claim": 0.03,
    "user_corrected": 0.01,
    "tool_error": 0.02,
    "success": 0.86,
    "escalated": 0.03,
}
"""The same for what was measured later: ``judge_fail`` of judged answers, ``grounded`` is the share that is checked
for support, ``unsupported_claim`` of those, ``success`` and ``escalated`` of known outcomes."""

ERROR_TYPES: Final = (("timeout", 0.4), ("rate_limited", 0.3), ("server_error", 0.3))
REFUSED_TOKENS_FACTOR: Final = 0.35
"""A refusal is shorter than an answer."""
CACHED_SHARE: Final = 0.7
"""Share of the prompt that is read from the provider's cache when it hits."""
RETRIEVED_CHUNKS: Final = 6.0
RETRIEVAL_SCORE: Final = (0.74, 0.08)
"""Mean and standard deviation of the best chunk's similarity."""
AGENT_STEPS: Final = 4.0
JUDGE_SCORE: Final = (0.918, 0.07)
"""Mean and standard deviation of the judge's score of an answer that passes; with the failed ones 0.89 and 0.11."""
FAILED_JUDGE_SCORE: Final = 0.68
REFUSED_JUDGE_SCORE: Final = 0.45
REFUSED_THUMBS_DOWN_FACTOR: Final = 4.0
"""How much likelier a refused user votes thumbs-down."""
INDEX_AGE_DAYS: Final = (12.0, 0.6)
"""Median age of what is retrieved, and the standard deviation of its logarithm."""
LOCALES: Final = (("en", 0.70), ("de", 0.15), ("fr", 0.10), ("ja", 0.05))
TIERS: Final = (("free", 0.50), ("pro", 0.35), ("enterprise", 0.15))
SOURCES: Final = (("feed-a", 0.40), ("feed-b", 0.25), ("feed-c", 0.20), ("feed-d", 0.15))
"""Upstream feeds that the documents and attributes come from."""
NULL_RATIO: Final = 0.001
"""Share of interactions that lack an upstream attribute."""
TOOLS: Final = (("lookup", 0.5), ("calculator", 0.3), ("calendar", 0.2))
SAFETY_MODEL_VERSION: Final = "guard-4"
GROUNDEDNESS: Final = ("groundedness", "checker-llm", "2026-08")
CORRECTION: Final = "user_correction"
JUDGE: Final = ("answer_quality", "judge-llm", "2026-08")
"""Evaluation name, evaluator and evaluator version."""


def share_of(segment: Mapping[str, str]) -> float:
    """The share of all interactions that a segment of independent dimensions has."""
    share = 1.0
    for name, value in segment.items():
        share *= _shares(name).get(value, 0.0)
    return share


def independent(segment: Mapping[str, str]) -> dict[str, str]:
    """A model has one provider and a prompt one feature: what only repeats another dimension counts once."""
    repeats = {"provider": "model_requested", "prompt_version": "feature"}
    return {name: value for name, value in segment.items() if repeats.get(name, "") not in segment}


def _shares(name: str) -> Mapping[str, float]:
    tables: dict[str, Mapping[str, float]] = {
        "tenant": dict(zip(TENANTS, zipf(len(TENANTS), TENANT_ZIPF).tolist(), strict=True)),
        "topic": dict(zip(TOPICS, zipf(len(TOPICS), TOPIC_ZIPF).tolist(), strict=True)),
        "feature": {f.name: f.share for f in FEATURES},
        "prompt_version": {f.version: f.share for f in FEATURES},
        "prompt_name": {f.prompt: f.share for f in FEATURES},
        "region": dict(REGIONS),
        "model_requested": {m.name: m.share for m in MODELS},
        "provider": {m.provider: sum(x.share for x in MODELS if x.provider == m.provider) for m in MODELS},
        "attributes.source": dict(SOURCES),
    }
    return tables[name]


def names(values: tuple[str, ...]) -> Names:
    """Strings as an object array, so that one indexing expression turns codes into a column."""
    return np.array(values, dtype=object)


def zipf(n: int, exponent: float) -> Floats:
    """Shares of ``n`` ranks under Zipf's law with this exponent; they sum to one."""
    weights = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    shares: Floats = weights / weights.sum()
    return shares


def within(size: Size, factors: tuple[float, ...], shares: tuple[float, ...]) -> tuple[Floats, float]:
    """Medians per feature and the log-sd inside one feature, such that all features together have ``size``'s
    fit.

    The variance of the logarithm is the sum of the one between features and the one inside them.
    """
    logs, weights = np.log(factors), np.asarray(shares)
    centred = logs - weights @ logs
    inside = size.log_sd**2 - float(weights @ centred**2)
    return size.median * np.exp(centred), float(np.sqrt(inside))
