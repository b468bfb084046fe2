"""From a name and a strength to effects, announcements and ground truth: incidents, benign twins, traps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import orjson

from streams.simulate import reference as ref
from streams.simulate.effects import Effect
from streams.simulate.events import Event
from streams.simulate.incidents import DAY_MS, HOUR_MS, INCIDENTS, Does, Notice
from streams.simulate.scenarios import Truth
from streams.simulate.twins import MINUTE_MS, TWINS

STRENGTHS: Final = ("mild", "medium", "severe")
DURATIONS_MS: Final = (3 * DAY_MS, 12 * HOUR_MS, 2 * HOUR_MS)
"""After any ramp, by strength; never less than twice the delay target."""
QUIET: Final = "quiet"


class Span(NamedTuple):
    """The traffic that a scenario is put into."""

    start_ms: int
    end_ms: int
    rate_per_day: float
    seed: int


class Plan(NamedTuple):
    """Everything that a scenario adds to quiet traffic."""

    effects: tuple[Effect, ...] = ()
    truths: tuple[Truth, ...] = ()
    changes: tuple[Event, ...] = ()
    late_share: float = 0.0
    duplicate_share: float = 0.0

    def plus(self, other: Plan) -> Plan:
        """Both at once."""
        return Plan(
            self.effects + other.effects, self.truths + other.truths, self.changes + other.changes,
            max(self.late_share, other.late_share), max(self.duplicate_share, other.duplicate_share),
        )  # fmt: skip


def incident(name: str, strength: str, onset_ms: int, span: Span, duration_ms: int | None = None) -> Plan:
    """An incident of the catalogue. Raises KeyError for an unknown name, ValueError for an unknown strength."""
    row, k = INCIDENTS[name], STRENGTHS.index(strength)
    ramp_ms = row.ramps_ms[k]
    affected_per_ms = span.rate_per_day * ref.share_of(ref.independent(row.segment)) / DAY_MS
    least_ms = round(2 * row.targets[k] / affected_per_ms)
    end_ms = onset_ms + ramp_ms + (duration_ms or max(DURATIONS_MS[k], least_ms))
    does = [{"segment": row.segment, "ramp_ms": ramp_ms} | one for one in row.does(k)]
    truth = Truth(
        id=f"{name}-{strength}-{span.seed}-{onset_ms}", scenario=name, onset_ms=onset_ms,
        end_ms=min(end_ms, span.end_ms), segment=dict(row.segment), fields=row.fields, strength=strength,
        seed=span.seed, ramp_ms=ramp_ms, alert_type=row.alert_type, severity=row.severities[k], origin=row.origin,
        target_events=row.targets[k], title=row.title,
    )  # fmt: skip
    return Plan(_effects(does, onset_ms, end_ms), (truth,), _announced(row.notice, onset_ms, span.seed))


def twin(name: str, onset_ms: int, span: Span) -> Plan:
    """The benign twin of an incident. Raises KeyError for an unknown name."""
    row = TWINS[name]
    onsets = [onset_ms]
    while row.weekly and onsets[-1] - 7 * DAY_MS >= span.start_ms:
        onsets.append(onsets[-1] - 7 * DAY_MS)
    effects = [e for at in onsets for e in _effects(row.does, at, at + row.duration_ms)]
    truth = Truth(
        id=f"{name}-twin-{span.seed}-{onset_ms}", scenario=name, onset_ms=onset_ms,
        end_ms=min(onset_ms + row.duration_ms, span.end_ms), segment=dict(row.does[0].get("segment", {})),
        fields=(),
        strength="benign", seed=span.seed, alert_type="none", severity="none", origin="none", target_events=0,
        benign=True, title=row.title,
    )  # fmt: skip
    return Plan(tuple(effects), (truth,), _announced(row.notice, onset_ms, span.seed))


def _effects(does: Sequence[Does], onset_ms: int, end_ms: int) -> tuple[Effect, ...]:
    made = []
    for one in does:
        arguments = dict(one)
        lasts_ms = arguments.pop("lasts_ms", end_ms - onset_ms)
        made.append(Effect(onset_ms, onset_ms + lasts_ms, **arguments))
    return tuple(made)


def _announced(notice: Notice | None, at_ms: int, seed: int) -> tuple[Event, ...]:
    if notice is None:
        return ()
    change_id = f"change-{seed}-{at_ms}"
    change = {"change_id": change_id, "occurred_at": at_ms, "kind": notice.kind, "summary": notice.summary}
    if notice.scope:
        change["scope"] = dict(notice.scope)
    return (Event("change", change_id.encode(), at_ms, orjson.dumps(change)),)


def _two_at_once(strength: str, onset_ms: int, span: Span) -> Plan:
    return incident("S08", strength, onset_ms, span).plus(incident("S07", strength, onset_ms, span))


def _again_a_week_later(strength: str, onset_ms: int, span: Span) -> Plan:
    first = onset_ms - 7 * DAY_MS
    return incident("S04", strength, first, span, 2 * HOUR_MS).plus(incident("S04", strength, onset_ms, span))


def _late_and_doubled(strength: str, onset_ms: int, span: Span) -> Plan:
    return incident("S04", strength, onset_ms, span)._replace(late_share=0.05, duplicate_share=0.01)


def _new_tenant(strength: str, onset_ms: int, span: Span) -> Plan:
    """A tenant that appears half a day before something happens to it."""
    newcomer = {"labels": {"tenant": {"tenant-new": 0.05}}}
    arrives_ms = max(span.start_ms, onset_ms - 12 * HOUR_MS)
    arrival = Plan(_effects([newcomer], arrives_ms, span.end_ms))
    row = incident("S04", strength, onset_ms, span)
    refusal = (0.04, 0.10, 0.77)[STRENGTHS.index(strength)]
    effect = Effect(onset_ms, row.effects[0].end_ms, {"tenant": "tenant-new"}, {"refusal": refusal})
    truth = row.truths[0]
    segment = {"tenant": "tenant-new"}
    renamed = replace(truth, scenario="T6", segment=segment, target_events=2 * truth.target_events)
    return arrival.plus(Plan((effect,), (renamed,)))


def _fallback(strength: str, onset_ms: int, span: Span) -> Plan:
    """Traffic moves to another model within a minute; nothing is worse."""
    moves: Does = {
        "segment": {"model_requested": "acme-chat-2"}, "ramp_ms": MINUTE_MS,
        "labels": {"model_requested": {"northstar-pro": 1.0}},
    }  # fmt: skip
    end_ms = min(onset_ms + 2 * HOUR_MS, span.end_ms)
    truth = Truth(
        id=f"T7-{span.seed}-{onset_ms}", scenario="T7", onset_ms=onset_ms, end_ms=end_ms, segment={},
        fields=("model_requested", "provider"), strength=strength, seed=span.seed, alert_type="mix_change",
        severity="info", origin="external API", target_events=0, benign=True, title=TRAPS["T7"].title,
    )  # fmt: skip
    return Plan(_effects([moves], onset_ms, end_ms), (truth,))


def _at_the_peak(strength: str, onset_ms: int, span: Span) -> Plan:
    peak_ms = onset_ms - onset_ms % DAY_MS + 14 * HOUR_MS
    return incident("S08", strength, peak_ms, span)


class Trap(NamedTuple):
    """A combination that is easy to get wrong."""

    title: str
    plan: Callable[[str, int, Span], Plan]


TRAPS: Final[dict[str, Trap]] = {
    "T1": Trap("Two incidents at once in different segments: two alerts", _two_at_once),
    "T2": Trap(
        "One cause, many symptoms (a provider's outage): one incident",
        lambda strength, onset_ms, span: incident("S15", strength, onset_ms, span),
    ),
    "T3": Trap("The same incident again a week later: alerts again", _again_a_week_later),
    "T4": Trap(
        "Return to normal is no new incident",
        lambda strength, onset_ms, span: incident("S04", strength, onset_ms, span, 2 * HOUR_MS),
    ),
    "T5": Trap("5 % of the records up to ten minutes late, 1 % sent twice", _late_and_doubled),
    "T6": Trap("A tenant without history, then refusals in it", _new_tenant),
    "T7": Trap("Fallback to another model within a minute: a mix change, no drift", _fallback),
    "T8": Trap("An incident that starts at the daily peak", _at_the_peak),
}


def plan(name: str, strength: str, onset_ms: int, span: Span, *, benign: bool = False) -> Plan:
    """The plan of ``S01`` to ``S22``, of the benign twin of one, of ``T1`` to ``T8``, or of ``quiet``.

    Raises:
        KeyError: no such scenario.
        ValueError: no such strength.
    """
    if name == QUIET:
        return Plan()
    if name in TRAPS:
        return TRAPS[name].plan(strength, onset_ms, span)
    return twin(name, onset_ms, span) if benign else incident(name, strength, onset_ms, span)
