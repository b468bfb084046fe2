"""The interactions of one block: dimensions, then what happened, then sizes, then time and money from
sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.simulate import reference as ref
from streams.simulate.effects import Active, Columns, Effect
from streams.simulate.extras import attributes, extras, only, pick

_ROWS = 3
"""Tag of the random stream that rows are drawn from."""
_MODEL_CODES: Final = {m.name: code for code, m in enumerate(ref.MODELS)}
_MODEL_SHARES: Final = tuple(m.share for m in ref.MODELS)
_FEATURE_SHARES: Final = tuple(f.share for f in ref.FEATURES)
_TENANT_SHARES: Final = ref.zipf(len(ref.TENANTS), ref.TENANT_ZIPF)
_TOPIC_SHARES: Final = ref.zipf(len(ref.TOPICS), ref.TOPIC_ZIPF)
_IN_MEDIAN, _IN_SD = ref.within(
    ref.TOKENS_IN, tuple(f.tokens_in_factor for f in ref.FEATURES), _FEATURE_SHARES
)
_OUT_MEDIAN, _OUT_SD = ref.within(
    ref.TOKENS_OUT, tuple(f.tokens_out_factor for f in ref.FEATURES), _FEATURE_SHARES
)
_USERS: Final = ref.names(
    tuple(f"{tenant}-user-{n:03d}" for tenant in ref.TENANTS for n in range(ref.USERS_PER_TENANT))
)
SEGMENT_FIELDS: Final = (
    *("tenant", "feature", "topic", "region", "provider"),
    *("model_requested", "model_served", "prompt_name", "prompt_version"),
)


def hex_ids(rng: np.random.Generator, n: int, size_bytes: int) -> NDArray[Any]:
    """``n`` random ids of ``size_bytes`` bytes as lower-case hex."""
    text, step = rng.bytes(n * size_bytes).hex(), 2 * size_bytes
    return ref.names(tuple(text[i : i + step] for i in range(0, n * step, step)))


def interactions(
    seed: int,
    block: int,
    at_ms: NDArray[np.int64],
    effects: Sequence[Effect],
    forced: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Columns, Columns]:
    """The rows that end at ``at_ms``: their wire columns, and hidden ones for feedback (``refused``,
    ``failed``).

    Draws the same random numbers whatever the effects are. All rows get the ``forced`` dimensions.
    """
    n = len(at_ms)
    rng = np.random.default_rng([seed, _ROWS, block])
    event_id, trace_id = hex_ids(rng, n, 8), hex_ids(rng, n, 16)
    tenant, topic = pick(rng, _TENANT_SHARES, n), pick(rng, _TOPIC_SHARES, n)
    feature, model = pick(rng, _FEATURE_SHARES, n), pick(rng, _MODEL_SHARES, n)
    region = pick(rng, [share for _, share in ref.REGIONS], n)
    user = (rng.random(n) ** 2 * ref.USERS_PER_TENANT).astype(np.intp) + tenant * ref.USERS_PER_TENANT

    def of_model(field: str) -> NDArray[Any]:
        return np.array([getattr(m, field) for m in ref.MODELS])[model]

    def of_feature(field: str) -> NDArray[Any]:
        return np.array([getattr(f, field) for f in ref.FEATURES])[feature]

    columns: Columns = {
        "event_id": event_id,
        "occurred_at": at_ms,
        "trace_id": trace_id,
        "service": np.full(n, "assistant-api", dtype=object),
        "environment": np.full(n, "production", dtype=object),
        "operation": np.full(n, "chat", dtype=object),
        "tenant": ref.names(ref.TENANTS)[tenant],
        "user_id": _USERS[user],
        "feature": of_feature("name").astype(object),
        "topic": ref.names(ref.TOPICS)[topic],
        "region": ref.names(tuple(r for r, _ in ref.REGIONS))[region],
        "provider": of_model("provider").astype(object),
        "model_requested": of_model("name").astype(object),
        "model_served": of_model("served").astype(object),
        "prompt_name": of_feature("prompt").astype(object),
        "prompt_version": of_feature("version").astype(object),
    }
    columns |= attributes(seed, block, n)
    columns |= {name: np.full(n, value, dtype=object) for name, value in forced.items()}
    active = Active(effects, at_ms, columns, seed, block)
    drawn = columns["model_requested"] if "model_requested" not in forced else None
    tenants = columns["tenant"]
    for name in ("tenant", "topic", "prompt_version", "model_requested"):
        columns[name] = active.relabel(name, columns[name])
    if columns["model_requested"] is not drawn:
        model = np.array([_MODEL_CODES[name] for name in columns["model_requested"]], np.intp)
        columns["model_served"] = of_model("served").astype(object)
        columns["provider"] = of_model("provider").astype(object)
    if columns["tenant"] is not tenants:
        active.relabelled(columns)

    def happens(name: str) -> NDArray[np.bool_]:
        hit: NDArray[np.bool_] = rng.random(n) < active.ratio(name, ref.RATIOS[name])
        return hit

    failed, refused, cached = happens("error"), happens("refusal"), happens("cache_hit")
    unknown, off_topic, valid = happens("idk"), happens("out_of_scope"), happens("schema_valid")
    flagged, cut = happens("safety_flag"), happens("length")
    error_type = ref.names(tuple(e for e, _ in ref.ERROR_TYPES))[
        pick(rng, [share for _, share in ref.ERROR_TYPES], n)
    ]
    filtered, called = rng.random(n) < 0.3, rng.random(n) < 0.4
    answered = ~failed
    refused &= answered
    unknown &= answered & ~refused

    tokens_in = _IN_MEDIAN[feature] * np.exp(_IN_SD * rng.standard_normal(n))
    tokens_out = _OUT_MEDIAN[feature] * np.exp(_OUT_SD * rng.standard_normal(n))
    tokens_out = np.where(refused, tokens_out * ref.REFUSED_TOKENS_FACTOR, tokens_out)
    tokens_in = active.scale("tokens_in", tokens_in).round().clip(ref.TOKENS_IN.lowest, ref.TOKENS_IN.highest)
    tokens_out = active.scale("tokens_out", tokens_out).round()
    tokens_out = tokens_out.clip(ref.TOKENS_OUT.lowest, ref.TOKENS_OUT.highest)
    cache_read = np.where(cached, (tokens_in * ref.CACHED_SHARE).round(), 0.0)

    slowness = np.exp(ref.LATENCY_LOG_SD * rng.standard_normal(n))
    prefill = of_model("ttft_ms") * (0.7 + 0.3 * (tokens_in - 0.8 * cache_read) / ref.TOKENS_IN.median)
    ttft_ms = active.scale("ttft_ms", prefill * slowness)
    duration_ms = active.scale("duration_ms", (prefill + of_model("token_ms") * tokens_out) * slowness)
    duration_ms = np.maximum(duration_ms, ttft_ms)
    cost = (tokens_in - cache_read) * of_model("usd_in") + cache_read * of_model("usd_cached")
    cost = active.scale("cost", (cost + tokens_out * of_model("usd_out")) / 1e6)

    retrieves = of_feature("retrieves")
    chunks = rng.binomial(10, ref.RETRIEVED_CHUNKS / 10, n)
    chunks = active.scale("retrieved_chunks", chunks.astype(np.float64)).round().astype(np.int64)
    score_mean, score_sd = ref.RETRIEVAL_SCORE
    score = active.shift("retrieval_score", score_mean + score_sd * rng.standard_normal(n)).clip(0.0, 1.0)
    steps = (
        active.scale("steps", 1.0 + rng.poisson(ref.AGENT_STEPS - 1, n).astype(np.float64))
        .round()
        .astype(np.int64)
    )
    reason = np.where(cut, "length", "stop")
    reason = np.where(of_feature("agentic") & called, "tool_calls", reason)
    reason = np.where(refused, np.where(filtered, "content_filter", "stop"), reason)

    columns |= {
        "duration_ms": duration_ms.round().astype(np.int64),
        "ttft_ms": only(answered, ttft_ms.round(1)),
        "streamed": np.full(n, True),
        "status": np.where(failed, "error", "ok"),
        "error_type": only(failed, error_type),
        "retries": np.where(failed, 2, 0),
        "finish_reason": only(answered, reason),
        "tokens_in": tokens_in.astype(np.int64),
        "tokens_out": only(answered, tokens_out.astype(np.int64)),
        "tokens_cache_read": cache_read.astype(np.int64),
        "cost": only(answered, cost.round(8)),
        "currency": np.full(n, "USD", dtype=object),
        "refusal": only(answered, refused),
        "idk": only(answered, unknown),
        "out_of_scope": off_topic,
        "schema_valid": only(answered & of_feature("structured"), valid),
        "cache_hit": cached,
        "safety_flag": flagged,
        "retrieved_chunks": only(retrieves, chunks),
        "retrieval_score": only(retrieves & (chunks > 0), score.round(4)),
        "index_version": only(retrieves, np.full(n, "kb-2026-11", dtype=object)),
        "steps": only(of_feature("agentic"), steps),
    }
    columns |= extras(seed, block, at_ms, columns, active, answered & ~refused & ~unknown)
    columns["priority"] = np.full(n, None, dtype=object)
    for name in (
        "error_type",
        "finish_reason",
        "priority",
        "attributes.doc_locale",
        "attributes.customer_tier",
    ):
        columns[name] = active.relabel(name, columns[name])
    hidden = {"refused": refused, "failed": failed}
    keep = active.kept(n)
    if not keep.all():
        columns, hidden = ({k: v[keep] for k, v in part.items()} for part in (columns, hidden))
    return columns, hidden
