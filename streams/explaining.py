"""What is known of series, told to people: a table of what they can show, or one of them in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from detectors.explaining import Explanation
from detectors.incidents.wording import number, with_unit
from detectors.records import Incident, rfc3339
from detectors.rules.absolute import Rule
from detectors.rules.book import matches
from detectors.tails import FLOOR

HEADERS: Final = (
    "segment",
    "signal",
    "now",
    "a day",
    "sampled",
    "seen in an hour",
    "seen in a day",
    "to see",
)
"""Of the table; the last is the sample rate at which a change shows within a day."""
_UNSEEN: Final = "nothing"
_NO_RATE: Final = "no rate"


def row_of(found: Explanation) -> tuple[str, ...]:
    """One line of the table; aligned with ``HEADERS``."""
    counted = (number(24.0 * found.observations_per_hour), percent(found.sample_rate))
    if found.expected is None:
        return (found.segment.label, name_of(found), "learning", *counted, "", "", "", "")
    return (
        found.segment.label,
        name_of(found),
        with_unit(found.expected, found.unit),
        *counted,
        " or ".join(change(found, value) for value in sides(found, "hour")) or _UNSEEN,
        " or ".join(change(found, value) for value in sides(found, "day")) or _UNSEEN,
        change(found, _asked(found)),
        _rate_needed(found),
    )


def name_of(found: Explanation) -> str:
    """``topic_mix (billing)``"""
    return found.signal if found.label is None else f"{found.signal} ({found.label})"


def lines(
    found: Explanation, rules: Sequence[Rule], incidents: Sequence[Incident]
) -> Iterator[tuple[str, str]]:
    """One series in full: what, and what of it."""
    unit = found.unit
    if found.expected is None or found.lower is None or found.upper is None:
        yield "expected", "learning: too little history to be judged yet; rules speak"
    else:
        band = f"a pane lies within {number(found.lower)} to {number(found.upper)}"
        yield "expected", f"{with_unit(found.expected, unit)}; {band}"
    if found.lenders:
        kin = " and ".join(found.segment.dimensions)
        yield (
            "borrowed",
            f"spread and part of the level, from {found.lenders} others by {kin}, until it has more history",
        )
    if found.observed is not None and found.since_ms is not None:
        yield (
            "observed",
            f"{with_unit(found.observed, unit)} since {_time(found.since_ms)}, the likeliest change",
        )
    often = f"; chance shows as much {number(found.false_per_week)} times a week"
    often = often if found.nats >= FLOOR else ", which is noise"
    needs = f"an incident needs {number(found.nats_needed)}"
    yield "evidence", f"{number(found.nats)} nats{often}; {needs}"
    yield (
        "observations",
        f"{number(found.observations_per_hour)} an hour, {number(24.0 * found.observations_per_hour)} a day: "
        f"{percent(found.sample_rate)} of the interactions",
    )
    if found.expected is not None:
        yield "seen in an hour", smallest(found, "hour")
        yield "seen in a day", smallest(found, "day")
        asked = change(found, _asked(found))
        yield "to see", f"{asked} within a day, the sample rate must be: {_rate_needed(found)}"
    for rule in rules:
        if rule.signal == found.signal and matches(rule, found.segment):
            yield f"rule {rule.name}", _bounds(rule, unit)
    if found.open_incident:
        yield "incident", "open; the baseline does not learn while it lasts"
    for incident in incidents:
        series = {(incident.segment, incident.signal), *((m.segment, m.signal) for m in incident.members)}
        if (found.segment, found.signal) in series:
            yield "part of", f"{incident.severity.label} {incident.incident_type} of {incident.segment.label}"


def sides(found: Explanation, span: str) -> list[float]:
    """The smallest rise and fall that show within an hour or a day, as far as they are bad."""
    both = (getattr(found, f"rise_{span}"), getattr(found, f"fall_{span}"))
    return [value for value in both if value is not None]


def smallest(found: Explanation, span: str) -> str:
    """The same in words, and where they lead."""
    told = []
    for value in sides(found, span):
        now = found.expected or 0.0
        level = now + value if found.change_is == "difference" else now * (1.0 + value)
        told.append(
            f"{change(found, value)} (to {number(level) if found.unit != 'share' else percent(level)})"
        )
    return " or ".join(told) or _UNSEEN


def change(found: Explanation, value: float) -> str:
    """``+0.031``, of the share of a label ``+3.1 points``, or ``-12 %``."""
    sign = "+" if value >= 0 else "-"
    if found.unit == "share":
        return f"{sign}{number(100.0 * abs(value))} points"
    return (
        f"{sign}{number(abs(value))}" if found.change_is == "difference" else f"{sign}{percent(abs(value))}"
    )


def percent(share: float) -> str:
    return f"{number(100.0 * share)} %"


def as_dict(found: Explanation) -> dict[str, Any]:
    """For JSON; the segment as in alerts."""
    fields = msgspec.structs.asdict(found)
    since_ms = fields.pop("since_ms")
    since = None if since_ms is None else rfc3339(since_ms)
    return fields | {"segment": found.segment.as_dict(), "since": since}


def _asked(found: Explanation) -> float:
    """The change asked for, towards the bad side."""
    return -found.asked if found.worse == "down" else found.asked


def _rate_needed(found: Explanation) -> str:
    return _NO_RATE if found.sample_rate_needed is None else percent(found.sample_rate_needed)


def _bounds(rule: Rule, unit: str) -> str:
    side = "above" if rule.worse == "up" else "below"
    bounds: Mapping[str, float | None] = {"warning": rule.warning, "critical": rule.critical}
    if rule.versus == "week":
        sign = "+" if rule.worse == "up" else "-"
        told = [
            f"{name} from {sign}{percent(bound) if rule.relative else with_unit(bound, unit)} on"
            for name, bound in bounds.items()
            if bound is not None
        ]
        return f"{', '.join(told)}, week on week"
    told = [f"{name} {side} {with_unit(bound, unit)}" for name, bound in bounds.items() if bound is not None]
    span = "the UTC day" if rule.per_day else f"{rule.span_secs} s"
    ahead = f", and up to {rule.forecast_hours} hours before" if rule.forecast_hours else ""
    return f"{', '.join(told)} over {span}{ahead}"


def _time(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
