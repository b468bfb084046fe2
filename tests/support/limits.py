"""Every hard limit for docs/reliability.md: what, how much, what happens beyond it, how one hears of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from detectors.rules import book
from detectors.sketches import labels, recent
from streams import aggregating, closing, contents, decode, events, logs, pseudonyms
from streams.client import MAX_REQUEST_BYTES
from streams.config import Config
from streams.operate.table import METRICS

_DEFAULT: Final = Config()


class Limit(NamedTuple):
    """One row."""

    what: str
    limit: str
    """Default of a setting, with its name, or a constant."""
    beyond: str
    heard: str


def _set(path: str) -> str:
    """A setting and its default."""
    value: object = _DEFAULT
    for name in path.split("."):
        value = getattr(value, name)
    return f"{value:,} (`{path}`)" if isinstance(value, int) else f"{value:g} (`{path}`)"


def _cap(cap: str) -> str:
    return f'`{METRICS["tidewatch_dropped_by_caps_total"].name}{{cap="{cap}"}}`, log'


_LETTER: Final = "dead letter, `tidewatch_dead_letters_total`"
LIMITS: Final = (
    Limit("bytes of an input record", f"{events.MAX_RECORD_BYTES:,}", "refused: `too_large`", _LETTER),
    Limit("fields of a record", f"{events.MAX_FIELDS:,}", "refused: `too_large`", _LETTER),
    Limit("items of a list or map", f"{events.MAX_FIELDS:,}", "refused: `out_of_range`", _LETTER),
    Limit("nesting of a record", f"{events.MAX_DEPTH}", "refused: `too_deep`", _LETTER),
    Limit("characters of a name or label", f"{events.MAX_NAME_CHARS}", "refused: `out_of_range`", _LETTER),
    Limit("bytes of a text", f"{events.MAX_TEXT_BYTES:,}", "cut", "the end of the text is missing"),
    Limit(
        "names of unknown fields that are counted apart", f"{decode.MAX_UNKNOWN_NAMES}",
        "counted as `__other__`", "that name",
    ),
    Limit(
        "dead letters of 1,000 offsets", _set("limits.dead_letters_per_1000"), "the rest share letters",
        _cap("dead letters of a chunk"),
    ),
    Limit(
        "windows open at once in a partition", _set("limits.open_windows"), "the oldest is sealed",
        'what comes for it is `tidewatch_records_skipped_total{reason="late"}`',
    ),
    Limit(
        "windows that a partition is read beyond the last closed one", _set("limits.windows_ahead"),
        "it waits on the broker until the others have come up; what is in hand is worked on",
        "`tidewatch_partitions_held`, `tidewatch_windows_pending`, `tidewatch_lag_records`",
    ),
    Limit(
        "segments of a segmentation in one window and partition", _set("limits.window_segments"),
        "those with the largest checksum are added up as `__other__`, known or not",
        _cap("segments of a window"),
    ),
    Limit(
        "segments that are watched, of one segmentation", _set("segments.max_per_segmentation"),
        "new ones are added up as `__other__`; who has a place keeps it",
        "incident `rule:segment-cap`, one until an hour without refusals; `cap=\"segments\"`",
    ),
    Limit("segments that are watched, in total", _set("segments.max_total"), "the same", "the same"),
    Limit(
        "days that a segment without records keeps its place", _set("segments.retire_after_days"),
        "it is forgotten", "`tidewatch_segments`",
    ),
    Limit(
        "labels of a category (`finish_reason`, `model_served`) of a segment and window", f"{labels.MAX_LABELS}",
        "those with the largest checksum are counted as `__other__`", "that label in the summaries",
    ),
    Limit("exemplars of an anomaly", f"{recent.MOST}", "the worst are kept", "–"),
    Limit(
        "changes announced in one window", f"{contents.MAX_CHANGES:,}, and what fits one record of the log",
        "left out", _cap("changes of a window"),
    ),
    Limit(
        "unfinished attempts of one source", f"{closing.MAX_ATTEMPTS}", "the oldest is dropped",
        _cap("attempts of a source"),
    ),
    Limit(
        "empty windows in a row", f"{closing.MAX_SILENT_WINDOWS}", "passed over until records come",
        "no summaries for them",
    ),
    Limit(
        "segments that a rule with a wildcard judges", f"{book.MAX_SEGMENTS:,}", "new ones are not judged by rules",
        _cap("segments of rules"),
    ),
    Limit(
        "incidents firing at once", _set("triage.max_open"), "more are anomalies only", _cap("incidents"),
    ),
    Limit(
        "bytes of a record of `tidewatch.partials`, `tidewatch.summaries`", _set("limits.partial_bytes"),
        "divided into several", "–",
    ),
    Limit(
        "bytes of any record that is sent", f"{MAX_REQUEST_BYTES:,}", "the worker ends: a limit does not hold",
        "alert that a worker crashed, log",
    ),
    Limit(
        "chunks in hand per partition", f"{aggregating.INBOX_CHUNKS}", "fetching waits", "`tidewatch_lag_records`",
    ),
    Limit(
        "rows written to the store at once", _set("record.batch_rows"), "another batch", "`tidewatch_lag_records`",
    ),
    Limit(
        "pseudonyms remembered", f"{pseudonyms.MAX_REMEMBERED:,}", "computed again: they are the same", "–",
    ),
    Limit(
        "lines of one kind that are logged in a minute", f"{logs.LINES_A_MINUTE}", "counted",
        "`suppressed` in the next line, `tidewatch_log_lines_suppressed_total`",
    ),
    Limit(
        "MB of the embedded broker", _set("up.broker_memory_mb"), "it goes on with an empty log (above)",
        "log of `tidewatch up`, from 80 % on",
    ),
)  # fmt: skip


def table() -> Iterator[str]:
    """All of them as Markdown."""
    yield "| what | limit | beyond it | how one hears of it |"
    yield "|---|--:|---|---|"
    for row in LIMITS:
        yield "| " + " | ".join(row) + " |"
