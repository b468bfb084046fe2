"""`tidewatch series`: files in, one row of verdict for every row out."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from streams.commands.series import command
from streams.series.reading import parse_time
from streams.series.run import COLUMNS


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def write(path: Path, *lines: str, header: str = "timestamp,value") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(tuple(row) == COLUMNS for row in rows)
    return rows


def step(path: Path, seed: int = 1) -> Path:
    rng = random.Random(seed)
    return write(
        path,
        *(f"{1_700_000_000 + 60 * row},{rng.gauss(5.0 * (row >= 400), 1.0):.3f}" for row in range(600)),
    )


def test_every_row_has_its_verdict_and_the_change_its_onset(tmp_path: Path) -> None:
    source = step(tmp_path / "cpu.csv")
    result = run(source, "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    rows = read(tmp_path / "out" / "cpu.csv")
    with source.open(newline="") as file:
        assert [[row["timestamp"], row["value"]] for row in rows] == list(csv.reader(file))[1:]
    (alarm,) = (row for row in rows if row["alarm"] == "1")
    assert abs(int(alarm["change_point"]) - (1_700_000_000 + 60 * 400)) <= 60 * 2
    assert alarm["score"] == "1.0000"
    assert all(row["change_point"] == "" for row in rows if row["alarm"] == "0")
    assert all(float(row["lower"]) <= float(row["expected"]) <= float(row["upper"]) for row in rows[1:])
    (found,) = orjson.loads(result.stdout)["series"]
    assert found["rows"] == 600
    assert found["alarms"] == [{"timestamp": alarm["timestamp"], "change_point": alarm["change_point"]}]


def test_the_first_rows_do_not_know_the_last(tmp_path: Path) -> None:
    whole = step(tmp_path / "whole.csv")
    head = tmp_path / "head.csv"
    head.write_text("\n".join(whole.read_text().split("\n")[:451]) + "\n")
    assert run(whole, head, "--output", tmp_path / "out").exit_code == 0
    assert read(tmp_path / "out" / "head.csv") == read(tmp_path / "out" / "whole.csv")[:450]


def test_bad_rows_are_reported_and_kept_as_gaps(tmp_path: Path) -> None:
    source = write(
        tmp_path / "bad.csv", "1,0.5,2", "2,,2", "3,nan,2", "4,abc,2", "5,inf,2", "6,1.5,2", "7,0.5,-1", "8,0.5,0",
        "9", "10,0.5,2", "10,0.4,2", "4,0.5,2", "yesterday,0.5,2", header="timestamp,value,n",
    )  # fmt: skip
    result = run(source, "--kind", "ratio", "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0
    rows = read(tmp_path / "out" / "bad.csv")
    assert len(rows) == 13
    assert [row["score"] for row in rows] == ["0.0000"] * 13
    (found,) = orjson.loads(result.stdout)["series"]
    assert (found["gaps"], found["bad_rows"]) == (8, 7)
    assert "row 4: value: got 'abc'; expected a number from 0 to 1" in found["problems"][0]
    assert "and 2 more rows" in result.stderr


def test_a_wrong_clock_does_not_silence_what_follows(tmp_path: Path) -> None:
    source = step(tmp_path / "clock.csv")
    lines = source.read_text().split("\n")
    lines[50] = lines[50].replace("17000", "99000", 1)
    source.write_text("\n".join(lines))
    run(source, "--output", tmp_path / "out")
    assert sum(row["alarm"] == "1" for row in read(tmp_path / "out" / "clock.csv")) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty; expected a header timestamp,value[,n]"),
        ("1,2\n3,4\n", "line 1: got '1,2'; expected a header with one column timestamp"),
        ("timestamp,reading\n1,2\n", "expected a header with one column value"),
        (None, "No such file or directory; expected a CSV file"),
    ],
)
def test_a_file_that_is_no_series_is_named_and_the_others_are_done(
    tmp_path: Path, content: str | None, message: str
) -> None:
    broken = tmp_path / "broken.csv"
    if content is not None:
        broken.write_text(content)
    good = write(tmp_path / "good.csv", "1,1", "2,2", "3,3")
    result = run(broken, good, "--output", tmp_path / "out")
    assert result.exit_code == 1
    assert str(broken) in result.stderr
    assert message in result.stderr
    assert os.listdir(tmp_path / "out") == ["good.csv"]
    assert len(read(tmp_path / "out" / "good.csv")) == 3


def test_verdicts_never_replace_each_other_or_an_input(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    one, other = write(tmp_path / "x.csv", "1,1"), write(tmp_path / "a" / "x.csv", "1,1")
    result = run(one, other, "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "both would write" in result.stderr
    result = run(one, "--output", tmp_path)
    assert result.exit_code == 2
    assert "the verdicts would replace it" in result.stderr
    assert one.read_text() == "timestamp,value\n1,1\n"


def test_header_only_and_huge_values_and_zones(tmp_path: Path) -> None:
    write(tmp_path / "none.csv")
    write(tmp_path / "huge.csv", "2026-01-01T00:00:00+02:00,1e308", "2026-01-01T00:00:00Z,-1e308",
          "2026-01-01 00:00:01,1e308", "1767225602000,5", header="\ufeffTimestamp, Value")  # fmt: skip
    result = run(tmp_path / "none.csv", tmp_path / "huge.csv", "--output", tmp_path / "out", "--json")
    assert result.exit_code == 0
    assert [found["bad_rows"] for found in orjson.loads(result.stdout)["series"]] == [0, 0]
    assert read(tmp_path / "out" / "none.csv") == []
    assert len(read(tmp_path / "out" / "huge.csv")) == 4


def test_times_in_all_their_forms() -> None:
    moment = 1_767_225_600.0
    for text in ("2026-01-01 00:00:00", "2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z", "1767225600",
                 "1767225600000", "1767225600.0", " 1767225600 "):  # fmt: skip
        assert parse_time(text) == moment
    for text in ("", "inf", "yesterday"):
        with pytest.raises(ValueError, match=r".*"):
            parse_time(text)


def test_the_plot_is_a_picture_beside_the_verdicts(tmp_path: Path) -> None:
    result = run(step(tmp_path / "cpu.csv"), "--output", tmp_path / "out", "--plot")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "cpu.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.timeout(300)
def test_two_processes_give_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [step(tmp_path / f"s{number}.csv", number) for number in range(3)]
    alone = run(*sources, "--output", tmp_path / "one")
    monkeypatch.setattr("streams.commands.series._WORTH_PROCESSES_BYTES", 0)
    together = run(*sources, "--output", tmp_path / "two")
    assert alone.exit_code == together.exit_code == 0
    assert alone.stdout.count("alarm at") == 3
    assert alone.stdout == together.stdout
    for source in sources:
        assert (tmp_path / "one" / source.name).read_bytes() == (tmp_path / "two" / source.name).read_bytes()


@pytest.mark.timeout(300)
def test_the_hash_seed_changes_nothing(tmp_path: Path) -> None:
    source, found = step(tmp_path / "cpu.csv"), []
    for seed in ("0", "4711"):
        program = Path(sys.executable).with_name("tidewatch")
        subprocess.run(
            [program, "series", source, "--output", tmp_path / seed],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        found.append((tmp_path / seed / "cpu.csv").read_bytes())
    assert found[0] == found[1]
