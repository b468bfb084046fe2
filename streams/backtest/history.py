"""The user's own history through the same functions, scored against the user's own labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from detectors.rules.absolute import Rule
from streams.backtest.figures import WEEK_MS, Rate, rate
from streams.backtest.notices import notices_of
from streams.backtest.overlap import plain
from streams.backtest.rules import RuleTrial, Trial
from streams.backtest.scoring import (
    Affected,
    FalseAlarm,
    Label,
    Notice,
    Setting,
    Verdict,
    false_alarms,
    judge,
    segments_as,
    unlabelled_ms,
)
from streams.backtest.windows import Arriving, Window
from streams.config import Config
from streams.decide import Decide
from streams.decode import decode_chunk
from streams.events import Interaction
from streams.files import FileRecord, read_events
from streams.segments import reader_of

_CHUNK: Final = 1000


class History(msgspec.Struct, frozen=True):
    """What came of a history."""

    start_ms: int
    until_ms: int
    records: int
    refused: int
    """Records that were no events."""
    verdicts: list[Verdict]
    false_alarms: list[FalseAlarm]
    alarm_rates: dict[str, Rate]
    """False alarms a week by severity."""
    notices: list[Notice]
    tried: list[Trial]
    """Rules that were tried out."""
    configured: list[Trial]
    """Rules of the configuration with the names of those."""


class NoWindows(ValueError):
    """The history has no event in it."""


def run_history(
    config: Config,
    files: Sequence[Path],
    labels: Sequence[Label],
    rules: Sequence[Rule],
    now_ms: int,
    progress: Callable[[int], None],
) -> History:
    """Run the files through AGGREGATE and DECIDE and judge what was said. ``progress`` hears bytes.

    Raises:
        UnreadableFile: of ``streams.files``.
        NoWindows: there was no event.
    """
    arriving = Arriving(config, now_ms=now_ms)
    decide = Decide(config)
    counter = _Counter(labels, now_ms)
    names = {rule.name for rule in rules}
    present = [rule for rule in config.rules if rule.name in names]
    trials = [RuleTrial(some, config.detect.repeat_secs) for some in (rules, present)]
    notices: list[Notice] = []
    start_ms = until_ms = 0
    for window in _windows(files, arriving, counter, progress):
        decision = decide.decide(window.start_ms, window.block, window.changes)
        notices += notices_of(decision, plain)
        for trial in trials:
            trial.add(decision.window)
        start_ms, until_ms = start_ms or window.start_ms, decision.window.window_end_ms
    if not until_ms:
        raise NoWindows("no event in " + ", ".join(map(str, files)))
    setting = Setting(
        config.base_window_ms, config.allowed_lateness_ms, segments_as(config.segments.by, plain)
    )
    verdicts = [
        judge(label, notices, counter.affected(at), until_ms, setting) for at, label in enumerate(labels)
    ]
    found = false_alarms(notices, verdicts)
    weeks = unlabelled_ms(start_ms, until_ms, verdicts) / WEEK_MS
    severities = [alarm.severity for alarm in found]
    return History(
        start_ms=start_ms,
        until_ms=until_ms,
        records=counter.records,
        refused=arriving.refused,
        verdicts=verdicts,
        false_alarms=found,
        alarm_rates={name: rate(severities.count(name), weeks) for name in ("critical", "warning")},
        notices=notices,
        tried=trials[0].trials(labels),
        configured=trials[1].trials(labels),
    )


def _windows(
    files: Sequence[Path], arriving: Arriving, counter: _Counter, progress: Callable[[int], None]
) -> Iterator[Window]:
    chunk: list[FileRecord] = []
    for record in read_events(files):
        chunk.append(record)
        if len(chunk) == _CHUNK:
            counter.add(chunk)
            progress(record.position_bytes)
            chunk = []
        yield from arriving.add(record.stream, record.value)
    counter.add(chunk)
    yield from arriving.finish()


class _Counter:
    """Times of the interactions in the segment of each label."""

    def __init__(self, labels: Sequence[Label], now_ms: int) -> None:
        self._labels = labels
        self._now_ms = now_ms
        dimensions = sorted({name for label in labels for name in label.segment})
        self._readers = {name: reader_of(name) for name in dimensions}
        self._times: list[list[int]] = [[] for _ in labels]
        self.records = 0

    def add(self, records: Sequence[FileRecord]) -> None:
        self.records += len(records)
        mine = [record for record in records if record.stream == "interaction"]
        if not (self._labels and mine):
            return
        for event in decode_chunk("interaction", mine, self._now_ms).events:
            for label, times in zip(self._labels, self._times, strict=True):
                if label.start_ms <= event.occurred_at < label.end_ms and self._belongs(event, label):
                    times.append(event.occurred_at)

    def _belongs(self, event: Interaction, label: Label) -> bool:
        return all(self._readers[name]([event]) == [value] for name, value in label.segment.items())

    def affected(self, at: int) -> Affected:
        return Affected(np.sort(np.array(self._times[at], np.int64)))
