"""Traffic as closed windows, ready for ``Decide.decide``: what AGGREGATE and the log of partials would give.

Two ways with one result. ``Arriving`` sends records through AGGREGATE itself, for input that comes late, twice or
from a file. ``InOrder`` is for simulated traffic, which is in order and without repeats: it sums a whole block of
the generator at once, with the window as the leading part of the segment, and cuts the sum into windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec
import numpy as np

from detectors.records import SegmentKey
from detectors.sketches.block import Block, decode, empty_block, merge
from detectors.sketches.build import Segmentation, build
from detectors.sketches.entries import Entries
from detectors.sketches.exemplars import Exemplars
from detectors.sketches.labels import cap_labels
from streams.aggregate import Aggregate
from streams.closing import Closing
from streams.columns import Gatherer
from streams.config import Config
from streams.decide import NEVER_LATE
from streams.decode import decode_chunk
from streams.events import Stream
from streams.fields import gatherers
from streams.messages import LocalRecord, Message
from streams.partials import decode_log_record
from streams.signals import LAYOUT
from streams.simulate.events import Event
from streams.simulate.traffic import TrafficSpec, generate
from streams.topics import PARTIALS, TOPIC_OF_STREAM

FAR_FUTURE_MS: Final = 1 << 46
"""The clock against which simulated records are checked: none of them is in the future."""
_CHUNK: Final = 1000


class Window(NamedTuple):
    """One closed base window of the fleet."""

    start_ms: int
    block: Block
    changes: list[dict[str, Any]]


class InOrder:
    """Windows of simulated traffic, from a first one on, without gaps."""

    def __init__(self, config: Config, spec: TrafficSpec) -> None:
        self._base_ms = config.base_window_ms
        self._spec = spec
        self._next_ms = spec.start_ms - spec.start_ms % self._base_ms
        self._gatherers: dict[Stream, Callable[[], Gatherer]] = {
            stream: gatherers(stream, config.segments) for stream in ("interaction", "feedback")
        }
        self._held: list[Event] = []

    def add(self, batch: Iterable[Event]) -> Iterator[Window]:
        """The windows that one batch of the generator completes: it holds all records of whole blocks."""
        self._held += batch
        if not self._held:
            return
        block_ms = self._spec.block_ms
        known_ms = min((self._held[-1].occurred_at_ms // block_ms + 1) * block_ms, self._spec.end_ms)
        yield from self._until(known_ms - known_ms % self._base_ms)

    def finish(self) -> Iterator[Window]:
        """What is left, up to the end of the traffic."""
        yield from self._until(-(-self._spec.end_ms // self._base_ms) * self._base_ms)

    def _until(self, end_ms: int) -> Iterator[Window]:
        if end_ms <= self._next_ms:
            return
        due = [event for event in self._held if event.occurred_at_ms < end_ms]
        self._held = [event for event in self._held if event.occurred_at_ms >= end_ms]
        blocks = [self._sum(stream, due) for stream in ("interaction", "feedback")]
        whole = merge(blocks, LAYOUT)
        changes = _changes(due)
        first_ms, self._next_ms = self._next_ms, end_ms
        starts_ms = range(first_ms, end_ms, self._base_ms)
        for start_ms, block in zip(starts_ms, _cut(whole, starts_ms), strict=True):
            announced = [c for at, c in changes if start_ms <= at < start_ms + self._base_ms]
            yield Window(start_ms, block, announced)

    def _sum(self, stream: Stream, due: Sequence[Event]) -> Block:
        chunk = decode_chunk(stream, [event for event in due if event.kind == stream], FAR_FUTURE_MS)
        if chunk.bad:
            raise chunk.bad[0][1]
        if not chunk.events:
            return empty_block(LAYOUT)
        gatherer = self._gatherers[stream]()
        gatherer.add(chunk.events)
        columns, segmentations = gatherer.take()
        at_ms = np.fromiter((event.occurred_at for event in chunk.events), np.int64, len(chunk.events))
        windows = (at_ms - self._next_ms) // self._base_ms
        return build(columns, [_by_window(one, windows) for one in segmentations], LAYOUT)


def _by_window(segmentation: Segmentation, windows: np.ndarray[Any, np.dtype[np.int64]]) -> Segmentation:
    """The same records by (window, segment): such pairs sort as windows first, and that is all ``build`` asks."""
    segments, width = segmentation.segments, len(segmentation.segments) + 1
    known = segmentation.codes > 0
    codes = np.zeros(len(windows), np.int32)
    if not known.any():
        return segmentation._replace(codes=codes, segments=[])
    distinct, codes[known] = np.unique((windows * width + segmentation.codes)[known], return_inverse=True)
    codes[known] += 1
    pairs = [divmod(code, width) for code in distinct.tolist()]
    of_windows = cast("list[SegmentKey]", [(window, segments[at - 1]) for window, at in pairs])
    return segmentation._replace(codes=codes, segments=of_windows)


def _cut(whole: Block, starts_ms: range) -> Iterator[Block]:
    """The block of each window out of the block of all."""
    keys = cast("list[tuple[int, SegmentKey]]", whole.segments)
    number = np.fromiter((window for window, _ in keys), np.int64, len(keys))
    rows = np.searchsorted(number, np.arange(len(starts_ms) + 1))
    histograms = np.searchsorted(whole.histograms.row, rows).tolist()
    categories = np.searchsorted(whole.categories.row, rows).tolist()
    exemplars = np.searchsorted(whole.exemplars.row, rows).tolist()
    bounds = rows.tolist()
    for at in range(len(starts_ms)):
        lo, hi = bounds[at], bounds[at + 1]
        if lo == hi:
            yield empty_block(LAYOUT)
            continue
        labelled = _entries(whole.categories, categories[at], categories[at + 1], lo)
        used, items = np.unique(labelled.item, return_inverse=True)
        yield cap_labels(
            Block(
                [segment for _, segment in keys[lo:hi]],
                whole.counters[lo:hi],
                _entries(whole.histograms, histograms[at], histograms[at + 1], lo),
                labelled._replace(item=items.astype(np.int32)),
                [whole.labels[item] for item in used.tolist()],
                _exemplars(whole.exemplars, exemplars[at], exemplars[at + 1], lo),
            )
        )


def _entries(entries: Entries, lo: int, hi: int, first_row: int) -> Entries:
    row = (entries.row[lo:hi] - first_row).astype(np.int32)
    return Entries(row, entries.slot[lo:hi], entries.item[lo:hi], entries.count[lo:hi])


def _exemplars(found: Exemplars, lo: int, hi: int, first_row: int) -> Exemplars:
    used, items = np.unique(found.item[lo:hi], return_inverse=True)
    event_ids = [found.event_ids[at] for at in used.tolist()]
    row = (found.row[lo:hi] - first_row).astype(np.int32)
    return Exemplars(
        row, found.measure[lo:hi], found.rank[lo:hi], found.check[lo:hi], items.astype(np.int32), event_ids
    )


def _changes(due: Sequence[Event]) -> list[tuple[int, dict[str, Any]]]:
    """Announced changes with their times, ordered by id as AGGREGATE orders them."""
    chunk = decode_chunk("change", [event for event in due if event.kind == "change"], FAR_FUTURE_MS)
    plain = [(change.occurred_at, msgspec.to_builtins(change)) for change in chunk.events]
    return sorted(plain, key=lambda entry: str(entry[1]["change_id"]))


def simulated(config: Config, spec: TrafficSpec) -> Iterator[Window]:
    """The windows of this traffic, without announcements."""
    in_order = InOrder(config, spec)
    for batch in generate(spec):
        yield from in_order.add(batch)
    yield from in_order.finish()


class Arriving:
    """Windows of records as they arrive, through AGGREGATE and the closing of windows."""

    def __init__(self, config: Config, *, now_ms: int = FAR_FUTURE_MS) -> None:
        self._now_ms = now_ms
        self._sources = {
            stream: Aggregate(config, topic=topic, partition=0, attempt="backtest", sources_total=3)
            for stream, topic in TOPIC_OF_STREAM.items()
        }
        self._closing = Closing(
            base_ms=config.base_window_ms, lateness_ms=config.allowed_lateness_ms, keep_late=NEVER_LATE
        )
        self._waiting: dict[Stream, list[LocalRecord]] = {stream: [] for stream in TOPIC_OF_STREAM}
        self._offsets = dict.fromkeys(TOPIC_OF_STREAM, 0)
        for source in self._sources.values():
            for _ in self._close(source.start().messages):
                raise AssertionError("a window closed before any record")

    def add(self, stream: Stream, value: bytes | None) -> Iterator[Window]:
        """Take the next record; yields the windows that close."""
        waiting = self._waiting[stream]
        waiting.append(LocalRecord(TOPIC_OF_STREAM[stream], 0, self._offsets[stream], value))
        self._offsets[stream] += 1
        if len(waiting) >= _CHUNK:
            yield from self._flush()

    def finish(self) -> Iterator[Window]:
        """The input has ended: close what is open."""
        yield from self._flush()
        for source in (*self._sources.values(), *self._sources.values()):  # each vouches for all that came
            yield from self._close(source.idle(0).messages)

    @property
    def refused(self) -> int:
        """Records that were no events."""
        return sum(sum(source.counts.dead_letters.values()) for source in self._sources.values())

    def _flush(self) -> Iterator[Window]:
        for stream, source in self._sources.items():
            yield from self._close(source.add(self._waiting[stream], self._now_ms).messages)
            self._waiting[stream] = []
        # One file is one clock: a stream that is silent in it must not hold up the others.
        times = [source.max_event_ms for source in self._sources.values() if source.max_event_ms is not None]
        if times:
            for source in self._sources.values():
                yield from self._close(source.advance(max(times)).messages)

    def _close(self, messages: Iterable[Message]) -> Iterator[Window]:
        for message in messages:
            if message.topic != PARTIALS:
                continue
            found = decode_log_record(message.value)
            for closed in self._closing.step(found):
                block = merge([decode(data, LAYOUT) for data in closed.blocks], LAYOUT)
                yield Window(closed.window_start_ms, block, closed.changes)
