"""One branch: a scenario's own traffic from the warmed-up fleet on, until what is said about it can be scored."""

from __future__ import annotations

import itertools
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from streams.backtest.affected import Counter
from streams.backtest.jobs import Job
from streams.backtest.notices import notices_of
from streams.backtest.overlap import in_reference
from streams.backtest.plain import METHODS, Alarm
from streams.backtest.scoring import (
    FalseAlarm,
    Notice,
    Setting,
    Verdict,
    false_alarms,
    judge,
    segments_as,
    unlabelled_ms,
)
from streams.backtest.truths import label_of
from streams.backtest.warmup import Fleet, Snapshots, WarmUp
from streams.backtest.windows import Arriving, InOrder, Window
from streams.config import Config
from streams.simulate.arrivals import PEAK_MS
from streams.simulate.catalogue import Span, plan
from streams.simulate.disorder import disordered
from streams.simulate.events import Event
from streams.simulate.incidents import DAY_MS, HOUR_MS
from streams.simulate.traffic import TrafficSpec, generate
from streams.simulate.twins import TWINS

_ONSET: Final = 11
"""Tag of the random stream that times of day are drawn from."""
LEAD_MS: Final = HOUR_MS // 2
"""Quiet traffic before the first thing happens, at least."""
HOLD_MS: Final = HOUR_MS // 2
"""So long an incident goes on after it was detected, so that it can get its severity and its segment."""
LONGEST_HOLD_MS: Final = 6 * HOUR_MS
"""So long it goes on at most until the target has passed, for the sake of what it is compared with."""
PATIENCE: Final = 1.5
LEAST_PATIENCE_MS: Final = 6 * HOUR_MS
MOST_PATIENCE_MS: Final = DAY_MS
"""After so many targets, at least so long, or a day after the target what was not detected is given up."""
_LOOK_MS: Final = 600_000
"""How often is asked whether a branch is over."""
_QUIET_MS: Final = 7 * DAY_MS
_AFTER_MS: Final = HOUR_MS // 2
"""Watched after an incident cleared: its end must not look like another one."""
_AFTER_RETURN_MS: Final = 6 * HOUR_MS
"""The same where the return to normal is what is tested."""
_LONGEST_WAIT_MS: Final = 12 * HOUR_MS
"""Whether it clears is not watched longer."""
_NO_END_MS: Final = 400 * DAY_MS


class Result(msgspec.Struct, frozen=True):
    """What came of one branch."""

    scenario: str
    variant: str
    seed: int
    start_ms: int
    until_ms: int
    verdicts: list[Verdict]
    false_alarms: list[FalseAlarm]
    unlabelled_ms: int
    notices: list[Notice]
    plain: list[Plain]
    """The same by the methods that detection is compared with."""
    events: int
    took_secs: float
    """Time of the processor."""
    capped: bool
    """It was cut off by ``max_days`` before its end."""
    gave_up: bool
    """The incident was not detected within ``PATIENCE`` targets, and ended then."""

    @property
    def job(self) -> Job:
        return Job(self.scenario, self.variant, self.seed)


class PlainVerdict(msgspec.Struct, frozen=True):
    """One label, judged by the alarms of one plain method, whose type and severity do not count."""

    noticed: bool
    in_target: bool
    delay_events: int | None
    delay_secs: float | None
    alarms: int
    """From the onset to the end of the grace period."""


class Plain(msgspec.Struct, frozen=True):
    """What one plain method said in a branch."""

    method: str
    verdicts: list[PlainVerdict]
    false_alarms: int
    unlabelled_ms: int


class Branch:
    """The state of one branch while it runs."""

    def __init__(self, config: Config, warm_up: WarmUp, job: Job, max_days: float) -> None:
        self._config, self._job = config, job
        self.start_ms, onset_ms = begin(job, warm_up)
        self._limit_ms = self.start_ms + round(max_days * DAY_MS)
        span = Span(self.start_ms, self.start_ms + _NO_END_MS, warm_up.rate_per_day, job.seed)
        strength = "medium" if job.kind in ("benign", "trap") else job.variant
        self._plan = plan(job.scenario, strength, onset_ms, span, benign=job.kind == "benign")
        self.labels = [label_of(truth) for truth in self._plan.truths]
        self._effects = list(self._plan.effects)
        self._spec = TrafficSpec.per_day(
            self.start_ms, _NO_END_MS / DAY_MS, warm_up.rate_per_day, seed=job.seed, effects=self._effects
        )
        self.notices: list[Notice] = []
        self._alarms: dict[str, list[Notice]] = {method: [] for method in METHODS}
        self.events = 0
        self._counter = Counter(self.labels, [truth.segment for truth in self._plan.truths])
        self._setting = Setting(
            config.base_window_ms,
            config.allowed_lateness_ms,
            segments_as(config.segments.by, in_reference),
        )
        self._generated_until_ms = self.start_ms
        self._gave_up = False

    def run(self, fleet: Fleet) -> Result:
        """Through to the end of what must be seen."""
        began = time.process_time()
        until_ms = self.start_ms
        for window in self._windows():
            decision = fleet.decide.decide(window.start_ms, window.block, window.changes)
            for alarm in fleet.plain.watch(decision.window):
                self._alarms[alarm.method].append(_from_alarm(alarm))
            until_ms = decision.window.window_end_ms
            self.notices += notices_of(decision, in_reference)
            if until_ms >= self._limit_ms:
                break
            if until_ms % _LOOK_MS == 0:
                self._end_early(until_ms)
                if self._is_over(until_ms):
                    break
        verdicts = self._judge(until_ms)
        return Result(
            scenario=self._job.scenario,
            variant=self._job.variant,
            seed=self._job.seed,
            start_ms=self.start_ms,
            until_ms=until_ms,
            verdicts=verdicts,
            false_alarms=false_alarms(self.notices, verdicts),
            unlabelled_ms=unlabelled_ms(self.start_ms, until_ms, verdicts),
            notices=self.notices,
            plain=[self._plain(method, until_ms) for method in METHODS],
            events=self.events,
            took_secs=time.process_time() - began,
            capped=any(label.end_ms > until_ms for label in self.labels),
            gave_up=self._gave_up,
        )

    def _windows(self) -> Iterator[Window]:
        made = self._plan
        if made.late_share or made.duplicate_share:
            arriving = Arriving(self._config)
            events = disordered(self._traffic(), made.late_share, made.duplicate_share, self._job.seed)
            for event in events:
                yield from arriving.add(event.kind, event.value)
            return
        in_order = InOrder(self._config, self._spec)
        for batch in self._batches():
            yield from in_order.add(batch)

    def _traffic(self) -> Iterator[Event]:
        for batch in self._batches():
            yield from batch

    def _batches(self) -> Iterator[list[Event]]:
        changes = sorted(self._plan.changes, key=lambda change: change.occurred_at_ms)
        # Where an incident takes events away, those are affected that would have been.
        missing = any(truth.alert_type == "no_data" for truth in self._plan.truths)
        usual = generate(replace(self._spec, effects=())) if missing else itertools.repeat(None)
        for batch, without in zip(generate(self._spec), usual, strict=False):
            until_ms = (batch[-1].occurred_at_ms // self._spec.block_ms + 1) * self._spec.block_ms
            due = [change for change in changes if change.occurred_at_ms < until_ms]
            del changes[: len(due)]
            self._generated_until_ms = until_ms
            self.events += len(batch)
            self._counter.add(batch if without is None else without)
            yield sorted(batch + due, key=lambda event: event.occurred_at_ms) if due else batch

    def _end_early(self, now_ms: int) -> None:
        """Let the incident end where what is left of it would show nothing new.

        That is when it was detected and the target has passed (or long enough), and when it was not and the target
        has passed by half as much again, or by a day: then it is missed, whatever comes.
        """
        if self._job.kind != "incident":
            return
        [label] = self.labels
        from_ms = label.start_ms if label.counts_from_ms is None else label.counts_from_ms
        if not from_ms < now_ms <= label.end_ms - _LOOK_MS:
            return
        [verdict] = self._judge(now_ms)
        wanted = (label.target_events or 0) + verdict.allowance_events
        passed = self._counter.affected(0).between(from_ms, now_ms) / max(1, wanted)
        if verdict.detected and verdict.by is not None:
            held_ms = now_ms - max(verdict.by.at_ms, from_ms)
            over = held_ms >= HOLD_MS and (passed > 1 or held_ms >= LONGEST_HOLD_MS)
        else:
            waited_ms = now_ms - from_ms
            beyond_ms = waited_ms * (1.0 - 1.0 / max(1.0, passed))
            late = passed > PATIENCE or beyond_ms >= MOST_PATIENCE_MS
            over = late and waited_ms >= LEAST_PATIENCE_MS
        if over:
            end_ms = max(now_ms, self._generated_until_ms)
            self._effects[:] = [replace(e, end_ms=min(e.end_ms, end_ms)) for e in self._effects]
            self.labels = [msgspec.structs.replace(label, end_ms=end_ms)]
            self._gave_up = not verdict.detected

    def _is_over(self, now_ms: int) -> bool:
        if self._job.kind == "quiet":
            return now_ms >= self.start_ms + _QUIET_MS
        after_ms = _AFTER_RETURN_MS if self._job.scenario == "T4" else _AFTER_MS
        last_ms = max(label.end_ms for label in self.labels)
        if now_ms < last_ms + after_ms:
            return False
        waits = any(v.by is not None and v.cleared is None for v in self._judge(now_ms))
        return self._job.kind == "benign" or not waits or now_ms >= last_ms + _LONGEST_WAIT_MS

    def _judge(self, until_ms: int) -> list[Verdict]:
        return [
            judge(label, self.notices, self._counter.affected(at), until_ms, self._setting)
            for at, label in enumerate(self.labels)
        ]

    def _plain(self, method: str, until_ms: int) -> Plain:
        alarms = self._alarms[method]
        any_type = [msgspec.structs.replace(label, type="", severity="", origin="") for label in self.labels]
        verdicts = [
            judge(label, alarms, self._counter.affected(at), until_ms, self._setting)
            for at, label in enumerate(any_type)
        ]
        return Plain(
            method,
            [PlainVerdict(v.noticed, v.in_target, v.delay_events, v.delay_secs, v.alerts) for v in verdicts],
            len(false_alarms(alarms, verdicts)),
            unlabelled_ms(self.start_ms, until_ms, verdicts),
        )


def run_branch(config: Config, warm_up: WarmUp, snapshots: Snapshots, max_days: float, job: Job) -> Result:
    """Run a branch from the snapshot where it begins."""
    branch = Branch(config, warm_up, job, max_days)
    return branch.run(snapshots.read(branch.start_ms))


def begin(job: Job, warm_up: WarmUp) -> tuple[int, int]:
    """Where the branch begins, and when its incident does: at a time of day that the seed chooses, soon after."""
    beginnings = warm_up.beginnings_ms
    if job.kind == "quiet":
        return beginnings[-1], beginnings[-1]
    if job.scenario == "T8":  # always at the daily peak
        first_ms = beginnings[0] - beginnings[0] % DAY_MS + PEAK_MS
    else:
        rng = np.random.default_rng([job.seed, _ONSET, zlib.crc32(job.name.encode())])
        first_ms = beginnings[0] + LEAD_MS + int(rng.random() * DAY_MS)
    start_ms = max(at_ms for at_ms in beginnings if at_ms <= first_ms - LEAD_MS)
    if job.scenario == "T6":  # the tenant comes first, then the incident
        return start_ms, first_ms + 12 * HOUR_MS
    repeated = job.scenario == "T3" or (job.kind == "benign" and TWINS[job.scenario].weekly)
    return start_ms, first_ms + (7 * DAY_MS if repeated else 0)


def _from_alarm(alarm: Alarm) -> Notice:
    return Notice(
        at_ms=alarm.at_ms,
        incident_id=f"{alarm.segment.label} {alarm.signal} {alarm.at_ms}",
        firing=True,
        told=True,
        severity="warning",
        type="",
        origin="",
        segment=in_reference(alarm.segment.as_dict()),
        signal=alarm.signal,
        detector=alarm.method,
        started_at_ms=alarm.at_ms,
    )
