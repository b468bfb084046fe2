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

from detectors.base import Bank, Bools, Floats, Ints, Params, State, Stateful, Verdict
from detectors.baseline import Baseline, BaselineParams
from detectors.drift.dyadic import LEVELS
from detectors.drift.glr import Glr
from detectors.explaining import Explainer
from detectors.extremes import Extremes, tails_of
from detectors.frozen import Frozen, FrozenParams
from detectors.incidents.effects import VOLUME
from detectors.lending import Learned, Lending
from detectors.mixes.monitor import Mixes, MixesParams, Parts
from detectors.observed import Observed
from detectors.panes import Panes, PanesParams
from detectors.people import People
from detectors.records import Evidence, Severity, Signal
from detectors.registry import DetectorsParams, make
from detectors.relaid import relaid
from detectors.reporting import Fired, SignalReporter
from detectors.rows import Rows
from detectors.rules.absolute import Rule
from detectors.rules.book import RuleBook
from detectors.scales import Scales
from detectors.scoring import Scored, Scoring
from detectors.sketches.window import WindowBlock
from detectors.tails import Tails
from detectors.telling import LEVEL, Said
from detectors.view import View
from detectors.volumes import Volumes

SCHEMA: Final = 3


class DetectParams(Params):
    """Everything that may be set about detection."""

    panes: PanesParams = PanesParams()
    baseline: BaselineParams = BaselineParams()
    frozen: FrozenParams = FrozenParams()
    mixes: MixesParams = MixesParams()
    detectors: DetectorsParams = DetectorsParams()
    repeat_secs: int = Field(
        default=300, ge=0, le=86_400,
        description="A detector repeats its evidence for one series at most this often, unless it got worse.",
    )  # fmt: skip


class Judged(NamedTuple):
    """What DETECT says about one window."""

    evidence: list[Evidence]
    """In the order of segment, signal, detector; rules after detectors."""
    expected: Floats
    """[segments, signals] of the block: expected value in the signal's unit, NaN while learning."""
    learning: Bools


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
        self._lending = Lending(self._scales, self._rows, LEVELS)
        self._baseline = Baseline(params.baseline, self._scales, count, self._lending)
        self._tails = Tails(count, self._rows.known_well)
        self._detectors = make(params.detectors)
        (self._glr,) = (detector for detector in self._detectors if isinstance(detector, Glr))
        self._scoring = Scoring(self._scales, self._baseline)
        self._frozen = Frozen(params.frozen)
        self._reporter = SignalReporter(
            self._signals, self._rows, self._scales, self._scoring, self._glr, self._tails, self._frozen
        )
        self._volumes = Volumes()
        self._observed = Observed(count)
        self._extremes = Extremes(tails_of(self._signals))
        self._people = People()
        self._by_row = (self._volumes, self._extremes, self._observed, self._people)
        parts = Parts(params.baseline, params.frozen, params.detectors.glr, params.repeat_secs)
        self._mixes = Mixes(params.mixes, parts, signals.values(), self._rows, base_window_ms)
        self._order = {name: at for at, name in enumerate((*self._column, *self._mixes.column))}
        self._view = View(
            self._column, self._rows, self._glr, self._baseline, self._scales, self._volumes, self._observed,
            self._mixes,
        )  # fmt: skip
        self._kept: dict[str, Stateful] = {
            "rows": self._rows, "panes": self._panes, "lending": self._lending, "baseline": self._baseline,
            "tails": self._tails, "volumes": self._volumes, "observed": self._observed, "extremes": self._extremes,
            "people": self._people, "frozen": self._frozen,
        }  # fmt: skip
        self._said = [Said(params.repeat_secs) for _ in self._detectors]
        self._by_series: tuple[Bank, ...] = (
            self._panes, self._frozen, self._tails, *self._detectors, *self._said,
        )  # fmt: skip
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
        rows, freed = self._place(block)
        self._volumes.add(rows, block.counts[:, self._column[VOLUME]], block.window_end_ms)
        self._view.renew(block.window_end_ms)
        self._extremes.shares(block, rows, block.values, block.counts)
        self._people.add(block, rows)
        self._observed.add(rows, block.counts, block.window_start_ms, block.window_end_ms)
        done = self._panes.add(block, rows)
        self._lending.renew(block.window_end_ms, lambda index: self._learned(index, block.window_end_ms))
        scored = self._scoring.score(done, block.window_end_ms)
        evidence = self._detect(scored, block) + self._reporter.back(scored, block)
        evidence += self._mixes.close(block, rows, freed)
        # What is over is not said once more in the same window: that would be another incident.
        over = {(found.segment, found.signal) for found in evidence if not found.firing}
        evidence = [e for e in evidence if not e.firing or (e.segment, e.signal) not in over]
        frozen = self._frozen.holds(done.series)
        # What is thin must get a history of its own, even if it is unlike its siblings.
        patience = np.where(scored.ref.ready, sys.maxsize, self.params.baseline.min_panes)
        keep = ~self._glr.suspected(done.series, patience) & ~frozen
        self._learn(scored, keep, block.window_end_ms)
        self._extremes.learn(block, rows, self._calm(rows))
        # Not what is frozen by a warning; what only informs or is suspected may just be an hour not seen before.
        serious = frozen & (self._frozen.severity(done.series) > Severity.INFO)
        at = np.flatnonzero(~serious)
        taken = scored.ref.take(at), scored.x[at], done.n[at]
        self._baseline.learn_season(done.series[at], *taken, block.window_end_ms)
        order = {name: at for at, name in enumerate((*(d.name for d in self._detectors), LEVEL))}
        evidence.sort(key=lambda e: (e.segment, self._order[e.signal], order[e.detector]))
        evidence += self._book.step(block)
        return Judged(evidence, *self._expectations(rows, block.window_end_ms))

    @property
    def effects(self) -> View:
        """What every series shows as of the last window, for TRIAGE."""
        return self._view

    def explainer(self, now_ms: int) -> Explainer:
        """What is known of every series; ``now_ms`` is the end of the last window."""
        self._view.renew(now_ms)
        return Explainer(
            self._signals, self._rows, self._baseline, self._scales, self._scoring, self._glr, self._tails,
            self._frozen, self._observed, self._view, self._column[VOLUME], self._mixes,
        )  # fmt: skip

    def apply(self, verdicts: Iterable[Verdict]) -> None:
        """Do what TRIAGE decided in this step; unknown segments are ignored."""
        for action, segment, signal in verdicts:
            row, column = self._rows.row(segment), self._column.get(signal)
            if row is None or column is None:
                self._mixes.apply(action, row, signal)
                continue
            index = np.array([row * len(self._signals) + column], np.int64)
            for detector in self._detectors:
                if detector is not self._glr and (action != "freeze" or detector.family == "drift"):
                    detector.reset(index)
            if action == "freeze":
                self._tails.cut(index)
                self._frozen.freeze(index)
                continue
            self._tails.reset(index)
            self._glr.restart(index)
            self._frozen.thaw(index)
            for said in self._said:
                said.reset(index)
            if action == "relearn":
                self._baseline.reset(index, forget_season=False)

    def _place(self, block: WindowBlock) -> tuple[Ints, Ints]:
        """(row of each segment of the block, rows that were given up before)."""
        rows, freed = self._rows.place(block.segments, block.window_end_ms)
        self._grow()
        if len(freed):
            index = (freed[:, None] * len(self._signals) + np.arange(len(self._signals))).ravel()
            self._baseline.reset(index, forget_season=True)
            for by_row in self._by_row:
                by_row.reset(freed)
            for part in self._by_series:
                part.reset(index)
        return rows, freed

    def _grow(self) -> None:
        size = self._rows.size * len(self._signals)
        for by_row in self._by_row:
            by_row.grow(self._rows.size)
        self._baseline.grow(size)
        for part in self._by_series:
            part.grow(size)

    def _detect(self, scored: Scored, block: WindowBlock) -> list[Evidence]:
        evidence: list[Evidence] = []
        now_ms = block.window_end_ms
        index, frozen = scored.panes.series, self._frozen.holds(scored.panes.series)
        for detector, said in zip(self._detectors, self._said, strict=True):
            if detector is self._glr:
                at = np.flatnonzero(scored.ref.judged)
                lent = index[at[scored.ref.lenders[at] > 0]]
                self._glr.endow(lent, self._lending.phi(lent))
            else:
                at = np.flatnonzero(scored.ref.ready & (~frozen | (detector.family == "outlier")))
            if not len(at):
                continue
            # How a series wanders shows only beside its own level: off its siblings' it would excuse itself.
            hits = detector.update(self._scoring.batch(scored, at, ~frozen[at] & scored.ref.ready[at]))
            bad_up, bad_down = (self._reporter.worse(index[at], up=up) for up in (True, False))
            if detector is self._glr:
                worse = np.maximum(np.where(bad_up, hits.up, 0.0), np.where(bad_down, hits.down, 0.0))
                free, in_week = ~frozen[at], ~np.isnan(scored.ref.season[at])
                self._tails.observe(index[at[free]], worse[free], block.window_end_ms, in_week[free])
            for hit in np.flatnonzero(hits.fired_up | hits.fired_down).tolist():
                up, series = bool(hits.fired_up[hit]), int(index[at[hit]])
                statistic = float((hits.up if up else hits.down)[hit])
                bad = bool((bad_up if up else bad_down)[hit])
                if not bad or not said.is_news(series, statistic, now_ms):
                    continue
                fired = Fired(detector, statistic, float(hits.threshold[hit]), int(at[hit]), up)
                found = self._reporter.evidence(fired, scored, block)
                if found is not None:
                    said.note(series, statistic, now_ms)
                    evidence.append(found)
        return evidence

    def _learn(self, scored: Scored, keep: Bools, now_ms: int) -> None:
        at = np.flatnonzero(keep)
        ref = scored.ref.take(at)
        self._baseline.learn(
            scored.panes.series[at], ref, scored.x[at], scored.panes.n[at], scored.z[at], now_ms
        )

    def _calm(self, rows: Ints) -> Bools:
        """[segments, tails]: whose tails are neither suspected nor part of an incident."""
        columns = np.array([tail.column for tail in self._extremes.tails], np.int64)
        index = rows[:, None] * len(self._signals) + columns
        result: Bools = ~(self._glr.suspected(index) | self._frozen.holds(index))
        return result

    def _expectations(self, rows: Ints, now_ms: int) -> tuple[Floats, Bools]:
        shape = (len(rows), len(self._signals))
        index = (rows[:, None] * shape[1] + np.arange(shape[1])).ravel()
        ref = self._baseline.reference(index, now_ms)
        expected = self._scales.inverse(index % shape[1], ref.expected)
        return np.where(ref.judged, expected, np.nan).reshape(shape), (~ref.judged).reshape(shape)

    def _learned(self, index: Ints, now_ms: int) -> Learned:
        """What series could lend."""
        ref = self._baseline.own(index, now_ms)
        return Learned(ref.expected, ref.event_variance, ref.weight, ref.ready, self._glr.inflation(index))

    def to_state(self) -> State:
        """Everything, as MessagePack-able values; ``from_state`` of an equal configuration continues exactly."""
        return {
            "schema": SCHEMA,
            "signals": list(self._column),
            **{name: part.to_state() for name, part in self._kept.items()},
            "mixes": self._mixes.to_state(),
            "detectors": {
                d.name: {"params": repr(d.params), "state": d.to_state(), "said": said.to_state()}
                for d, said in zip(self._detectors, self._said, strict=True)
            },
            "rules": self._book.to_state(),
        }

    def from_state(self, state: State) -> list[str]:
        """Take over a stored state; returns what could not be, in words: that starts anew.

        Signals may be others than in the state: what is known of those that stay is kept.
        """
        self._book.from_state(state["rules"])
        if state["schema"] != SCHEMA:
            return [f"all monitors: their state has form {state['schema']}, this program's is {SCHEMA}"]
        self._rows.from_state(state["rows"])
        self._grow()
        if state["signals"] != list(self._column):
            state = relaid(state, self.to_state())
        for name, part in self._kept.items():
            if name != "lending" or name in state:  # the first versions lent nothing
                part.from_state(state[name])
        self._mixes.from_state(state["mixes"])
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
