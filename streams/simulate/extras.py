"""What else a record says: upstream attributes, tools, outcome, the age of the index.

These come from a random stream of their own, so that the main fields are the same with and without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.simulate import reference as ref
from streams.simulate.effects import Active, Columns
from streams.simulate.reference import Floats

_ATTRIBUTES, _EXTRAS = 6, 7
"""Tags of the random streams."""
_DAY_MS: Final = 86_400_000


def pick(rng: np.random.Generator, shares: Sequence[float] | Floats, n: int) -> NDArray[np.intp]:
    """``n`` codes drawn with these shares; always takes exactly ``n`` uniform numbers from ``rng``."""
    picked: NDArray[np.intp] = np.searchsorted(np.cumsum(shares)[:-1], rng.random(n), side="right")
    return picked


def only(mask: NDArray[np.bool_], values: NDArray[Any]) -> NDArray[Any]:
    """``values`` where ``mask`` holds, else None."""
    kept = np.full(len(values), None, dtype=object)
    kept[mask] = values[mask]
    return kept


def _labels(rng: np.random.Generator, table: Sequence[tuple[str, float]], n: int) -> NDArray[Any]:
    return ref.names(tuple(name for name, _ in table))[pick(rng, [share for _, share in table], n)]


def attributes(seed: int, block: int, n: int) -> Columns:
    """The upstream attributes of a block's rows, as columns ``attributes.<name>``."""
    rng = np.random.default_rng([seed, _ATTRIBUTES, block])
    columns = {
        "attributes.source": _labels(rng, ref.SOURCES, n),
        "attributes.doc_locale": _labels(rng, ref.LOCALES, n),
        "attributes.customer_tier": _labels(rng, ref.TIERS, n),
    }
    for name in ("attributes.doc_locale", "attributes.customer_tier"):
        columns[name] = only(rng.random(n) >= ref.NULL_RATIO, columns[name])
    return columns


def extras(
    seed: int,
    block: int,
    at_ms: NDArray[np.int64],
    columns: Columns,
    active: Active,
    useful: NDArray[np.bool_],
) -> Columns:
    """Tools, outcome, safety and index age; ``useful`` says which rows got a real answer."""
    n = len(at_ms)
    rng = np.random.default_rng([seed, _EXTRAS, block])
    happens = {
        name: rng.random(n) < active.ratio(name, ref.MORE_RATIOS[name])
        for name in ("success", "escalated", "tool_error")
    }
    median_days, log_sd = ref.INDEX_AGE_DAYS
    age_days = active.scale("index_age", median_days * np.exp(log_sd * rng.standard_normal(n)))
    updated_ms = at_ms - (age_days * _DAY_MS).astype(np.int64)
    outcome = np.where(
        happens["escalated"], "escalated", np.where(happens["success"], "success", "abandoned")
    )
    outcome = np.where(useful, outcome, "failure")
    tool, high = _labels(rng, ref.TOOLS, n), rng.random(n) < 0.02
    version = np.full(n, ref.SAFETY_MODEL_VERSION, dtype=object)
    calls = np.full(n, None, dtype=object)
    for at in [at for at, reason in enumerate(columns["finish_reason"].tolist()) if reason == "tool_calls"]:
        call = {"name": tool[at], "type": "function"}
        calls[at] = [call | {"error_type": "tool_failed"} if happens["tool_error"][at] else call]
    retrieved = np.array([chunks is not None for chunks in columns["retrieved_chunks"].tolist()], bool)
    flagged = columns["safety_flag"].astype(bool)
    return {
        "attributes.safety_model_version": active.relabel("attributes.safety_model_version", version),
        "attributes.safety_severity": only(flagged, np.where(high, "high", "low")),
        "index_updated_at": only(retrieved, updated_ms),
        "outcome": outcome.astype(object),
        "tool_calls": calls,
    }
