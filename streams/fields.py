"""Which fields of each kind of record are read, under a configuration."""

from __future__ import annotations

from collections.abc import Callable

from streams.columns import Gatherer
from streams.config import SegmentsConfig
from streams.events import Stream
from streams.feedback_columns import FEEDBACK_FIELDS
from streams.interaction_columns import interaction_fields
from streams.segments import TENANT, Segmenter


def gatherers(stream: Stream, segments: SegmentsConfig) -> Callable[[], Gatherer]:
    """Makes the gatherers of the interactions, or of the feedback, of one window each."""
    fields = interaction_fields(segments.watched_attributes) if stream == "interaction" else FEEDBACK_FIELDS
    segmenter = Segmenter(segments.by, (*fields.categories, TENANT))
    return lambda: Gatherer(fields, segmenter)
