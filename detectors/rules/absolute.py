"""Absolute rules: a signal of a segment beyond a bound over a sliding span.

Each base window is added to one-minute panes of exact measures; a rule reads its signal from the merge of the
panes inside its span (or inside the UTC day), so a ratio is held / known over the whole span and a quantile is
the quantile of the whole span, not an average of small ones. The open pane counts: between minutes a span of five
minutes holds the last four whole ones and what the fifth has so far.

A rule fires as soon as the bound is exceeded with at least ``min_events`` observations and beyond chance
(``detectors.rules.chance``). It ends when the value
has been back inside the bound by a margin (``detectors.rules.book``), or the volume below the floor, for
``hold_secs``: a value that dances on the bound gives one incident.

Some rules look at whole days (``detectors.rules.days``): with ``forecast_hours`` where a trend is heading, with
``versus`` whether a week is worse than the one before.
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
    forecast_hours: int = Field(
        default=0,
        ge=0,
        le=720,
        description="Warn when the trend of whole days crosses a bound within so many hours, and with per_day when "
        "today is heading for it; 0: never.",
    )
    versus: Literal["bound", "week"] = Field(
        default="bound",
        description="week: compare the last seven whole UTC days with the seven before; bounds are changes.",
    )
    relative: bool = Field(
        default=False,
        description="With versus week: bounds are shares of the week before (0.05 is 5 %), else differences.",
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

    @property
    def looks_at_days(self) -> bool:
        """Whether whole days must be remembered."""
        return self.forecast_hours > 0 or self.versus == "week"

    @model_validator(mode="after")
    def _weeks_compare_changes(self) -> Self:
        sizes = [bound for bound in (self.warning, self.critical) if bound is not None]
        if self.versus == "week":
            if self.per_day or self.forecast_hours:
                raise ValueError("versus week with per_day or forecast_hours; leave those out")
            if min(sizes, default=1.0) <= 0 or sizes != sorted(sizes):
                raise ValueError("bounds of versus week are sizes of a change; give 0 < warning <= critical")
        elif self.relative:
            raise ValueError('relative without a week to compare with; set versus = "week"')
        return self

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.warning is None and self.critical is None:
            raise ValueError("a rule without a bound; set warning or critical, or both")
        if self.versus == "bound" and self.warning is not None and self.critical is not None:
            rising = self.critical >= self.warning
            if rising != (self.worse == "up") and self.critical != self.warning:
                raise ValueError(
                    f"critical {self.critical} on the wrong side of warning {self.warning}; "
                    f"worse is {self.worse}, so move one of them"
                )
        if any(not pattern for pattern in self.segments):
            raise ValueError("an empty segment pattern; leave segments out for the whole fleet")
        return self
