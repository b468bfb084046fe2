"""What the words in records mean: outcomes, verdicts of evaluations, severities. One table for each."""

from __future__ import annotations

from typing import Final, Literal

from streams.events import USER_FEEDBACK

Outcome = Literal["success", "failure", "abandoned", "escalated"]

OUTCOMES: Final[dict[str, Outcome]] = {
    **dict.fromkeys(("success", "succeeded", "resolved", "solved", "completed", "accepted", "ok"), "success"),
    **dict.fromkeys(("failure", "failed", "error", "unresolved", "rejected"), "failure"),
    **dict.fromkeys(("abandoned", "cancelled", "canceled", "dropped"), "abandoned"),
    **dict.fromkeys(("escalated", "handed_off", "handoff", "transferred"), "escalated"),
}
"""Words of ``outcome`` -> what came of it. Other words say nothing."""

_FAILED: Final = {
    **dict.fromkeys(("fail", "failed", "bad", "incorrect", "wrong", "unacceptable"), True),
    **dict.fromkeys(("pass", "passed", "good", "correct", "right", "acceptable"), False),
}
_UNSUPPORTED: Final = {
    **dict.fromkeys(("unsupported", "ungrounded", "not_grounded", "hallucinated", "contradicted"), True),
    **dict.fromkeys(("supported", "grounded", "factual", "entailed"), False),
}
_CORRECTED: Final = frozenset({"corrected", "edited", "rewritten"})
HIGH_SEVERITIES: Final = frozenset({"high", "critical"})
USER_CORRECTION: Final = "user_correction"
"""The ``name`` of a feedback record that says that a person corrected the answer."""


def outcome_of(word: str) -> Outcome | None:
    """What came of an interaction for the user."""
    return OUTCOMES.get(_plain(word))


def failed(name: str, label: str) -> bool | None:
    """Whether an evaluation says that the answer failed; None when it says neither, or is a person's vote."""
    return None if name in (USER_FEEDBACK, USER_CORRECTION) else _FAILED.get(_plain(label))


def unsupported(name: str, label: str) -> bool | None:
    """Whether an evaluation found a claim without support in the sources; None when it says neither."""
    return None if name in (USER_FEEDBACK, USER_CORRECTION) else _UNSUPPORTED.get(_plain(label))


def corrected(name: str, label: str) -> bool | None:
    """Whether a person corrected the answer; None for records about something else."""
    return True if name == USER_CORRECTION and _plain(label) in _CORRECTED else None


def is_high(severity: object) -> bool:
    """Whether the attribute ``safety_severity`` is one that a person must see."""
    return isinstance(severity, str) and _plain(severity) in HIGH_SEVERITIES


def _plain(word: str) -> str:
    return word.strip().lower().replace(" ", "_").replace("-", "_")
