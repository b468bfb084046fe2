"""Read-only SQL over the store, for people: guarded statements, bounded time, rows and memory."""

from __future__ import annotations

from typing import Any, Final

import orjson
from clickhouse_connect.driver.exceptions import ClickHouseError

from sinks.clickhouse import connect
from sinks.clickhouse_config import ClickHouseConfig
from sinks.embedded import Ownership
from sinks.sql_guard import QueryRefused, canonical

__all__ = ["QueryRefused", "StoreReader"]

LIMITS: Final[dict[str, int]] = {
    "max_execution_time": 30,
    "max_result_rows": 100_000,
    "max_result_bytes": 64 << 20,
    "max_memory_usage": 2 << 30,
    "max_threads": 2,
    "output_format_json_quote_64bit_integers": 0,
}
PURPOSE: Final = "tidewatch sql"


class StoreReader:
    """One connection that can only read. Blocking: call it from a thread of its own."""

    def __init__(self, config: ClickHouseConfig) -> None:
        """Connect; ``config.path`` is absolute (``ClickHouseConfig.at``).

        Raises:
            StoreInUse: another process owns the embedded store.
            ClickHouseError: the server cannot be reached, or the store has no such database.
        """
        self._database = config.database
        self._embedded = config.embedded
        self._ownership = Ownership(config.path, PURPOSE) if config.embedded else None
        self._config = config
        self._cancelled = False
        self._client: Any = None
        try:
            self._client = self._open()
            self._table_functions = self._ask("SELECT name FROM system.table_functions", {})
        except BaseException:
            self.close()
            raise

    def _open(self) -> Any:
        client = connect(self._config)
        client.database = self._database
        if self._embedded:
            # Set once on this connection, readonly last: from then on nothing on it can change a setting.
            for name, value in (*LIMITS.items(), ("readonly", 1)):
                client.command(f"SET {name} = {value}")
        return client

    def query(self, statement: str) -> bytes:
        """The answer as ClickHouse's JSONCompact: ``meta`` (names and types), ``data`` (rows), ``statistics``.

        Raises:
            QueryRefused: the statement may not run here.
            ClickHouseError: it does not parse, fails, or exceeds a limit.
        """
        text = canonical(statement, self._database, self._ask, self._table_functions)
        if text.startswith("EXPLAIN"):
            # A FORMAT after EXPLAIN would belong to the statement that is explained.
            lines = [[_unescaped(line)] for line in self._ask(text, {})]
            return orjson.dumps({"meta": [{"name": "explain", "type": "String"}], "data": lines})
        return self._run(text, {}, "JSONCompact")

    def cancel(self) -> None:
        """End the query that runs in another thread, and refuse further ones; embedded store only.

        The engine may just be between two statements, so repeat it until the query has ended.
        """
        self._cancelled = True
        if self._embedded:
            killer = connect(self._config)
            try:
                killer.command("KILL QUERY WHERE Settings['readonly'] = '1' ASYNC")
            finally:
                killer.close()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
        ownership, self._ownership = self._ownership, None
        if ownership is not None:
            ownership.release()

    def _ask(self, statement: str, parameters: dict[str, str]) -> list[str]:
        """The lines of the answer in TSV, the format of statements without one; escapes are left as they are."""
        return self._run(statement, parameters, None).decode().removesuffix("\n").split("\n")

    def _run(self, statement: str, parameters: dict[str, str], form: str | None) -> bytes:
        if self._cancelled:
            raise QueryRefused("the store is being closed")
        settings = {} if self._embedded else {**LIMITS, "readonly": 1}
        try:
            answer: bytes = self._client.raw_query(
                statement, parameters=parameters or None, settings=settings, fmt=form
            )
        except ClickHouseError:
            # chDB 4.4 keeps what a failed query had already put out, and would begin the next answer with it.
            self._client.close()
            if not self._cancelled:
                self._client = self._open()
            raise
        return answer


def _unescaped(line: str) -> str:
    return line.replace("\\'", "'").replace("\\\\", "\\")
