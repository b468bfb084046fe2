"""What many branches show together: one row per scenario and strength, false alarms with bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import msgspec
import numpy as np

from streams.backtest.branch import Result
from streams.backtest.plain import METHODS
from streams.backtest.scoring import Verdict
from streams.backtest.traps import unmet

DAY_MS: Final = 86_400_000
WEEK_MS: Final = 7 * DAY_MS
_LEAST_FOR_INTERVAL: Final = 5
_RESAMPLES: Final = 2000
MET_SHARE: Final = 0.95
"""A target is met when this share of the seeds is detected and the median delay is within it."""


class PlainRow(msgspec.Struct, frozen=True):
    """One scenario in one strength, by a plain method; any type counts."""

    noticed: float
    delay_events_median: float | None
    met: bool


class Row(msgspec.Struct, frozen=True):
    """One scenario in one strength, over all seeds."""

    name: str
    seeds: int
    type: str
    severity: str
    target_events: int | None
    allowance_events: float
    detected: float
    noticed: float
    delay_events_median: float | None
    delay_events_p90: float | None
    delay_events_interval: tuple[float, float] | None
    """95 % bootstrap interval of the median; None for fewer than five seeds."""
    delay_secs_median: float | None
    delay_secs_p90: float | None
    met: bool
    met_any: bool
    """The same, any type counting."""
    severity_right: float
    origin_right: float
    segment_right: float
    alerts: float
    """Median per incident."""
    cleared: float | None
    critical: float
    """Share of the seeds with a critical alert."""
    capped: int
    """Branches that were cut off before the incident's end."""
    plain: dict[str, PlainRow]
    """The same by each plain method."""
    said: str
    """What detected or noticed it, most often."""
    why: str
    """Why the target is missed, where it is."""


class Rate(msgspec.Struct, frozen=True):
    """A count per fleet-week with the exact 95 % bounds of a Poisson count."""

    count: int
    weeks: float
    per_week: float
    lower: float
    upper: float | None
    """None where nothing was watched."""


class Compared(msgspec.Struct, frozen=True):
    """One method on the whole suite, any type counting."""

    method: str
    noticed: float
    """Share of the incidents."""
    targets_met: int
    false_alarms: Rate
    """In quiet weeks."""
    beside: Rate
    """In the parts of the branches where nothing was labelled."""


class Figures(msgspec.Struct, frozen=True):
    """The suite in numbers."""

    rows: list[Row]
    twins: list[Row]
    traps: list[Row]
    targets_met: int
    targets: int
    twins_quiet: float | None
    """Share of the twins without a critical alert."""
    quiet: dict[str, Rate]
    """False alarms by severity in quiet weeks."""
    beside: dict[str, Rate]
    """The same in the parts of the branches where nothing was labelled."""
    compared: list[Compared]
    """Tidewatch first, with its alerts of every severity, then each plain method."""
    fleet_days: float
    secs_per_fleet_day: float
    events_per_sec: float


def figures_of(results: Sequence[Result]) -> Figures:
    """Sum up the results."""
    by_kind = {
        kind: [result for result in results if result.job.kind == kind]
        for kind in ("incident", "benign", "trap", "quiet")
    }
    rows = _rows(by_kind["incident"])
    twins = by_kind["benign"]
    days = sum(r.until_ms - r.start_ms for r in results) / DAY_MS
    took_secs = sum(result.took_secs for result in results)
    return Figures(
        rows=rows,
        twins=_rows(twins),
        traps=_trap_rows(by_kind["trap"]),
        targets_met=sum(row.met for row in rows),
        targets=len(rows),
        twins_quiet=_share([not any(v.critical for v in r.verdicts) for r in twins]) if twins else None,
        quiet=_false_alarms(by_kind["quiet"]),
        beside=_false_alarms([r for r in results if r.job.kind != "quiet"]),
        compared=_compared(results, rows),
        fleet_days=days,
        secs_per_fleet_day=took_secs / days if days else 0.0,
        events_per_sec=sum(result.events for result in results) / took_secs if took_secs else 0.0,
    )


def _rows(results: Sequence[Result]) -> list[Row]:
    by_name: dict[str, list[Result]] = {}
    order = {"mild": 0, "medium": 1, "severe": 2}
    for result in sorted(results, key=lambda r: (r.scenario, order.get(r.variant, 3), r.seed)):
        by_name.setdefault(result.job.name, []).append(result)
    return [_row(name, mine) for name, mine in by_name.items()]


def _trap_rows(results: Sequence[Result]) -> list[Row]:
    """The same, *met* where all is as the trap expects."""
    rows = []
    for row in _rows(results):
        mine = [result for result in results if result.job.name == row.name]
        said = [unmet(row.name, r.verdicts, r.notices, r.false_alarms) for r in mine]
        why = max(sorted({text for text in said if text}), key=said.count, default="")
        rows.append(msgspec.structs.replace(row, met=not why, why=why))
    return rows


def _row(name: str, results: Sequence[Result]) -> Row:
    verdicts = [verdict for result in results for verdict in result.verdicts]
    caught = [v for v in verdicts if v.detected]
    known = caught or [v for v in verdicts if v.noticed]
    allowance = median(v.allowance_events for v in verdicts)
    target = verdicts[0].target_events
    events = [v.delay_events for v in known if v.delay_events is not None]
    secs = [v.delay_secs for v in known if v.delay_secs is not None]
    detected = len(caught) / len(verdicts)
    said = [f"{v.by.type}: {v.by.signal} {v.by.segment}" for v in known if v.by is not None]
    cleared = [v.cleared for v in verdicts if v.cleared is not None]
    return Row(
        name=name,
        seeds=len(results),
        type=verdicts[0].label.type,
        severity=verdicts[0].label.severity,
        target_events=target,
        allowance_events=allowance,
        detected=detected,
        noticed=sum(v.noticed for v in verdicts) / len(verdicts),
        delay_events_median=_quantile(events, 0.5),
        delay_events_p90=_quantile(events, 0.9),
        delay_events_interval=_interval(events),
        delay_secs_median=_quantile(secs, 0.5),
        delay_secs_p90=_quantile(secs, 0.9),
        met=_met(caught, len(verdicts)),
        met_any=_met([v for v in verdicts if v.noticed], len(verdicts)),
        severity_right=_share([v.severity_right for v in verdicts]),
        origin_right=_share([v.origin_right for v in verdicts]),
        segment_right=_share([v.segment_right for v in verdicts]),
        alerts=median(v.alerts for v in verdicts),
        cleared=_share(cleared) if cleared else None,
        critical=_share([v.critical for v in verdicts]),
        capped=sum(result.capped for result in results),
        plain=_plain_rows(results),
        said=max(sorted(set(said)), key=said.count, default=""),
        why=_why(results, verdicts),
    )


def _why(results: Sequence[Result], verdicts: Sequence[Verdict]) -> str:
    """The first thing that stands between these branches and their target."""
    caught = [v for v in verdicts if v.detected]
    noticed = [v for v in verdicts if v.noticed]
    if _met(caught, len(verdicts)) or verdicts[0].label.benign:
        return ""
    of = f" in {len(verdicts) - len(caught)} of {len(verdicts)}" if caught else ""
    if any(result.gave_up for result in results) and len(noticed) < MET_SHARE * len(verdicts):
        return f"not noticed until it was given up{of}"
    cut_off = sum(result.capped for result in results if not any(v.noticed for v in result.verdicts))
    if cut_off:
        days = max(r.until_ms - r.start_ms for r in results) / DAY_MS
        return f"not noticed, cut off after {days:.0f} days{of}"
    if len(noticed) < MET_SHARE * len(verdicts):
        return f"not noticed{of}"
    if len(caught) < MET_SHARE * len(verdicts):
        types = [v.by.type for v in noticed if v.by is not None and not v.detected]
        return f"noticed as {max(sorted(set(types)), key=types.count)}{of}"
    waits = median((v.delay_events or 0) / ((v.target_events or 0) + v.allowance_events or 1) for v in caught)
    return f"late: {waits:.1f} times the target"


def _met(caught: Sequence[Verdict], seeds: int) -> bool:
    """Found in enough of the seeds, and in the median within the target and what passes in one window."""
    if len(caught) < MET_SHARE * seeds or not caught:
        return False
    target = caught[0].target_events
    late = [(v.delay_events or 0) - v.allowance_events for v in caught]
    return target is not None and median(late) <= target


def _plain_rows(results: Sequence[Result]) -> dict[str, PlainRow]:
    rows = {}
    for at, method in enumerate(METHODS):
        verdicts = [verdict for result in results for verdict in result.plain[at].verdicts]
        events = [v.delay_events for v in verdicts if v.delay_events is not None]
        rows[method] = PlainRow(
            _share([v.noticed for v in verdicts]),
            _quantile(events, 0.5),
            _share([v.noticed for v in verdicts]) >= MET_SHARE
            and _share([v.in_target for v in verdicts]) >= 0.5,
        )
    return rows


def _compared(results: Sequence[Result], rows: Sequence[Row]) -> list[Compared]:
    incidents = [result for result in results if result.job.kind == "incident"]
    quiet = [result for result in results if result.job.kind == "quiet"]
    beside = [result for result in results if result.job.kind != "quiet"]

    def ours(some: Sequence[Result]) -> Rate:
        return rate(sum(len(r.false_alarms) for r in some), sum(r.unlabelled_ms for r in some) / WEEK_MS)

    def theirs(some: Sequence[Result], at: int) -> Rate:
        plain = [result.plain[at] for result in some]
        return rate(sum(p.false_alarms for p in plain), sum(p.unlabelled_ms for p in plain) / WEEK_MS)

    noticed = [verdict.noticed for result in incidents for verdict in result.verdicts]
    found = [
        Compared("tidewatch", _share(noticed), sum(row.met_any for row in rows), ours(quiet), ours(beside))
    ]
    for at, method in enumerate(METHODS):
        noticed = [verdict.noticed for result in incidents for verdict in result.plain[at].verdicts]
        met = sum(row.plain[method].met for row in rows)
        found.append(Compared(method, _share(noticed), met, theirs(quiet, at), theirs(beside, at)))
    return found


def _false_alarms(results: Sequence[Result]) -> dict[str, Rate]:
    weeks = sum(result.unlabelled_ms for result in results) / WEEK_MS
    found = [alarm.severity for result in results for alarm in result.false_alarms]
    return {severity: rate(found.count(severity), weeks) for severity in ("critical", "warning")}


def rate(count: int, weeks: float) -> Rate:
    """``count`` in ``weeks``, with exact bounds (Garwood 1936): each side has 2.5 %."""
    if not weeks:
        return Rate(count, 0.0, 0.0, 0.0, None)
    lower = _solve(lambda mean: 1.0 - _poisson_cdf(count - 1, mean), 0.025, count) if count else 0.0
    upper = _solve(lambda mean: 1.0 - _poisson_cdf(count, mean), 0.975, count)
    return Rate(count, weeks, count / weeks, lower / weeks, upper / weeks)


def _poisson_cdf(count: int, mean: float) -> float:
    return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def _solve(rising: Callable[[float], float], wanted: float, count: int) -> float:
    """Where a rising function of a Poisson mean near ``count`` has the wanted value, by bisection."""
    low, high = 1e-9, 4.0 * count + 40.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


def _quantile(values: Sequence[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Percentile bootstrap of the median, with random numbers that are always the same."""
    if len(values) < _LEAST_FOR_INTERVAL:
        return None
    picks = np.random.default_rng(1).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(np.median(np.asarray(values, np.float64)[picks], axis=1), [0.025, 0.975])
    return float(low), float(high)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
