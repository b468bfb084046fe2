"""Is the mix of a segment what it was: every label's share against the rest, by likelihood ratio.

A mix of k labels changes when the share of one of them does, so each label is a ratio of its own: its observations
out of those of its group, compared with its baseline (recent, and this hour of the week once that is known) by the
dyadic GLR (``drift.glr``) with the Bernoulli likelihood, two-sample form and learned inflation. The statistic of
the mix is the largest of its labels'; how often chance shows as much over all labels and segments is counted
(``tails``), so the number of labels needs no correction of its own.

A label that was never seen has the history of its group, in which it did not occur: its share is expected to be
half an observation of all that the baseline remembers, and a few of it are enough to be sure.

What a mix shows is the share of the label that moved most (of those that moved surely): the effect of a mix is a
difference of shares.

Source: Cressie and Read, Multinomial goodness-of-fit tests, JRSS B 46, 1984 (the likelihood ratio of a multinomial
among others); one label against the rest says which one it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from pydantic import Field

from detectors.base import Change, Ints, Params, State
from detectors.baseline import Baseline, BaselineParams
from detectors.drift.glr import Glr, GlrParams
from detectors.frozen import Frozen, FrozenParams
from detectors.incidents.effects import Effect
from detectors.mixes.counts import Counts, New
from detectors.mixes.directory import LEARN
from detectors.mixes.movers import came, mover_of, share
from detectors.mixes.reporting import MixReporter
from detectors.mixes.shares import Shares, known_of
from detectors.panes import Completed
from detectors.records import Evidence, Severity, Signal
from detectors.relaid import relaid_mixes
from detectors.rows import Rows
from detectors.scales import Scales
from detectors.scoring import Scored, Scoring
from detectors.sketches.window import WindowBlock
from detectors.tails import Tails

_SHARE: Final = Signal("share", "ratio", "ratio", "both", "")
"""Every series here: the share of a label."""
_RETIRE_EVERY_MS: Final = 3_600_000
CYCLIC: Final = ("topic_mix", "tool_mix")
"""What people ask for has a course of the week; what systems answer with has none, until it shows one."""
_FADED: Final = 0.5
"""A label with fewer observations in memory has faded away."""


class MixesParams(Params):
    """How mixes are judged."""

    events: int = Field(
        default=20, ge=5, le=1_000_000, description="Observations that a pane of a mix needs."
    )
    pane_secs: int = Field(
        default=60, ge=1, le=3600,
        description="Panes of mixes end together, this often; before that if a count is 4 standard deviations off.",
    )  # fmt: skip
    half_life_panes: int = Field(
        default=4320, ge=10, le=1_000_000,
        description="Half-life of the expected shares, in panes: three days of minutes, longer where sparse. "
        "What is slower becomes normal.",
    )  # fmt: skip


class Parts(NamedTuple):
    """The parameters of what mixes share with other signals."""

    baseline: BaselineParams
    frozen: FrozenParams
    glr: GlrParams
    repeat_secs: int


class Mixes:
    """The mixes of all segments of at most one dimension."""

    def __init__(
        self, params: MixesParams, parts: Parts, signals: Iterable[Signal], rows: Rows, base_window_ms: int
    ) -> None:
        """Of ``signals`` those of kind mix are watched; ``rows`` knows the segments."""
        self._signals = [signal for signal in signals if signal.kind == "mix"]
        self.column = {signal.name: at for at, signal in enumerate(self._signals)}
        self._cyclic = np.array([signal.name in CYCLIC for signal in self._signals], bool)
        self._rows = rows
        scales = Scales([_SHARE], 1, base_window_ms)
        slow = parts.baseline.model_copy(update={"half_life_panes": params.half_life_panes})
        self._half_life = params.half_life_panes
        self._panes_per_day = 86_400 / params.pane_secs
        self._counts = Counts(list(self.column), params.events, params.pane_secs)
        self._baseline = Baseline(slow, scales, 1)
        self._scoring = Scoring(scales, self._baseline)
        self._glr = Glr(parts.glr)
        self._tails = Tails(len(self._signals), rows.known_well)
        self._frozen = Frozen(parts.frozen)
        self._reporter = MixReporter(
            self._signals, rows, self._counts, self._scoring, self._glr, self._tails, self._frozen,
            parts.repeat_secs,
        )  # fmt: skip
        self._by_pair = (self._reporter, self._frozen, self._tails)
        self._retired_ms = -1

    def close(self, block: WindowBlock, rows: Ints, freed: Ints) -> list[Evidence]:
        """Take in the next window; ``rows`` are those of its segments, ``freed`` were given up before it."""
        if not self._signals:
            return []
        now_ms = block.window_end_ms
        self._make_room(freed, now_ms)
        touched, new = self._counts.add(block, rows)
        self._begin(new, now_ms)
        done, new = self._counts.close(touched, block.window_start_ms, now_ms)
        self._begin(new, now_ms)
        if not len(done.series):
            return []
        scored = self._score(done, now_ms)
        self._counts.expect(done.series, np.where(scored.ref.ready, scored.ref.expected, np.nan))
        pair = self._counts.pair_of(done.series)
        evidence = self._detect(scored, pair, block) + self._reporter.back(scored, block)
        self._learn(scored, pair, now_ms)
        return evidence

    def effect(self, row: int, signal: str) -> Effect | None:
        """The likeliest change of a mix: of the label that moved most; None while it learns."""
        series, change, at = self._moved_most(row, signal)
        found = self._effect(change, series, at) if len(series) else None
        return None if found is None else found._replace(nats=float(change.nats.max()), came=came(change))

    def since(self, row: int, signal: str, since_ms: int) -> Effect | None:
        """What the label that moved most shows since a time or soon after; None while it learns."""
        series, _, at = self._moved_most(row, signal)
        return self._effect(self._glr.since_ms(series, since_ms), series, at) if len(series) else None

    def _moved_most(self, row: int, signal: str) -> tuple[Ints, Change, int]:
        """The labels of a mix of which is known what to expect, their changes, and which of them moved most."""
        series = self._counts.directory.of_pair(row * len(self._signals) + self.column[signal])
        series = series[self._baseline.ready(series)]
        change = self._glr.change(series)
        shift = change.deviation / np.maximum(change.n, 1e-12)
        return series, change, mover_of(change.nats, shift) if len(series) else 0

    def _effect(self, change: Change, series: Ints, at: int) -> Effect | None:
        """The change of one label."""
        n = float(change.n[at])
        if n <= 0:
            return None
        shift, expected = float(change.deviation[at]) / n, float(change.expected[at]) / n
        return Effect(
            nats=float(change.nats[at]), since_ms=int(change.since_ms[at]), n=n, observed=share(expected + shift),
            expected=share(expected), shift=shift, label=self._counts.directory.label(int(series[at])),
        )  # fmt: skip

    def shares(self, row: int, name: str, false_per_week: float, now_ms: int) -> Shares:
        """The labels of a mix and what is known of them, for people."""
        pair = row * len(self._signals) + self.column[name]
        series = self._counts.directory.of_pair(pair)
        return Shares(
            labels=[self._counts.directory.label(at) for at in series.tolist()],
            per_hour=self._counts.per_hour(series, now_ms),
            known=known_of(series, now_ms, self._baseline, self._scoring, self._glr),
            nats_needed=max(self._glr.params.report_nats, self._tails.nats_of(pair, false_per_week)),
            open_incident=pair < len(self._frozen) and bool(self._frozen.holds(np.array([pair]))[0]),
            panes_per_day=self._panes_per_day,
        )

    def signal(self, name: str) -> Signal:
        return self._signals[self.column[name]]

    def false_per_week(self, row: int, name: str, nats: float) -> float:
        """How often a week chance shows as much as a mix does, over all segments that it is judged by."""
        return self._tails.false_per_week(row * len(self._signals) + self.column[name], nats)

    def apply(self, action: str, row: int | None, signal: str) -> None:
        """Do what TRIAGE decided about a mix; other signals and unknown segments are ignored."""
        if row is None or signal not in self.column:
            return
        pair = np.array([row * len(self._signals) + self.column[signal]], np.int64)
        series = self._counts.directory.of_pair(int(pair[0]))
        if action == "freeze":
            self._reporter.watch(int(pair[0]), series)
            self._tails.cut(pair)
            self._frozen.freeze(pair)
            return
        self._tails.reset(pair)
        self._glr.restart(series)
        self._frozen.thaw(pair)
        self._reporter.reset(pair)
        if action == "relearn":
            self._baseline.reset(series, forget_season=False)

    def _make_room(self, freed: Ints, now_ms: int) -> None:
        self._grow()
        if len(freed):
            pairs = (freed[:, None] * len(self._signals) + np.arange(len(self._signals))).ravel()
            for part in self._by_pair:
                part.reset(pairs)
            self._forget(self._counts.drop(freed))
        if now_ms - self._retired_ms >= _RETIRE_EVERY_MS:
            self._retired_ms = now_ms
            series = self._counts.crowded()
            ref = self._baseline.reference(series, now_ms)
            faded = ref.ready & (ref.expected * ref.weight < _FADED)
            gone = series[faded & ~self._frozen.holds(self._counts.pair_of(series))]
            if len(gone):
                self._forget(self._counts.retire(gone))

    def _grow(self) -> None:
        for part in self._by_pair:
            part.grow(self._rows.size * len(self._signals))

    def _forget(self, series: Ints) -> None:
        self._glr.reset(series)
        self._baseline.reset(series, forget_season=True)

    def _begin(self, new: list[New], now_ms: int) -> None:
        """A series begins with the history of its group; what was not seen before has share 0 there."""
        self._glr.grow(self._counts.size)
        self._baseline.grow(self._counts.size)
        for one in new:
            index = np.array([one.series], np.int64)
            if np.isnan(one.share):
                self._forget(index)
            elif len(one.siblings):
                self._baseline.begin_beside(index, one.siblings, one.share, now_ms)
                self._glr.lend(index, one.siblings)
            else:
                mean_n = one.seen / max(one.panes, 1)
                weight = min(one.seen, mean_n * self._half_life / np.log(2.0))
                self._baseline.begin(index, one.share, weight, one.panes, now_ms)
            ref = self._baseline.reference(index, now_ms)
            self._counts.expect(index, np.where(ref.ready, ref.expected, np.nan))

    def _score(self, done: Completed, now_ms: int) -> Scored:
        """Beside what was to be expected: where two hours of the week differ, anything between them."""
        scored = self._scoring.score(done, now_ms)
        ref = self._baseline.between_hours(done.series, scored.ref, scored.x, now_ms)
        return Scored(done, ref, scored.x, *self._baseline.standardise(done.series, ref, scored.x, done.n))

    def _detect(self, scored: Scored, pair: Ints, block: WindowBlock) -> list[Evidence]:
        # How much shares wander is learned from the first, so that it is known when they are judged.
        at = np.flatnonzero(scored.ref.ready | (scored.ref.weight >= LEARN))
        if not len(at):
            return []
        frozen = self._frozen.holds(pair[at])
        hits = self._glr.update(self._scoring.batch(scored, at, ~frozen))
        ready = scored.ref.ready[at]
        at, nats = at[ready], np.maximum(hits.up, hits.down)[ready]
        pairs, place = np.unique(pair[at], return_inverse=True)
        most = np.zeros(len(pairs))
        np.maximum.at(most, place, nats)
        in_week = np.zeros(len(pairs), bool)
        np.logical_or.at(in_week, place, ~np.isnan(scored.ref.season[at]))
        free = ~self._frozen.holds(pairs)
        labels = np.bincount(place).astype(np.float64)
        self._tails.observe(pairs[free], most[free], block.window_end_ms, in_week[free], labels[free])
        return [
            self._reporter.evidence(int(pairs[one]), at[place == one], float(most[one]), scored, block)
            for one in np.flatnonzero(most >= self._glr.params.report_nats).tolist()
            if self._reporter.is_news(int(pairs[one]), float(most[one]), block.window_end_ms)
        ]

    def _learn(self, scored: Scored, pair: Ints, now_ms: int) -> None:
        """Take in what is normal. Shares of one whole are learned together or not at all."""
        series = scored.panes.series
        frozen = self._frozen.holds(pair)
        group = self._counts.group_of(series)
        doubted = np.zeros(int(group.max()) + 1, bool)
        doubted[group[self._glr.suspected(series) & scored.ref.ready]] = True
        at = np.flatnonzero(~frozen & ~doubted[group])
        taken = scored.ref.take(at), scored.x[at], scored.panes.n[at]
        self._baseline.learn(series[at], *taken, scored.z[at], now_ms)
        serious = frozen & (self._frozen.severity(pair) > Severity.INFO)
        serious &= ~(self._cyclic[pair % len(self._signals)] & np.isnan(scored.ref.season))
        at = np.flatnonzero(~serious)
        taken = scored.ref.take(at), scored.x[at], scored.panes.n[at]
        self._baseline.learn_season(series[at], *taken, now_ms)

    def to_state(self) -> State:
        """Everything, as MessagePack-able values; ``from_state`` of an equal configuration continues exactly."""
        return {
            "signals": list(self.column), "counts": self._counts.to_state(), "baseline": self._baseline.to_state(),
            "glr": self._glr.to_state(), "tails": self._tails.to_state(), "frozen": self._frozen.to_state(),
            "pairs": self._reporter.to_state(), "retired_ms": self._retired_ms,
        }  # fmt: skip

    def from_state(self, state: State) -> None:
        """Take over a stored state, after that of the rows; mixes may be others than in it."""
        self._counts.from_state(state["counts"])
        self._baseline.from_state(state["baseline"])
        self._glr.from_state(state["glr"])
        if state["signals"] != list(self.column):
            self._forget(self._counts.renumber(state["signals"]))
            self._grow()
            state = relaid_mixes(state, self.to_state())
        self._tails.from_state(state["tails"])
        self._frozen.from_state(state["frozen"])
        self._reporter.from_state(state["pairs"])
        self._retired_ms = int(state["retired_ms"])
