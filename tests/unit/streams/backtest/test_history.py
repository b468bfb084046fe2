"""The user's own history, labels and rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.backtest.labels import BadLabels, read_labels
from streams.backtest.rules import BadRule, read_rules
from streams.cli import main
from streams.config import Config

HEADER = "id,start,end,segment,type,severity,origin,target_events\n"
REFUSALS = '{ name = "refusals", signal = "refusal_ratio", warning = 0.2, min_events = 20, span_secs = 300 }'


def labels(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, "utf-8")
    return path


def test_labels(tmp_path: Path) -> None:
    path = labels(
        tmp_path,
        HEADER
        + "late,2026-09-07T16:00:00+02:00,2026-09-07T15:00:00Z,model=gpt-x;attributes.plan=pro,latency,warning,,\n"
        + ',1788739200,1788739200500,"provider=openai,model=gpt-x",,,model,40\n'
        + "fleet,2026-09-07,2026-09-07T01:00,all,,,,\n",
    )
    first, fleet, late = read_labels(path)
    assert (first.start_ms, first.end_ms) == (1_788_739_200_000, 1_788_739_200_500)
    assert first.id == "2"
    assert first.segment == {"provider": "openai", "model_requested": "gpt-x"}
    assert (first.origin, first.target_events) == ("model", 40)
    assert fleet.segment == {}
    assert fleet.start_ms == 1_788_739_200_000
    assert late.segment == {"model_requested": "gpt-x", "attributes.plan": "pro"}
    assert late.start_ms == 1_788_789_600_000
    assert (late.type, late.severity) == ("latency", "warning")


def test_the_truth_of_a_simulation(tmp_path: Path) -> None:
    events, truth = tmp_path / "events.jsonl", tmp_path / "truth.json"
    options = ["--scenario", "S10", "--strength", "medium", "--days", "0.01", "--rate-per-day", "1000"]
    made = CliRunner().invoke(main, ["simulate", *options, "--output", str(events), "--truth", str(truth)])
    assert made.exit_code == 0, made.output
    (label,) = read_labels(truth)
    (incident,) = json.loads(truth.read_text("utf-8"))["incidents"]
    assert (label.id, label.type) == (incident["id"], "context_growth")
    assert label.segment == {"feature": "search", "prompt_name": "search-answer"}
    assert label.counts_from_ms == label.start_ms + incident["ramp_secs"] * 500
    assert label.end_ms > label.start_ms
    truth.write_text('{"version": 2, "incidents": []}', "utf-8")
    with pytest.raises(BadLabels, match=r"truth.json: got version: got 2; expected 1"):
        read_labels(truth)
    truth.write_text('{"incidents": 3}', "utf-8")
    with pytest.raises(BadLabels, match="or what `tidewatch simulate --truth` writes"):
        read_labels(truth)


def test_every_wrong_line_is_named(tmp_path: Path) -> None:
    rows = (
        "a,yesterday,2026-09-08,,,,,\n"
        "b,2026-09-08,2026-09-07,,,,,\n"
        "c,1,2,planet=mars,,,,\n"
        "d,1,2,,slowness,,,\n"
        "e,1,2,,,urgent,,\n"
        "f,1,2,,,,aliens,\n"
        "g,1,2,,,,,many\n"
        "h,1,nan,,,,,\n"
        "i,1,2,,,,,\n"
    )
    with pytest.raises(BadLabels) as caught:
        read_labels(labels(tmp_path, HEADER + rows))
    found = [problem.partition("labels.csv:")[2] for problem in caught.value.problems]
    assert [line.split(": ")[:2] for line in found] == [
        ["2", "start"], ["3", "end"], ["4", "segment"], ["5", "type"], ["6", "severity"], ["7", "origin"],
        ["8", "target_events"], ["9", "end"],
    ]  # fmt: skip
    assert all("got" in line and "expected" in line for line in found)


@pytest.mark.parametrize("text", ["", "start,segment\n", "start,end,colour\n1,2,red\n", "start,end\n"])
def test_unusable_label_files(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadLabels):
        read_labels(labels(tmp_path, text))
    with pytest.raises(BadLabels, match="expected a readable CSV"):
        read_labels(tmp_path / "none.csv")


def test_rules_in_the_configurations_own_form(tmp_path: Path) -> None:
    [inline] = read_rules(REFUSALS, Config())
    assert (inline.name, inline.warning) == ("refusals", 0.2)
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rules]]\nname = "a"\nsignal = "idk_ratio"\nwarning = 0.1\nsegments = [{ provider = "*", model = "*" }]\n'
        '[[rules]]\nname = "b"\nsignal = "idk_ratio"\ncritical = 0.1\n'
    )
    assert [rule.name for rule in read_rules(str(path), Config())] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nowhere.toml", "inline table"),
        ("{ name = }", "valid TOML"),
        ('{ name = "x", signal = "happiness", warning = 1 }', "unknown signal"),
        ('{ name = "x", signal = "idk_ratio" }', "without a bound"),
        ('{ name = "x", signal = "idk_ratio", warning = 0.1, segments = [{ service = "*" }] }', "watched"),
    ],
)
def test_unusable_rules(text: str, says: str) -> None:
    with pytest.raises(BadRule, match=says):
        read_rules(text, Config())


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six hours in windows of a minute, with a refusal surge in one model in the fifth."""
    folder = tmp_path_factory.mktemp("history")
    (folder / "tidewatch.toml").write_text("[windows]\nbase_secs = 60\n")
    (folder / "labels.csv").write_text(
        "id,start,end,segment,type\n"
        "surge,2026-09-07T04:00:00Z,2026-09-07T06:00:00Z,model=acme-chat-2;provider=acme-ai,\n"
        "nothing,2026-09-07T02:00:00Z,2026-09-07T02:30:00Z,topic=health,\n"
    )
    run(
        folder,
        *(
            "simulate",
            "--scenario",
            "S04",
            "--strength",
            "severe",
            "--days",
            "0.25",
            "--rate-per-day",
            "50000",
        ),
        *("--onset-days", "0.1666667", "--output", str(folder / "events.jsonl.zst")),
    )
    return folder


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    found = CliRunner().invoke(main, list(arguments))
    assert found.exit_code == code, found.output
    return found.output


def test_a_history_beside_its_labels(history: Path) -> None:
    output = history / "out.json"
    said = run(
        history,
        *("backtest", "--events", str(history / "events.jsonl.zst"), "--labels", str(history / "labels.csv")),
        *("--config", str(history / "tidewatch.toml"), "--rule", REFUSALS, "--json", str(output)),
    )
    assert "rule refusals would have fired 1 time, 1 labelled real (1 of 2 labels)" in said
    assert "the configuration has no rule of this name" in said
    found = json.loads(output.read_bytes())["history"]
    assert found["refused"] == 0
    nothing, surge = found["verdicts"]
    assert (nothing["label"]["id"], surge["label"]["id"]) == ("nothing", "surge")
    assert surge["detected"]
    assert 0 < surge["delay_secs"] < 600
    assert 0 < surge["delay_events"] < 400


def test_bad_usage(history: Path) -> None:
    events = str(history / "events.jsonl.zst")
    assert "--events" in run(history, "backtest", "--labels", "x.csv", code=2)
    assert "--only" in run(history, "backtest", "--only", "S99", code=2)
    assert "--rule" in run(history, "backtest", "--events", events, "--rule", "none.toml", code=2)
    assert "CSV" in run(history, "backtest", "--events", events, "--labels", "none.csv", code=2)
    assert "none.jsonl" in run(history, "backtest", "--events", "none.jsonl", code=1)
