"""From records as they come over the wire to what is measured of them, in one window."""

from __future__ import annotations

from collections.abc import Sequence

from detectors.sketches.block import Block, merge
from detectors.sketches.build import build
from detectors.sketches.window import WindowBlock
from streams.config import SegmentsConfig
from streams.decode import decode_chunk
from streams.events import Stream
from streams.fields import gatherers
from streams.messages import LocalRecord
from streams.signals import LAYOUT

BASE_MS = 10_000


def measured(
    stream: Stream,
    values: Sequence[bytes],
    now_ms: int,
    segments: SegmentsConfig | None = None,
    chunk_records: int = 1000,
) -> Block:
    """The block of interactions or feedback given as JSON; all must be good."""
    gatherer = gatherers(stream, segments or SegmentsConfig())()
    records = [LocalRecord(f"llm.{stream}", 0, at, value) for at, value in enumerate(values)]
    for lo in range(0, len(records), chunk_records):
        chunk = decode_chunk(stream, records[lo : lo + chunk_records], now_ms)
        assert not chunk.bad, chunk.bad
        gatherer.add(chunk.events)
    return build(*gatherer.take(), LAYOUT)


def window(
    start_ms: int,
    interactions: Sequence[bytes] = (),
    feedback: Sequence[bytes] = (),
    segments: SegmentsConfig | None = None,
) -> WindowBlock:
    """One base window of records given as JSON."""
    now_ms = start_ms + 3_600_000
    blocks = [
        measured(stream, values, now_ms, segments)
        for stream, values in (("interaction", interactions), ("feedback", feedback))
        if values
    ]
    return WindowBlock(start_ms, start_ms + BASE_MS, merge(blocks, LAYOUT), LAYOUT)
