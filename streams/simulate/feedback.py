"""What comes back about interactions: votes of users and scores of the judge, minutes after the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.simulate import reference as ref
from streams.simulate.effects import Active, Columns, Effect
from streams.simulate.interactions import SEGMENT_FIELDS, hex_ids

_FEEDBACK = 4
"""Tag of the random stream that feedback is drawn from."""
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
    active = Active(effects, answered_ms, columns)

    votes = answered & (rng.random(n) < active.ratio("feedback", ref.RATIOS["feedback"]))
    base = ref.RATIOS["thumbs_down"]
    others = base * (1 - ref.RATIOS["refusal"] * ref.REFUSED_THUMBS_DOWN_FACTOR) / (1 - ref.RATIOS["refusal"])
    down_ratio = np.where(refused, base * ref.REFUSED_THUMBS_DOWN_FACTOR, others)
    down = rng.random(n) < active.ratio("thumbs_down", down_ratio)
    vote_delay_ms = np.minimum(rng.exponential(VOTE_DELAY_MEAN_MS, n), LONGEST_DELAY_MS - 1)

    judged = answered & (rng.random(n) < active.ratio("judged", ref.RATIOS["judged"]))
    mean, sd = ref.JUDGE_SCORE
    judge_score = np.where(refused, ref.REFUSED_JUDGE_SCORE, mean) + sd * rng.standard_normal(n)
    judge_score = active.scale("judge_score", judge_score).clip(0.0, 1.0).round(3)
    judge_delay_ms = rng.uniform(*JUDGE_DELAY_MS, n)

    name, evaluator, version = ref.JUDGE
    vote = _records(columns, votes, answered_ms + vote_delay_ms.astype(np.int64)) | {
        "name": np.full(votes.sum(), "user_feedback", dtype=object),
        "score": np.where(down, 0.0, 1.0)[votes],
        "label": np.where(down, "thumbs_down", "thumbs_up")[votes],
        "evaluator": np.full(votes.sum(), "user", dtype=object),
        "evaluator_version": np.full(votes.sum(), None, dtype=object),
    }
    verdict = _records(columns, judged, answered_ms + judge_delay_ms.astype(np.int64)) | {
        "name": np.full(judged.sum(), name, dtype=object),
        "score": judge_score[judged],
        "label": np.full(judged.sum(), None, dtype=object),
        "evaluator": np.full(judged.sum(), evaluator, dtype=object),
        "evaluator_version": np.full(judged.sum(), version, dtype=object),
    }
    replies = {field: np.concatenate([vote[field], verdict[field]]) for field in vote}
    return {"feedback_id": hex_ids(rng, len(replies["name"]), 8)} | replies


def _records(columns: Columns, chosen: NDArray[np.bool_], at_ms: NDArray[np.int64]) -> Columns:
    fields = ("event_id", "trace_id", "service", "environment", *SEGMENT_FIELDS)
    return {"occurred_at": at_ms[chosen]} | {f: columns[f][chosen] for f in fields}
