"""Logs: one JSON object a line on stderr; quiet while all is well. Never a record's contents."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import time
from typing import TextIO, cast

import structlog

NOISY = ("aiokafka", "faust", "mode", "asyncio", "streams.app", "streams.transport")
"""Loggers whose everyday messages say nothing; their errors are kept."""


def configure_logging(level: int = logging.INFO) -> None:
    """Send our events and the libraries' errors to stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s", force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
    # The driver tells each failed try, with its whole address; the sink raises what matters.
    for name in ("clickhouse_connect", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # A group's first coordinator look-up fails on every new cluster; what matters comes to us as an exception.
    logging.getLogger("aiokafka.consumer.group_coordinator").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Lenient(sys.stderr))),
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
