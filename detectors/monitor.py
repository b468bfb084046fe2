"""DETECT: every series of the fleet through baseline and detectors, window by window.

For each closed base window: gather panes, ask the baseline what was to be expected, score, let the detectors look,
then learn what is neither part of an open incident (frozen by TRIAGE) nor under suspicion. Absolute rules run
beside it on exact measures. State is arrays with one entry per series: row of the segment x signals + signal.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from detectors.base import Bank, Bools, Columns, Detector, Floats, Hits, Ints, Params, State, Verdict
from detectors.baseline import Baseline, BaselineParams, Reference
from detectors.incidents.severity import Effect, severity_of
from detectors.panes import Completed, Panes, PanesParams
from detectors.records import Evidence, Severity, Signal
from detectors.registry import DetectorsParams, make
from detectors.rows import Rows
from detectors.rules.absolute import Rule
from detectors.rules.book import RuleBook
from detectors.runs import Run, Runs, RunsParams
from detectors.scales import Scales
from detectors.sketches.window import WindowBlock

SCHEMA: Final = 1
LEVEL: Final = "level"
"""Name under which DETECT says that the level of a frozen series is back."""
_LEVEL_GAIN: Final = 0.1
_LEVEL_GAIN_LARGE: Final = 0.3
_LARGE_SHIFT: Final = 3.0
"""A shift of this many sigmas stands out of the noise, so its end may be read faster."""
_BAND_SIGMAS: Final = 3.0


class DetectParams(Params):
    """Everything that may be set about detection."""

    panes: PanesParams = PanesParams()
    baseline: BaselineParams = BaselineParams()
    runs: RunsParams = RunsParams()
    detectors: DetectorsParams = DetectorsParams()
    repeat_secs: int = Field(
        default=300, ge=0, le=86_400,
        description="A detector repeats its evidence for one series at most this often, unless it got worse.",
    )  # fmt: skip
    back_sigmas: float = Field(
        default=1.5,
        gt=0,
        le=10,
        description="The level of a series is back when it is this near to its baseline, or halfway.",
    )
    back_panes: int = Field(default=6, ge=1, le=10_000, description="Panes in a row that it must be back.")


class Judged(NamedTuple):
    """What DETECT says about one window."""

    evidence: list[Evidence]
    """In the order of segment, signal, detector; rules after detectors."""
    expected: Floats
    """[segments, signals] of the block: expected value in the signal's unit, NaN while learning."""
    learning: Bools


class _Scored(NamedTuple):
    """The panes of judged series that ended with this window; aligned arrays."""

    panes: Completed
    ref: Reference
    x: Floats
    z: Floats
    white: Floats


class Look(NamedTuple):
    """One series on which one detector fired."""

    detector: Detector
    hits: Hits
    hit: int
    """Position in the detector's input."""
    at: int
    """Position among the scored panes."""
    up: bool


class Detect:
    """The monitors of one fleet."""

    def __init__(
        self,
        params: DetectParams,
        rules: Sequence[Rule],
        signals: Mapping[str, Signal],
        base_window_ms: int,
        *,
        max_segments: int = sys.maxsize,
        retire_after_days: float = math.inf,
    ) -> None:
        """``max_segments`` and ``retire_after_days`` bound the state; whoever admits segments knows them."""
        self.params = params
        self._signals = [signal for signal in signals.values() if signal.kind != "mix"]
        self._column = {signal.name: at for at, signal in enumerate(self._signals)}
        pane_windows = Panes.rate_windows(params.panes, base_window_ms)
        self._scales = Scales(self._signals, pane_windows, base_window_ms)
        count = len(self._signals)
        self._rows = Rows(max_segments, retire_after_days)
        self._panes = Panes(params.panes, self._scales, base_window_ms)
        self._baseline = Baseline(params.baseline, self._scales, count)
        self._runs = Runs(params.runs)
        self._detectors = make(params.detectors)
        self._status = Columns(
            frozen=(np.int8, 0),
            side=(np.int8, 0),
            severity=(np.int8, 0),
            level=(np.float64, 0.0),
            shift=(np.float64, 0.0),
            back=(np.int64, 0),
        )
        self._said = [Columns(at_ms=(np.int64, -1), severity=(np.int8, -1)) for _ in self._detectors]
        self._book = RuleBook(rules, {s.name: s for s in self._signals}, params.repeat_secs)

    @property
    def segments(self) -> int:
        """Segments with state."""
        return len(self._rows)

    @property
    def not_judged(self) -> int:
        """Segments that the rules had no room for; see ``RuleBook``."""
        return self._book.not_judged

    def close(self, block: WindowBlock) -> Judged:
        """Take in the next window; windows come in order of time."""
        if tuple(block.signals) != tuple(self._column):
            raise ValueError(f"window has signals {block.signals}, expected {tuple(self._column)}")
        rows = self._place(block)
        done = self._panes.add(block, rows)
        scored, suspected = self._score(done, block.window_end_ms)
        evidence = self._detect(scored, block) + self._levels(scored, block)
        keep = ~suspected & (self._status["frozen"][done.series] == 0)
        self._learn(scored, keep, block.window_end_ms)
        # What only informs is often an hour not seen before: the week learns it, or it would come back every week.
        trifle = (self._status["frozen"][done.series] > 0) & (
            self._status["severity"][done.series] == Severity.INFO
        )
        at = np.flatnonzero(trifle)
        self._baseline.learn_season(done.series[at], scored.x[at], done.n[at], block.window_end_ms)
        order = {name: at for at, name in enumerate((*(d.name for d in self._detectors), LEVEL))}
        evidence.sort(key=lambda e: (e.segment, self._column[e.signal], order[e.detector]))
        evidence += self._book.step(block)
        return Judged(evidence, *self._expectations(rows, block.window_end_ms))

    def apply(self, verdicts: Iterable[Verdict]) -> None:
        """Do what TRIAGE decided in this step; unknown segments are ignored."""
        for action, segment, signal in verdicts:
            row, column = self._rows.row(segment), self._column.get(signal)
            if row is None or column is None:
                continue
            index = np.array([row * len(self._signals) + column], np.int64)
            for detector in self._detectors:
                if action != "freeze" or detector.family == "drift":
                    detector.reset(index)
            self._status["back"][index] = 0
            self._status["frozen"][index] = action == "freeze"
            if action == "freeze":
                continue
            self._status["severity"][index] = 0
            self._runs.reset(index)
            for said in self._said:
                said.reset(index)
            if action == "relearn":
                self._baseline.reset(index, forget_season=False)

    def _place(self, block: WindowBlock) -> Ints:
        rows, freed = self._rows.place(block.segments, block.window_end_ms)
        size = self._rows.size * len(self._signals)
        parts: list[Bank] = [self._panes, self._runs, self._status, *self._detectors, *self._said]
        self._baseline.grow(size)
        for part in parts:
            part.grow(size)
        if len(freed):
            index = (freed[:, None] * len(self._signals) + np.arange(len(self._signals))).ravel()
            self._baseline.reset(index, forget_season=True)
            for part in parts:
                part.reset(index)
        return rows

    def _score(self, done: Completed, now_ms: int) -> tuple[_Scored, Bools]:
        index = done.series
        x = self._scales.forward(index % len(self._signals), done.value)
        ref = self._baseline.reference(index, now_ms)
        z, white = self._baseline.standardise(index, ref, x, done.n)
        suspected = np.zeros(len(index), bool)
        ready = ref.ready
        if ready.any():
            suspected[ready] = self._runs.update(
                index[ready], z[ready], white[ready], done.value[ready], done.n[ready],
                done.events[ready], done.start_ms[ready],
            )  # fmt: skip
        return _Scored(done, ref, x, z, white), suspected

    def _detect(self, scored: _Scored, block: WindowBlock) -> list[Evidence]:
        evidence: list[Evidence] = []
        index, frozen = scored.panes.series, self._status["frozen"][scored.panes.series] > 0
        for detector, said in zip(self._detectors, self._said, strict=True):
            given = scored.ref.ready & ~frozen if detector.family == "drift" else scored.ref.ready
            at = np.flatnonzero(given)
            if not len(at):
                continue
            hits = detector.update(index[at], scored.z[at], scored.white[at], ~frozen[at])
            for hit in np.flatnonzero(hits.fired_up | hits.fired_down).tolist():
                up = bool(hits.fired_up[hit])
                look = Look(detector, hits, hit, int(at[hit]), up)
                found = self._evidence(look, scored, block)
                if found is not None and self._is_news(said, int(index[at[hit]]), found):
                    evidence.append(found)
        return evidence

    def _evidence(self, look: Look, scored: _Scored, block: WindowBlock) -> Evidence | None:
        at, up = look.at, look.up
        series = int(scored.panes.series[at])
        row, column = divmod(series, len(self._signals))
        signal, segment = self._signals[column], self._rows.segment(row)
        if signal.worse not in ("both", "up" if up else "down"):
            return None
        run = self._run(look, scored, block.window_end_ms)
        if look.detector.family == "drift" and run.strength < self.params.runs.suspect:
            return None  # it moved, but back towards what the baseline expects
        expected, lower, upper = self._band(scored, at, run.n)
        observed = self._scales.forward(np.array([column]), np.array([run.mean_value]))
        effect = Effect(
            observed=run.mean_value,
            expected=expected,
            distance=abs(float(observed[0] - scored.ref.expected[at])),
            events=run.events,
            span_ms=block.window_end_ms - run.start_ms,
            segment_age_ms=block.window_end_ms - self._rows.born_ms(row),
        )
        severity = severity_of(signal, self._scales.rows[column], segment, effect)
        self._status["side"][series] = 1 if up else -1
        self._status["severity"][series] = max(int(severity), int(self._status["severity"][series]))
        if not self._status["frozen"][series]:
            self._status["shift"][series] = min(abs(run.mean_z), 8.0)
            self._status["level"][series] = min(abs(run.mean_z), 8.0)
        statistic = look.hits.up if up else look.hits.down
        return Evidence(
            detector=look.detector.name,
            family=look.detector.family,
            segment=segment,
            signal=signal.name,
            window_start_ms=block.window_start_ms,
            window_end_ms=block.window_end_ms,
            severity=severity,
            statistic=float(statistic[look.hit]),
            threshold=float(look.hits.threshold[look.hit]),
            observed=run.mean_value,
            expected=expected,
            lower=lower,
            upper=upper,
            n=run.events,
            started_at_ms=run.start_ms,
        )

    def _run(self, look: Look, scored: _Scored, end_ms: int) -> Run:
        """Since when and how far: the CUSUM's run, or the detector's own estimate where that reaches much farther.

        Small long shifts often return the CUSUM to 0, so that its run is only the last moment of them.
        """
        at = look.at
        series = int(scored.panes.series[at])
        run = self._runs.of(series, up=look.up)
        if self._scales.is_rate[series % len(self._signals)]:
            # A stop should read as 0, not as the mean since a little before it.
            return run._replace(mean_value=float(scored.panes.value[at]), events=int(scored.panes.events[at]))
        since = 0 if look.hits.since is None else int(look.hits.since[look.hit])
        if look.hits.level is None or since <= 2 * run.panes:
            return run
        n = float(scored.panes.n[at])
        ref, index = scored.ref.take(np.array([at])), scored.panes.series[at : at + 1]
        inflation = float(scored.z[at] / scored.white[at]) if scored.white[at] else 1.0
        z = float(look.hits.level[look.hit]) * inflation
        x = ref.expected + z * np.sqrt(self._baseline.variance(index, ref, np.array([n])))
        value = float(self._scales.inverse(index % len(self._signals), x)[0])
        events = int(scored.panes.events[at]) * since
        start_ms = end_ms - since * (end_ms - int(scored.panes.start_ms[at]))
        return Run(start_ms, since, n * since, events, value, z, math.inf)

    def _band(self, scored: _Scored, at: int, n: float) -> tuple[float, float, float]:
        """Expected value of ``n`` observations and where it normally stays, in the signal's unit."""
        index = scored.panes.series[at : at + 1]
        ref = scored.ref.take(np.array([at]))
        column = index % len(self._signals)
        sigma = np.sqrt(self._baseline.variance(index, ref, np.array([n])))
        offsets = np.array([0.0, -_BAND_SIGMAS, _BAND_SIGMAS]) * sigma
        values = self._scales.inverse(np.repeat(column, 3), ref.expected + offsets)
        return float(values[0]), float(values[1]), float(values[2])

    def _is_news(self, said: Columns, series: int, found: Evidence) -> bool:
        last_ms, worst = int(said["at_ms"][series]), int(said["severity"][series])
        recent = last_ms >= 0 and found.window_end_ms - last_ms < self.params.repeat_secs * 1000
        if recent and found.severity <= worst:
            return False
        said["at_ms"][series] = found.window_end_ms
        said["severity"][series] = max(worst, found.severity) if recent else found.severity
        return True

    def _levels(self, scored: _Scored, block: WindowBlock) -> list[Evidence]:
        """Evidence that a frozen series is back where its baseline expects it."""
        index, status = scored.panes.series, self._status
        at = np.flatnonzero(scored.ref.ready & (status["frozen"][index] > 0))
        if not len(at):
            return []
        series = index[at]
        towards = np.clip(scored.z[at] * status["side"][series], -8.0, 8.0)
        gain = np.where(status["shift"][series] >= _LARGE_SHIFT, _LEVEL_GAIN_LARGE, _LEVEL_GAIN)
        level = status["level"][series] + gain * (towards - status["level"][series])
        status["level"][series] = level
        limit = np.minimum(self.params.back_sigmas, 0.5 * status["shift"][series])
        status["back"][series] = np.where(level < limit, status["back"][series] + 1, 0)
        evidence = []
        for which in np.flatnonzero(status["back"][series] >= self.params.back_panes).tolist():
            here = int(at[which])
            row, column = divmod(int(series[which]), len(self._signals))
            expected, lower, upper = self._band(scored, here, float(scored.panes.n[here]))
            found = Evidence(
                detector=LEVEL, family="drift", segment=self._rows.segment(row), signal=self._signals[column].name,
                window_start_ms=block.window_start_ms, window_end_ms=block.window_end_ms,
                severity=Severity.INFO, statistic=float(level[which]), threshold=float(limit[which]),
                observed=float(scored.panes.value[here]), expected=expected, lower=lower, upper=upper,
                n=int(scored.panes.events[here]), started_at_ms=int(scored.panes.start_ms[here]), firing=False,
            )  # fmt: skip
            evidence.append(found)
        return evidence

    def _learn(self, scored: _Scored, keep: Bools, now_ms: int) -> None:
        at = np.flatnonzero(keep)
        ref = scored.ref.take(at)
        self._baseline.learn(
            scored.panes.series[at], ref, scored.x[at], scored.panes.n[at], scored.z[at], now_ms
        )

    def _expectations(self, rows: Ints, now_ms: int) -> tuple[Floats, Bools]:
        shape = (len(rows), len(self._signals))
        index = (rows[:, None] * shape[1] + np.arange(shape[1])).ravel()
        ref = self._baseline.reference(index, now_ms)
        expected = self._scales.inverse(index % shape[1], ref.expected)
        return np.where(ref.ready, expected, np.nan).reshape(shape), (~ref.ready).reshape(shape)

    def to_state(self) -> State:
        """Everything, as MessagePack-able values; ``from_state`` of an equal configuration continues exactly."""
        return {
            "schema": SCHEMA,
            "signals": list(self._column),
            "rows": self._rows.to_state(),
            "panes": self._panes.to_state(),
            "baseline": self._baseline.to_state(),
            "runs": self._runs.to_state(),
            "status": self._status.to_state(),
            "detectors": {
                d.name: {"params": repr(d.params), "state": d.to_state(), "said": said.to_state()}
                for d, said in zip(self._detectors, self._said, strict=True)
            },
            "rules": self._book.to_state(),
        }

    def from_state(self, state: State) -> list[str]:
        """Take over a stored state; returns what could not be, in words: that starts anew."""
        self._book.from_state(state["rules"])
        if state["schema"] != SCHEMA:
            return [f"all monitors: their state has form {state['schema']}, this program's is {SCHEMA}"]
        if state["signals"] != list(self._column):
            changed = sorted(set(state["signals"]) ^ set(self._column))
            return [f"all monitors: the signals are others ({', '.join(changed) or 'in another order'})"]
        self._rows.from_state(state["rows"])
        self._panes.from_state(state["panes"])
        self._baseline.from_state(state["baseline"])
        self._runs.from_state(state["runs"])
        self._status.from_state(state["status"])
        anew = []
        for detector, said in zip(self._detectors, self._said, strict=True):
            stored = state["detectors"].get(detector.name)
            if stored is None:
                anew.append(f"detector {detector.name}: it is new")
            elif stored["params"] != repr(detector.params):
                anew.append(f"detector {detector.name}: its parameters are others")
            else:
                detector.from_state(stored["state"])
                said.from_state(stored["said"])
        return anew
