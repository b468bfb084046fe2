"""Every sink by name. A new one is a line here; the contract tests then run against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from sinks.base import Sink
from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from sinks.console import ConsoleSink

SINKS: Final[dict[str, Callable[[ClickHouseConfig, Path], Sink]]] = {
    "clickhouse": ClickHouseSink,
    "console": lambda _config, _state_dir: ConsoleSink(),
}
"""Name -> how to make it from the store's configuration and ``state_dir``."""
