"""What comes back about interactions: votes of users and scores of the judge, minutes after the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.simulate import reference as ref
from streams.simulate.effects import Active, Columns, Effect
from streams.simulate.interactions import SEGMENT_FIELDS, hex_ids

_FEEDBACK, _MORE = 4, 8
"""Tags of the random streams that feedback is drawn from."""
LONGEST_DELAY_MS: Final = 300_000
VOTE_DELAY_MEAN_MS: Final = 45_000.0
JUDGE_DELAY_MS: Final = (2_000.0, 30_000.0)


def feedback(seed: int, block: int, columns: Columns, hidden: Columns, effects: Sequence[Effect]) -> Columns:
    """The feedback on these interactions, as wire columns in no particular order.

    Each record carries the interaction's ``event_id`` and segment fields; scores are 0 to 1, a vote's is 1 or
    0.
    """
    n = len(columns["event_id"])
    rng = np.random.default_rng([seed, _FEEDBACK, block])
    answered_ms: NDArray[np.int64] = columns["occurred_at"]
    refused, answered = hidden["refused"], ~hidden["failed"]
    active = Active(effects, answered_ms, columns, seed + 1, block)

    votes = answered & (rng.random(n) < active.ratio("feedback", ref.RATIOS["feedback"]))
    base = ref.RATIOS["thumbs_down"]
    others = base * (1 - ref.RATIOS["refusal"] * ref.REFUSED_THUMBS_DOWN_FACTOR) / (1 - ref.RATIOS["refusal"])
    down_ratio = np.where(refused, base * ref.REFUSED_THUMBS_DOWN_FACTOR, others)
    down = rng.random(n) < active.ratio("thumbs_down", down_ratio)
    vote_delay_ms = np.minimum(rng.exponential(VOTE_DELAY_MEAN_MS, n), LONGEST_DELAY_MS - 1)

    judged = answered & (rng.random(n) < active.ratio("judged", ref.RATIOS["judged"]))
    noise = rng.standard_normal(n)
    judge_delay_ms = rng.uniform(*JUDGE_DELAY_MS, n)

    more = np.random.default_rng([seed, _MORE, block])
    drawn = {
        name: more.random(n) for name in ("judge_fail", "grounded", "unsupported_claim", "user_corrected")
    }

    def happens(name: str) -> NDArray[np.bool_]:
        hit: NDArray[np.bool_] = drawn[name] < active.ratio(name, ref.MORE_RATIOS[name])
        return hit

    failing = happens("judge_fail")
    mean, sd = ref.JUDGE_SCORE
    score = (
        np.where(refused, ref.REFUSED_JUDGE_SCORE, np.where(failing, ref.FAILED_JUDGE_SCORE, mean))
        + sd * noise
    )
    score = active.shift("judge_score", active.scale("judge_score", score)).clip(0.0, 1.0).round(3)
    unsupported = happens("unsupported_claim")
    version = active.relabel("evaluator_version", np.full(n, ref.JUDGE[2], dtype=object))
    late_ms = answered_ms + judge_delay_ms.astype(np.int64)
    unknown = np.full(n, None, dtype=object)
    parts = [
        _records(
            columns, votes, answered_ms + vote_delay_ms.astype(np.int64), ("user_feedback", "user"),
            np.where(down, 0.0, 1.0), np.where(down, "thumbs_down", "thumbs_up"), unknown,
        ),
        _records(
            columns, judged, late_ms, ref.JUDGE[:2], score, np.where(failing | refused, "fail", "pass"), version
        ),
        _records(
            columns, answered & happens("grounded"), late_ms, ref.GROUNDEDNESS[:2], unknown,
            np.where(unsupported, "unsupported", "supported"), np.full(n, ref.GROUNDEDNESS[2], dtype=object),
        ),
        _records(
            columns, answered & happens("user_corrected"), answered_ms + vote_delay_ms.astype(np.int64),
            (ref.CORRECTION, "user"), unknown, np.full(n, "corrected", dtype=object),
            unknown,
        ),
    ]  # fmt: skip
    replies = {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}
    return {"feedback_id": hex_ids(rng, len(replies["name"]), 8)} | replies


def _records(
    columns: Columns,
    chosen: NDArray[np.bool_],
    at_ms: NDArray[np.int64],
    who: tuple[str, str],
    score: NDArray[Any],
    label: NDArray[Any],
    version: NDArray[Any],
) -> Columns:
    """Feedback ``who`` = (name, evaluator) gave on the chosen interactions."""
    fields = ("event_id", "trace_id", "service", "environment", *SEGMENT_FIELDS)
    count = int(chosen.sum())
    return {
        "occurred_at": at_ms[chosen],
        **{name: columns[name][chosen] for name in fields},
        "name": np.full(count, who[0], dtype=object),
        "score": score[chosen].astype(object),
        "label": label[chosen].astype(object),
        "evaluator": np.full(count, who[1], dtype=object),
        "evaluator_version": version[chosen],
    }
