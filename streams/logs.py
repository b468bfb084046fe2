"""Logs: one JSON object a line on stderr; quiet while all is well. Never a record's contents."""

from __future__ import annotations

import logging
import sys

import structlog

NOISY = ("aiokafka", "faust", "mode", "asyncio", "streams.app", "streams.transport")
"""Loggers whose everyday messages say nothing; their errors are kept."""


def configure_logging(level: int = logging.INFO) -> None:
    """Send our events and the libraries' errors to stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s", force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
