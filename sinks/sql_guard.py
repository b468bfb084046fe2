"""Which statements a reader of the store may run: one that only reads, and only the store.

The engine's ``readonly=1`` refuses writes, settings and most table functions. It does not refuse the scalar
function ``file``, ``INTO OUTFILE`` (both run in this process when the engine is embedded), functions that call
models or dictionaries, or system tables. So every statement is checked first, on the engine's own parse: it is
parsed and written out again by the engine, that canonical text is what is checked, and that is what runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

MAX_QUERY_BYTES: Final = 65_536

READING_STATEMENTS: Final = frozenset(
    {
        "SelectWithUnionQuery",
        "SelectIntersectExceptQuery",
        "DescribeQuery",
        "ShowTables",
        "ShowCreateTableQuery",
        "ShowColumns",
        "Explain",
    }
)
_EXPLAIN: Final = re.compile(r"EXPLAIN(?: AST| SYNTAX| QUERY TREE| PIPELINE)?")
TABLE_FUNCTIONS: Final = frozenset(
    {
        "generate_series",
        "generateseries",
        "null",
        "numbers",
        "numbers_mt",
        "primes",
        "sqlstandardvalues",
        "values",
        "view",
        "zeros",
        "zeros_mt",
    }
)
"""Table functions that make rows out of nothing or out of a query that is checked itself; lower case."""
SAFE_HOMONYMS: Final = frozenset({"format"})
"""Scalar functions with the name of a table function, allowed as scalars."""
SYSTEM_TABLES: Final = frozenset(
    {
        "columns",
        "databases",
        "functions",
        "numbers",
        "numbers_mt",
        "one",
        "parts",
        "tables",
        "zeros",
        "zeros_mt",
    }
)
OTHER_DATABASES: Final = frozenset(
    {"system", "information_schema", "default", "_temporary_and_external_tables"}
)
_REFUSED_FUNCTIONS: Final = re.compile(
    # files, models, other services
    r"file|filesystem.*|catboostevaluate|evalmlmethod|naivebayes.*|chdb|fuzzquery|ai[a-z]+|dict.*|joinget.*|region.*"
    # the host and its configuration
    r"|hostname|fqdn|fullhostname|displayname|getmacro|getserverport|tcpport|getserversetting|getsetting.*"
    r"|getclienthttpheader|currentrequesturl|globalvariable|serveruuid|showcertificate|getoskernelversion|buildid"
    r"|addressto.*|demangle|logtrace|hasthreadfuzzer|getmergetreesetting|zookeepersessionuptime"
    # holding a worker
    r"|sleep|sleepeachrow"
)
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NODE: Final = re.compile(r"^(?P<indent> *)(?P<type>\w+)(?: (?P<rest>.*))?$", re.DOTALL)
_TAIL: Final = re.compile(r"(?: \(alias .*\))?(?: \(children \d+\))?$", re.DOTALL)

Ask = Callable[[str, dict[str, str]], list[str]]
"""Runs one of our own statements with bound parameters on the engine; the lines of the answer as TSV."""


class QueryRefused(Exception):
    """The statement may not run here; the message says why and what to do instead."""


class Node(NamedTuple):
    depth: int
    type: str
    text: str


def canonical(query: str, database: str, ask: Ask, table_functions: Iterable[str]) -> str:
    """The statement as the engine understands it, if it may run.

    ``table_functions`` are the names that the engine knows. Raises ``QueryRefused``, or whatever ``ask`` raises
    for a statement that does not parse.
    """
    if len(query.encode("utf-8", "replace")) > MAX_QUERY_BYTES:
        raise QueryRefused(f"the statement is longer than {MAX_QUERY_BYTES} bytes")
    if not query.strip(" \t\r\n;"):
        raise QueryRefused("the statement is empty; try: SHOW TABLES")
    text = "\n".join(ask("SELECT formatQuerySingleLine({query:String}) FORMAT TSVRaw", {"query": query}))
    nodes = list(_nodes(ask(f"EXPLAIN AST {text}", {})))
    check(nodes, database, frozenset(name.lower() for name in table_functions))
    _refuse_output_clauses(text, ask)
    return text


def _refuse_output_clauses(text: str, ask: Ask) -> None:
    """INTO OUTFILE, FORMAT: a statement that has one cannot take another, which the parser tells."""
    try:
        ask(
            "SELECT formatQuerySingleLine({query:String})",
            {"query": f"{text}\nINTO OUTFILE 'x' FORMAT Null"},
        )
    except Exception as error:
        raise QueryRefused(
            "INTO OUTFILE, FORMAT and SETTINGS cannot be part of the statement; leave them out "
            "(--format chooses the output)"
        ) from error


def _nodes(lines: Iterable[str]) -> Iterator[Node]:
    for line in lines:
        match = _NODE.match(line)
        if match is not None:
            yield Node(len(match["indent"]), match["type"], _TAIL.sub("", match["rest"] or ""))


def check(nodes: list[Node], database: str, table_functions: frozenset[str]) -> None:
    """Judge a parse (``EXPLAIN AST``, one node a line). Raises ``QueryRefused``."""
    if not nodes or nodes[0].type not in READING_STATEMENTS:
        raise QueryRefused("only statements that read can run here: SELECT, WITH, SHOW, DESCRIBE, EXPLAIN")
    parent: Node | None = None
    for node in nodes:
        if node.type == "Explain" and not _EXPLAIN.fullmatch(node.text):
            raise QueryRefused(f"{node.text} cannot run here")
        if node.type == "Set":
            raise QueryRefused("SETTINGS cannot be part of the statement: limits are fixed here")
        if node.type == "Function":
            _check_function(
                node.text, parent is not None and parent.type == "TableExpression", table_functions
            )
        if node.type == "TableIdentifier":
            _check_table(node.text, database)
        if node.type == "Identifier" and node.text.partition(".")[0].lower() in OTHER_DATABASES:
            _check_table(node.text, database)
        parent = node


def _check_function(name: str, is_table: bool, table_functions: frozenset[str]) -> None:
    lower = name.lower()
    if is_table:
        if lower not in TABLE_FUNCTIONS:
            raise QueryRefused(
                f"table function {name} cannot be used here: only the store's own tables can be read"
            )
    elif _REFUSED_FUNCTIONS.fullmatch(lower) or (
        lower in table_functions and lower not in TABLE_FUNCTIONS | SAFE_HOMONYMS
    ):
        raise QueryRefused(f"function {name} cannot be used here")


def _check_table(name: str, database: str) -> None:
    where, _, table = name.rpartition(".")
    if not _PLAIN_NAME.fullmatch(table) or (where and not _PLAIN_NAME.fullmatch(where)):
        raise QueryRefused(f"no table can have the name {name!r}")
    if where in ("", database):
        return
    if where.lower() == "system" and table in SYSTEM_TABLES:
        return
    if where.lower() == "information_schema" and table.lower() in ("tables", "columns"):
        return
    raise QueryRefused(f"table {name} cannot be read here: only those of database {database}")
