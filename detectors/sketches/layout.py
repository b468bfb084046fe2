"""What AGGREGATE accumulates for every (window, segment): the rows of the measure table.

A *measure* is exact and mergeable: counts, fixed-point sums, log-bucket histograms, category counts. A
*signal*
is a statistic of one measure (or of two), computed by its ``Reading``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Stream = Literal["interaction", "feedback"]


class Flag(msgspec.Struct, frozen=True):
    """A yes/no measure: counts how often it was known and how often it held."""

    name: str
    stream: Stream = "interaction"


class Value(msgspec.Struct, frozen=True):
    """A number: count and exact sum in units of ``quantum``; with ``histogram`` a quantile sketch as well.

    ``maximum`` is the largest accepted value; maximum / quantum stays below 2**53 / 65,536, so that a block
    of
    65,536 rows sums exactly in float64.
    """

    name: str
    quantum: float
    maximum: float
    histogram: bool = False
    stream: Stream = "interaction"


class Category(msgspec.Struct, frozen=True):
    """A label: counts per category."""

    name: str


class Reading(msgspec.Struct, frozen=True):
    """How a signal is computed from measures.

    ``rate``: events (or the sum of ``measure``) per second. ``ratio``: held / known of a flag.
    ``mean``: sum / count of a value, or the sum of ``measure`` over the sum of the ``per`` values times
    ``scale``. ``quantile``: ``q`` of a value's histogram. ``mix``: category counts.
    """

    measure: str
    q: float | None = None
    per: tuple[str, ...] = ()
    scale: float = 1.0
