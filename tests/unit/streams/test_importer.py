"""Imports: mappings, conversions, times, problems, and the real logs they were made for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from streams.commands.import_ import command
from streams.decode import decode_feedback, decode_interaction
from streams.events import Interaction
from streams.files import read_events
from streams.mapping import Clock, MappingError, Unconvertible, convert, parse_map, parse_set

NOW_MS = 1_800_000_000_000
DATA = Path(__file__).parents[4] / "shared/data"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def converted(cell: object, mapping: str, start_ms: int | None = None) -> object:
    return convert(cell, parse_map("interaction", mapping), Clock(start_ms))


@pytest.mark.parametrize(
    ("cell", "mapping", "expected"),
    [
        ("374", "tokens_in=c", 374),
        ("374.0", "tokens_in=c", 374),
        ("1e3", "tokens_in=c", 1_000),
        ("", "tokens_in=c", None),
        ("NaN", "tokens_in=c", None),
        (None, "tenant=c", None),
        ("nan", "tenant=c", "nan"),
        (7, "tenant=c", "7"),
        ("ACME", "tenant=c:lower", "acme"),
        ("1.5", "duration_ms=c:s", 1_500.0),
        ("4.291574717", "duration_ms=c:s", 4_291.574717),
        (250, "duration_ms=c:us", 0.25),
        ("2", "ttft_ms=c:min", 120_000.0),
        ("12", "ttft_ms=c", 12.0),
        ("25", "cost=c:times(0.01)", 0.25),
        ("1.2", "tokens_in=c:times(1000)", 1_200),
        ("yes", "refusal=c", True),
        ("0", "refusal=c:bool", False),
        ("1", "refusal=c:not", False),
        ("", "refusal=c:not", None),
        ("I'm SORRY, no", "refusal=c:contains(sorry)", True),
        ("[Yes]", "refusal=c:contains(sorry)", False),
        ("x:y", "attributes.a=c:d", "x:y"),
        ("2026-01-01T00:00:00+02:00", "occurred_at=c", 1_767_218_400_000),
        ("2023-11-16 18:15:46.6805900", "occurred_at=c", 1_700_158_546_680),
        ("2023-11-16T18:15", "occurred_at=c", 1_700_158_500_000),
        ("07/02/2023, 21:28:40", "occurred_at=c:%m/%d/%Y, %H:%M:%S", 1_688_333_320_000),
        ("1688333320.5", "occurred_at=c:s", 1_688_333_320_500),
        (1_688_333_320_500, "occurred_at=c", 1_688_333_320_500),
    ],
)
def test_cells_become_values(cell: object, mapping: str, expected: object) -> None:
    value = converted(cell, mapping)
    assert value == expected
    assert type(value) is type(expected)


def test_columns_may_hold_colons() -> None:
    assert parse_map("interaction", "tenant=a:b").column == "a:b"
    assert parse_map("interaction", "duration_ms=a:b:s")[1:] == ("a:b", "s")
    assert parse_map("interaction", "occurred_at=at:%H:%M:%S")[1:] == ("at", "%H:%M:%S")


def test_numbers_are_relative_to_the_start() -> None:
    assert converted(1_500, "occurred_at=c:ms", start_ms=1_000_000) == 1_001_500
    assert converted("1.5", "occurred_at=c:s", start_ms=1_000_000) == 1_001_500


@pytest.mark.parametrize(
    ("cell", "mapping", "expected"),
    [
        ("many", "tokens_in=c", "a number"),
        ("1.5", "tokens_in=c", "an integer"),
        (True, "tokens_in=c", "a number"),
        ("inf", "cost=c", "a number"),
        ("perhaps", "refusal=c", "yes or no"),
        ("soon", "occurred_at=c", "ISO 8601"),
        ("soon", "occurred_at=c:s", "a number"),
        ("2023", "occurred_at=c:%d.%m.%Y", "a time like %d.%m.%Y"),
        ([1], "occurred_at=c", "a time"),
    ],
)
def test_cells_that_cannot_be_read_say_what_was_expected(cell: object, mapping: str, expected: str) -> None:
    with pytest.raises(Unconvertible, match=expected):
        converted(cell, mapping)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("tokens_in", "expected field=Column"),
        ("token_in=c", "did you mean tokens_in"),
        ("input.x=c", "no field"),
        ("tokens_in=c:s", "does not make a integer"),
        ("duration_ms=c:lower", "does not make a millis"),
        ("cost=c:times(x)", "times\\(NUMBER\\)"),
    ],
)
def test_mappings_are_checked(mapping: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        parse_map("interaction", mapping)


def test_constants_have_the_type_of_their_field() -> None:
    assert parse_set("interaction", "streamed=yes") == ("streamed", True)
    assert parse_set("interaction", "attributes.a=1=2") == ("attributes.a", "1=2")
    for text, message in (("streamed=maybe", "yes or no"), ("tenant=", "empty"), ("tenant", "field=value")):
        with pytest.raises(MappingError, match=message):
            parse_set("interaction", text)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(
        '\ufeffwhen,model,latency,answer\n2026-01-01 00:00:00,gpt-x,1.5,"two\n\nlines, quoted"\n'
        "2026-01-01 00:00:01,gpt-x,,fine\n"
    )
    return path


MAPS = ["--map", "started_at=when", "--map", "model_requested=model", "--map", "duration_ms=latency:s"]


def events(path: Path) -> list[Interaction]:
    return [decode_interaction(record.value, now_ms=NOW_MS) for record in read_events([path])]


def test_a_table_becomes_events(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl.zst"
    arguments = ["--map", "output=answer", "--set", "attributes.team=core", "--output", str(out)]
    result = run("--csv", str(table), *MAPS, *arguments)
    assert result.exit_code == 0, result.output
    assert "2 rows, 2 events" in result.stderr
    assert "2 times without a zone were taken for UTC" in result.stderr
    first, second = events(out)
    assert (first.occurred_at, first.duration_ms) == (1_767_225_601_500, 1_500.0)
    assert (first.output, first.attributes) == ("two\n\nlines, quoted", {"team": "core"})
    assert (second.occurred_at, second.duration_ms) == (1_767_225_601_000, None)
    assert "1 events are earlier than one before" in result.stderr


def test_ids_come_from_content_and_row_not_from_the_name(table: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_bytes(table.read_bytes())
    first, again = run("--csv", str(table), *MAPS), run("--csv", str(copy), *MAPS)
    assert first.stdout == again.stdout
    ids = [json.loads(line)["event_id"] for line in first.stdout.splitlines()]
    assert len(set(ids)) == 2
    assert len(set(run("--csv", str(table), "--csv", str(copy), *MAPS).stdout.splitlines())) == 4


def test_rows_without_times_follow_each_other(table: Path) -> None:
    times = ["--start", "2026-01-01T00:00:00Z", "--interval-secs", "0.25"]
    result = run("--csv", str(table), "--map", "model_requested=model", *times)
    at = [json.loads(line)["occurred_at"] for line in result.stdout.splitlines()]
    assert at == [1_767_225_600_000, 1_767_225_600_250]


def test_parquet_and_nested_json_lines(tmp_path: Path) -> None:
    parquet, lines = tmp_path / "log.parquet", tmp_path / "log.jsonl"
    pq.write_table(pa.table({"at": [1_767_225_600.0], "usage": [{"input": 5}], "m": ["gpt-x"]}), parquet)
    lines.write_text('{"at": 1767225600, "usage": {"input": 5}, "m": "gpt-x"}\n')
    maps = ["--map", "occurred_at=at:s", "--map", "tokens_in=usage.input", "--map", "model_requested=m"]
    made = [
        run(option, str(path), *maps).stdout for option, path in (("--parquet", parquet), ("--jsonl", lines))
    ]
    assert made[0] == made[1]
    assert decode_interaction(made[0].encode(), now_ms=NOW_MS).tokens_in == 5


def test_feedback_can_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text("when,trace,vote\n2026-01-01T00:00:00Z,t1,down\n")
    maps = ["--map", "occurred_at=when", "--map", "trace_id=trace", "--map", "label=vote"]
    out = tmp_path / "votes.jsonl"
    result = run(
        "--csv", str(path), "--kind", "feedback", *maps, "--set", "name=user_feedback", "--output", str(out)
    )
    assert result.exit_code == 0, result.output
    [record] = read_events([out])
    assert record.stream == "feedback"
    assert decode_feedback(record.value, now_ms=NOW_MS).label == "down"


@pytest.fixture
def bad_table(tmp_path: Path) -> Path:
    path = tmp_path / "bad.csv"
    path.write_text(
        "when,model,in\n2026-01-01T00:00:00Z,m,1\n2026-01-01T00:00:01Z,m,many\nnever,m,-3\n"
        "2026-01-01T00:00:02Z,m,-4\n2026-01-01T00:00:03Z,,5\n"
    )
    return path


BAD_MAPS = ["--map", "occurred_at=when", "--map", "model_requested=model", "--map", "tokens_in=in"]


def test_every_problem_is_reported_and_nothing_is_written(bad_table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run("--csv", str(bad_table), *BAD_MAPS, "--output", str(out))
    assert result.exit_code == 1
    assert f"{bad_table}, row 2, column in: got 'many', expected a number" in result.stderr
    assert "row 3, column when: got 'never', expected a time: ISO 8601" in result.stderr
    assert "row 4, column in: got '-4', expected `int` >= 0" in result.stderr
    assert "row 5, column model: got '', expected model_requested or operation is required" in result.stderr
    assert "4 of 5 rows cannot be used, and no file was written" in result.stderr
    assert not out.exists()


def test_bad_rows_can_be_skipped_and_are_counted(bad_table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run("--csv", str(bad_table), *BAD_MAPS, "--output", str(out), "--skip-bad", "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stderr.splitlines()[-1])
    assert (summary["rows"], summary["written"], summary["bad"]) == (5, 1, 4)
    assert [event.tokens_in for event in events(out)] == [1]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ([], "one format", 2),
        (["--csv", "{table}", "--jsonl", "{table}"], "one format", 2),
        (["--csv", "{table}", "--set", "operation=chat"], "the time is missing", 2),
        (["--csv", "{table}", "--map", "occurred_at=when"], "model_requested or operation is missing", 2),
        (["--csv", "{table}", *MAPS, "--interval-secs", "1"], "needs --start", 2),
        (["--csv", "{table}", *MAPS, "--start", "soon"], "expected a moment", 2),
        (
            ["--csv", "{table}", *MAPS, "--map", "tokens_in=Tokens"],
            "no column 'Tokens'; its columns are 'when'",
            2,
        ),
        (["--csv", "{table}", *MAPS, "--delimiter", "ab"], "one character", 2),
        (["--csv", "{table}.absent", *MAPS], "does not exist", 2),
        (["--jsonl", "{table}", *MAPS], "line 1: not JSON", 1),
        (["--parquet", "{table}", *MAPS], "not readable as Parquet", 1),
    ],
)
def test_mistakes_are_explained(table: Path, arguments: list[str], message: str, code: int) -> None:
    result = run(*(part.format(table=table) for part in arguments))
    assert result.exit_code == code
    assert message in result.stderr


def test_a_column_that_is_never_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"at": "2026-01-01T00:00:00Z", "m": "x"}\n')
    maps = ["--map", "occurred_at=at", "--map", "model_requested=m", "--map", "tokens_in=tokenz"]
    assert "no row has a value in tokenz" in run("--jsonl", str(path), *maps).stderr


REAL: list[tuple[str, list[str], int]] = [
    (
        "azure/AzureLLMInferenceTrace_conv.csv",
        ["--csv", "{file}", "--map", "occurred_at=TIMESTAMP", "--map", "tokens_in=ContextTokens"],
        19_366,
    ),
    (
        "mooncake/conversation_trace.jsonl",
        ["--jsonl", "{file}", "--start", "2026-01-05T09:00:00Z", "--map", "occurred_at=timestamp:ms"],
        12_031,
    ),
    (
        "llmdrift/PRIME_FULL_EVAL.csv",
        [
            "--csv",
            "{file}",
            "--start",
            "2026-01-05T09:00:00Z",
            "--interval-secs",
            "1",
            "--map",
            "duration_ms=latency:s",
        ],
        4_000,
    ),
]


@pytest.mark.parametrize(("name", "arguments", "rows"), REAL, ids=[case[0] for case in REAL])
def test_real_logs_are_imported_without_a_bad_row(name: str, arguments: list[str], rows: int) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not on this machine")
    result = run(*(part.format(file=DATA / name) for part in arguments), "--set", "operation=chat", "--json")
    assert result.exit_code == 0, result.stderr
    summary: dict[str, Any] = json.loads(result.stderr)
    assert (summary["rows"], summary["bad"], summary["out_of_order"]) == (rows, 0, 0)
    assert result.stdout.count("\n") == rows
