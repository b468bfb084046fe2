"""Interactions as columns: the one place that reads their fields for the measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from streams.columns import MAX_REMEMBERED, Fields, Floats, Key, Keys, Numbers, Read, as_floats, numbers
from streams.events import Attributes, Interaction, Time, ToolCall, epoch_ms, is_dollars, is_failure
from streams.segments import absent
from streams.users import checksums
from streams.verdicts import OUTCOMES, Outcome, is_high, outcome_of

_DAY_MS: Final = 86_400_000


def interaction_fields(attributes: tuple[str, ...]) -> Fields:
    """How interactions are read; of ``attributes`` values and gaps are counted."""

    def labels_of(key: Key) -> tuple[str, ...]:
        return tuple(f"{name}={value or ''}" for name, value in zip(attributes, key, strict=True))

    return Fields(
        lambda records: _read(records, attributes),
        are_interactions=True,
        categories=("finish_reason", "model_served", "topic", "model_requested", "prompt_version"),
        labels_of={"tool": _named, "attributes": labels_of} if attributes else {"tool": _named},
    )


def _read(records: Sequence[Interaction], watched: tuple[str, ...]) -> Read:
    flags = numbers(
        refusal=[r.refusal for r in records],
        idk=[r.idk for r in records],
        out_of_scope=[r.out_of_scope for r in records],
        schema_valid=[r.schema_valid for r in records],
        cache_hit=[r.cache_hit for r in records],
        safety_flag=[r.safety_flag for r in records],
    )
    flags["error"] = _failures([r.status for r in records], [r.error_type for r in records])
    values = numbers(
        duration_ms=[r.duration_ms for r in records],
        ttft_ms=[r.ttft_ms for r in records],
        tokens_in=[r.tokens_in for r in records],
        tokens_out=[r.tokens_out for r in records],
        cost_usd=_in_dollars([r.cost for r in records], [r.currency for r in records]),
        retrieval_score=[r.retrieval_score for r in records],
        retrieved_chunks=[r.retrieved_chunks for r in records],
        steps=[r.steps for r in records],
        retries=[r.retries for r in records],
    )
    if "retries" in values:
        flags["retried"] = _or_unknown(values["retries"] > 0, values["retries"])
    if "cost_usd" in values:
        values |= _cost_per_1k(values)
    values |= _time_per_token(values)
    outcomes = [r.outcome for r in records]
    if not absent(outcomes):
        flags |= _outcomes(outcomes)
    updated = [r.index_updated_at for r in records]
    if not absent(updated):
        values["index_age_days"] = _age_days([r.occurred_at for r in records], updated)
    keys = {}
    calls = [r.tool_calls for r in records]
    if not absent(calls):
        made = _Made(calls)
        values |= made.numbers
        keys["tool"] = made.tools
    attributes = [r.attributes for r in records]
    if not absent(attributes):
        keys["attributes"] = _keys(attributes, watched)
        severities = [None if given is None else given.get("safety_severity") for given in attributes]
        flags |= numbers(safety_high=_high(severities))
    users = [r.user_id for r in records]
    if None in users:
        users = [r.user_hash if user is None else user for r, user in zip(records, users, strict=True)]
    known = None if absent(users) else checksums(users)
    return Read([r.event_id for r in records], flags, values, keys, known)


def _or_unknown(held: Any, known: Floats) -> Floats:
    return np.where(np.isnan(known), np.nan, held)


class _Failed(dict[int | str | None, bool]):
    """Status -> whether that is a failure."""

    def __missing__(self, status: int | str | None) -> bool:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        failed = self[status] = is_failure(status, None)
        return failed


_FAILED: Final = _Failed()


def _failures(statuses: Sequence[int | str | None], error_types: Sequence[str | None]) -> Floats:
    failed = np.fromiter(map(_FAILED.__getitem__, statuses), np.float64, len(statuses))
    if not absent(error_types):
        failed[[at for at, error in enumerate(error_types) if error]] = 1.0
    return failed


def _in_dollars(costs: list[float | None], currencies: Sequence[str | None]) -> list[float | None]:
    """Costs in other currencies are stored, and not added up with dollars."""
    if absent(currencies):
        return costs
    in_dollars = {currency: is_dollars(currency) for currency in set(currencies)}
    if all(in_dollars.values()):
        return costs
    return [cost if in_dollars[c] else None for cost, c in zip(costs, currencies, strict=True)]


def _cost_per_1k(values: Numbers) -> Numbers:
    """The cost of each interaction for 1,000 of its tokens; a missing count of tokens is none of them."""
    given = [values[name] for name in ("tokens_in", "tokens_out") if name in values]
    if not given:
        return {}
    tokens = np.nansum(given, axis=0) if len(given) > 1 else given[0]
    cost = values["cost_usd"]
    found = np.full(len(cost), np.nan)
    np.divide(cost * 1000.0, tokens, out=found, where=tokens > 0)
    return {"cost_per_1k_usd": found}


def _time_per_token(values: Numbers) -> Numbers:
    """Time per output token after the first, as OpenTelemetry's ``gen_ai.server.time_per_output_token``."""
    if not {"duration_ms", "ttft_ms", "tokens_out"} <= values.keys():
        return {}
    later, took_ms = values["tokens_out"] - 1.0, values["duration_ms"] - values["ttft_ms"]
    found = np.full(len(later), np.nan)
    np.divide(took_ms, later, out=found, where=later > 0)
    return {"tpot_ms": found}


class _Outcomes(dict[str | None, int]):
    """A word of ``outcome`` -> its place in ``_KINDS``."""

    def __missing__(self, word: str) -> int:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        kind = outcome_of(word) if word is not None else None
        place = self[word] = _KINDS.index(kind)
        return place


_KINDS: Final[tuple[Outcome | None, ...]] = (None, *dict.fromkeys(OUTCOMES.values()))
_OUTCOMES: Final = _Outcomes()


def _outcomes(words: Sequence[str | None]) -> Numbers:
    kinds = np.fromiter(map(_OUTCOMES.__getitem__, words), np.int8, len(words))
    known = np.where(kinds > 0, 0.0, np.nan)
    return {
        kind: known + (kinds == place)
        for place, kind in enumerate(_KINDS)
        if kind is not None and kind != "failure"
    }


def _age_days(occurred_ms: Sequence[Any], updated: Sequence[Time | None]) -> Floats:
    """How old the index was; negative if it claims to be from later."""
    try:
        updated_ms = as_floats(updated)
    except TypeError:  # times as RFC 3339
        updated_ms = as_floats([None if at is None else epoch_ms(at) for at in updated])
    return (as_floats(occurred_ms) - updated_ms) / _DAY_MS


class _Made:
    """The tool calls of some of the records."""

    def __init__(self, calls: Sequence[Sequence[ToolCall] | None]) -> None:
        at = [at for at, made in enumerate(calls) if made is not None]
        lists = [made for made in calls if made is not None]
        errors = [sum(call.error_type is not None for call in made) for made in lists]
        self.numbers: Numbers = {}
        for name, column in (("tool_calls", list(map(len, lists))), ("tool_errors", errors)):
            self.numbers[name] = np.full(len(calls), np.nan)
            self.numbers[name][at] = column
        self.tools = Keys(at, [tuple(call.name for call in made) for made in lists])


def _named(key: Key) -> tuple[str, ...]:
    return tuple(label for label in key if label is not None)


def _keys(attributes: Sequence[Attributes | None], watched: tuple[str, ...]) -> Keys:
    """The watched attributes of each record that has any attribute at all."""
    at = None
    given = [one for one in attributes if one is not None]
    if len(given) < len(attributes):
        at = [at for at, one in enumerate(attributes) if one is not None]
    columns: list[list[Any]] = [[one.get(name) for one in given] for name in watched]
    return Keys(at, list(zip(*columns, strict=True)))


def _high(severities: Sequence[object]) -> list[bool | None]:
    if absent(severities):
        return [None]
    return [None if severity is None else is_high(severity) for severity in severities]
