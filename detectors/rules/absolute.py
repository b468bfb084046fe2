"""Absolute rules: a signal of a segment beyond a bound over a sliding span.

Each base window is added to one-minute panes of exact measures; a rule reads its signal from the merge of the
panes inside its span (or inside the UTC day), so a ratio is held / known over the whole span and a quantile is
the quantile of the whole span, not an average of small ones. The open pane counts: between minutes a span of five
minutes holds the last four whole ones and what the fifth has so far.

A rule fires as soon as the bound is exceeded with at least ``min_events`` observations and beyond chance
(``detectors.rules.chance``). It ends when the value
has been back inside the bound by a margin (``detectors.rules.book``), or the volume below the floor, for
``hold_secs``: a value that dances on the bound gives one incident.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from detectors.base import Params


class Rule(Params):
    """One bound on one signal."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Name; part of the incident's fingerprint."
    )
    signal: str = Field(description="Which signal; any but a mix.")
    worse: Literal["up", "down"] = Field(
        default="up", description="Whether larger or smaller values are bad."
    )
    warning: float | None = Field(
        default=None, allow_inf_nan=False, description="Bound for a warning, in the signal's unit."
    )
    critical: float | None = Field(
        default=None, allow_inf_nan=False, description="Bound for a critical alert, in the signal's unit."
    )
    span_secs: int = Field(
        default=300,
        ge=60,
        le=86_400,
        description="Length of the sliding span; 86400 with per_day is the UTC day.",
    )
    per_day: bool = Field(
        default=False,
        description="Read the signal since midnight UTC instead of over a sliding span; rates are summed.",
    )
    segments: tuple[dict[str, str], ...] = Field(
        default=(),
        description='Segments, each as {dimension = value} with "*" for every value; empty: the whole fleet.',
    )
    min_events: int = Field(
        default=100, ge=1, description="Volume floor: fewer observations in the span never fire."
    )
    hold_secs: int = Field(
        default=120, ge=0, le=86_400, description="How long the value must be back before the incident ends."
    )

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.warning is None and self.critical is None:
            raise ValueError("a rule without a bound; set warning or critical, or both")
        if self.warning is not None and self.critical is not None:
            rising = self.critical >= self.warning
            if rising != (self.worse == "up") and self.critical != self.warning:
                raise ValueError(
                    f"critical {self.critical} on the wrong side of warning {self.warning}; "
                    f"worse is {self.worse}, so move one of them"
                )
        if any(not pattern for pattern in self.segments):
            raise ValueError("an empty segment pattern; leave segments out for the whole fleet")
        return self
