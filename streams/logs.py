"""Logs: one JSON object a line on stderr; quiet while all is well; never a record's contents.

Every event name has a rate of its own: a storm says so once and then how much was left out. Messages of exceptions
that are not ours are withheld, because they may quote what a record holds (``could not convert string to float``).
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, TextIO, cast

import structlog

NOISY = ("aiokafka", "faust", "mode", "asyncio", "streams.app", "streams.transport")
"""Loggers whose everyday messages say nothing; their errors are kept."""

LINES_A_MINUTE: Final = 10
"""Of one event name."""
MAX_NAMES: Final = 500
"""Event names that are counted; beyond that counting begins anew."""
_SPEAKING: Final = ("streams", "sinks", "aiokafka", "asyncio", "clickhouse_connect", "sqlite3")
"""Packages whose exceptions have messages without contents of records."""
WITHHELD: Final = "(message withheld: it may quote a record)"

_Line = MutableMapping[str, Any]


class RateLimit:
    """Passes ``lines`` of one event name a minute; a processor of structlog and a filter of ``logging``."""

    def __init__(self, lines: int = LINES_A_MINUTE, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines = lines
        self._clock = clock
        self._windows: dict[object, list[float]] = {}
        """Event name -> [begin of its minute, lines in it]."""
        self.suppressed = 0
        """Lines left out since the start."""

    def __call__(self, _logger: Any, _method: str, line: _Line) -> _Line:
        left_out = self._take(line.get("event"))
        if left_out is None:
            raise structlog.DropEvent
        if left_out:
            line["suppressed"] = left_out
        return line

    def filter(self, record: logging.LogRecord) -> bool:
        """For a handler of ``logging``; by the message before its arguments are put in."""
        left_out = self._take((record.name, str(record.msg)))
        if left_out:
            record.suppressed = left_out
        return left_out is not None

    def _take(self, name: object) -> int | None:
        """How many lines were left out before this one; None when it is to be left out too."""
        now = self._clock()
        if len(self._windows) > MAX_NAMES:
            self._windows.clear()
        window = self._windows.setdefault(name, [now, 0])
        left_out = 0
        if now - window[0] >= 60:
            left_out = max(0, int(window[1]) - self._lines)
            window[:] = [now, 0]
        window[1] += 1
        if window[1] > self._lines:
            self.suppressed += 1
            return None
        return left_out


LIMIT: Final = RateLimit()
"""The one of this process."""


def describe(error: BaseException) -> str:
    """An exception in one line, without what may be contents of a record."""
    kind = type(error).__name__
    speaks = isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _SPEAKING
    return f"{kind}: {error if speaks else WITHHELD}"


def _without_contents(_logger: Any, _method: str, line: _Line) -> _Line:
    """``exc_info`` as frames and types."""
    error = line.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    elif error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        line["exception"] = [
            {
                "error": describe(each),
                "frames": [
                    f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(each.__traceback__)
                ],
            }
            for each in _chain(error)
        ]
    return line


def _chain(error: BaseException | None) -> list[BaseException]:
    """The exception, then what it came from."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


def _of_library(_logger: Any, _method: str, line: _Line) -> _Line:
    """The name of the logger, and what the filter counted."""
    record: logging.LogRecord = line["_record"]
    line["logger"] = record.name
    if left_out := getattr(record, "suppressed", 0):
        line["suppressed"] = left_out
    return line


def configure_logging(level: int = logging.INFO) -> None:
    """Send our events and the libraries' errors to stderr, both as JSON."""
    stream = cast("TextIO", _Lenient(sys.stderr))
    stamp: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.addFilter(LIMIT.filter)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*stamp, _of_library, _without_contents],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    # The driver tells each failed try, with its whole address; the sink raises what matters.
    for name in ("clickhouse_connect", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # A group's first coordinator look-up fails on every new cluster; what matters comes to us as an exception.
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[LIMIT, *stamp, _without_contents, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )


class Seldom:
    """Whether to say again what goes on: at once, then once in ``every_secs``."""

    def __init__(self, every_secs: float = 60.0) -> None:
        self._every_secs = every_secs
        self._said_secs: float | None = None

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._said_secs is not None and now - self._said_secs < self._every_secs:
            return False
        self._said_secs = now
        return True

    def over(self) -> bool:
        """It is over; whether it was said."""
        said, self._said_secs = self._said_secs is not None, None
        return said


class KeptOut:
    """Says that limits keep something out: when their counts have changed, as seldom as ``told`` lets it."""

    def __init__(self, told: Seldom) -> None:
        self._told = told
        self._counts: dict[str, int] = {}

    def tell(self, counts: Mapping[str, int], **where: object) -> None:
        """``counts`` by limit, in total; ``where`` goes into the log."""
        counts = {cap: count for cap, count in counts.items() if count}
        if counts != self._counts and self._told():
            structlog.get_logger().warning("a limit keeps something out", **where, kept_out=counts)
        self._counts = counts


class _Lenient(io.TextIOBase):
    """A stream whose failures are nobody's: a log on a full disk must not end who writes it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()
