"""The catalogue: every incident does what it says, only there and only then; twins and traps; the command."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.decode import decode_change, decode_feedback, decode_interaction
from streams.files import read_events
from streams.simulate.catalogue import STRENGTHS, TRAPS, Plan, Span, plan
from streams.simulate.disorder import disordered
from streams.simulate.incidents import DAY_MS, INCIDENTS
from streams.simulate.traffic import TrafficSpec, generate
from streams.simulate.twins import TWINS

START_MS = 1_788_739_200_000  # a Monday, 00:00 UTC
SECS = 400
RATE_PER_SEC = 15.0
SPAN = Span(START_MS, START_MS + SECS * 1000, RATE_PER_SEC * 86_400, seed=3)
FLAT: dict[str, Any] = {"peak_trough": 1.0, "weekend": 1.0, "burst_cv": 0.0}
Rows = list[dict[str, Any]]


def records(made: Plan) -> tuple[Rows, Rows]:
    """(interactions, feedback) of the span with a plan in it."""
    spec = TrafficSpec(START_MS, SECS, RATE_PER_SEC, seed=SPAN.seed, effects=made.effects, **FLAT)
    found: dict[str, Rows] = {"interaction": [], "feedback": []}
    for batch in generate(spec):
        for event in batch:
            found[event.kind].append(orjson.loads(event.value))
    return found["interaction"], found["feedback"]


@pytest.fixture(scope="module")
def quiet() -> tuple[Rows, Rows]:
    return records(Plan())


def at_full_height(name: str, strength: str = "severe") -> Plan:
    """An incident that has long reached its height."""
    ramp_ms = INCIDENTS[name].ramps_ms[STRENGTHS.index(strength)]
    return plan(name, strength, START_MS - ramp_ms - DAY_MS // 100, SPAN)


def matches(row: dict[str, Any], segment: dict[str, str]) -> bool:
    flat = row | {f"attributes.{name}": value for name, value in row.get("attributes", {}).items()}
    return all(flat.get(name) == value for name, value in segment.items())


def mean(rows: Rows, name: str) -> float:
    values = [row[name] for row in rows if row.get(name) is not None]
    return float(np.mean(values)) if values else float("nan")


def share(rows: Rows, name: str, value: object) -> float:
    known = [row.get(name) for row in rows]
    return known.count(value) / max(len(known), 1)


def feedback_share(rows: Rows, name: str, label: str) -> float:
    labels = [row.get("label") for row in rows if row["name"] == name]
    return labels.count(label) / max(len(labels), 1)


def inside(rows: Rows, name: str) -> Rows:
    return [row for row in rows if matches(row, dict(INCIDENTS[name].segment))]


EFFECTS: dict[str, Any] = {
    "S01": lambda i, f, q, qf: share(i, "topic", "new-audience") == pytest.approx(0.40, abs=0.05),
    "S02": lambda i, f, q, qf: mean(i, "tokens_out") < 0.1 * mean(q, "tokens_out"),
    "S03": lambda i, f, q, qf: feedback_share(f, "answer_quality", "fail") > 0.2,
    "S04": lambda i, f, q, qf: mean(i, "refusal") == pytest.approx(0.77, abs=0.05),
    "S05": lambda i, f, q, qf: mean(i, "idk") == pytest.approx(0.20, abs=0.06),
    "S06": lambda i, f, q, qf: mean(i, "retrieved_chunks") == 0 and np.isnan(mean(i, "retrieval_score")),
    "S07": lambda i, f, q, qf: mean(i, "tokens_in") < 0.8 * mean(q, "tokens_in"),
    "S08": lambda i, f, q, qf: mean(i, "duration_ms") > 2.2 * mean(q, "duration_ms"),
    "S09": lambda i, f, q, qf: mean(i, "duration_ms") > 1.5 * mean(q, "duration_ms"),
    "S10": lambda i, f, q, qf: mean(i, "tokens_in") > 2 * mean(q, "tokens_in"),
    "S11": lambda i, f, q, qf: mean(i, "cost") == pytest.approx(1.5 * mean(q, "cost"), rel=0.01),
    "S12": lambda i, f, q, qf: len(i) > 12 * len(q),
    "S13": lambda i, f, q, qf: mean(i, "steps") > 2 * mean(q, "steps"),
    "S14": lambda i, f, q, qf: mean(i, "cost") == pytest.approx(10 * mean(q, "cost"), rel=0.01),
    "S15": lambda i, f, q, qf: share(i, "status", "error") == pytest.approx(0.95, abs=0.03),
    "S16": lambda i, f, q, qf: len(i) == 0 < len(q),
    "S17": lambda i, f, q, qf: mean(i, "safety_flag") > 0.003,
    "S18": lambda i, f, q, qf: feedback_share(f, "groundedness", "unsupported") > 0.1,
    "S19": lambda i, f, q, qf: mean(i, "schema_valid") == pytest.approx(0.40, abs=0.08),
    "S20": lambda i, f, q, qf: mean(i, "cache_hit") == pytest.approx(0.03, abs=0.03),
    "S21": lambda i, f, q, qf: feedback_share(f, "user_feedback", "thumbs_down") > 0.17,
    "S22": lambda i, f, q, qf: mean([r for r in f if r["name"] == "answer_quality"], "score") < 0.8,
}


@pytest.mark.parametrize("name", INCIDENTS)
def test_an_incident_shows_in_its_segment(name: str, quiet: tuple[Rows, Rows]) -> None:
    interactions, feedback = records(at_full_height(name))
    found = [inside(rows, name) for rows in (interactions, feedback, *quiet)]
    assert EFFECTS[name](*found), [len(rows) for rows in found]


@pytest.mark.parametrize("name", ["S02", "S07", "S12", "S16"])
def test_rows_outside_the_segment_are_untouched(name: str, quiet: tuple[Rows, Rows]) -> None:
    touched = {row["event_id"]: row for row in records(at_full_height(name))[0]}
    for row in quiet[0]:
        if not matches(row, dict(INCIDENTS[name].segment)):
            assert touched[row["event_id"]] == row


def test_what_happens_to_a_newcomer_happens_to_the_newcomer() -> None:
    """T6: its rows are other tenants' rows under a new name, so the effect must look at the new one."""
    rows, _ = records(plan("T6", "severe", START_MS, SPAN))
    new = [row for row in rows if row["tenant"] == "tenant-new"]
    assert 0.03 < len(new) / len(rows) < 0.07
    assert mean(new, "refusal") == pytest.approx(0.77, abs=0.1)
    assert mean([row for row in rows if row["tenant"] != "tenant-new"], "refusal") < 0.04


def test_every_record_of_every_scenario_is_accepted_by_the_decoder() -> None:
    decoders = {"interaction": decode_interaction, "feedback": decode_feedback, "change": decode_change}
    short = Span(START_MS, START_MS + 40_000, 15 * 86_400.0, 1)
    for name in (*INCIDENTS, *TRAPS):
        made = plan(name, "medium", START_MS, short)
        spec = TrafficSpec(START_MS, 40, 15.0, seed=1, effects=made.effects, **FLAT)
        for event in [e for batch in generate(spec) for e in batch] + list(made.changes):
            decoders[event.kind](event.value, now_ms=event.occurred_at_ms)


def test_truth_has_the_durations_and_targets_of_the_catalogue() -> None:
    span = Span(START_MS, START_MS + 60 * DAY_MS, 100_000.0, 5)
    for name, row in INCIDENTS.items():
        for k, strength in enumerate(STRENGTHS):
            truth = plan(name, strength, START_MS + DAY_MS, span).truths[0]
            assert (truth.target_events, truth.severity) == (row.targets[k], row.severities[k])
            assert truth.end_ms > truth.onset_ms + truth.ramp_ms
        assert plan(name, "mild", START_MS, span, benign=True).truths[0].benign
    assert set(TWINS) == set(INCIDENTS)


def test_arrivals_out_of_order_keep_every_record_and_double_some() -> None:
    spec = TrafficSpec(START_MS, 120, 30.0, seed=2)
    events = [event for batch in generate(spec) for event in batch]
    arrived = list(disordered(events, late_share=0.05, duplicate_share=0.02, seed=2))
    extra = Counter(event.value for event in arrived) - Counter(event.value for event in events)
    assert 0 < extra.total() < 0.05 * len(events)
    assert {event.value for event in arrived} == {event.value for event in events}
    assert [e.occurred_at_ms for e in arrived] != sorted(e.occurred_at_ms for e in arrived)
    assert list(disordered(events, 0.0, 0.0, 2)) == events


def test_the_command_writes_events_and_truth_and_repeats_itself(tmp_path: Path) -> None:
    def run(folder: Path) -> tuple[bytes, dict[str, Any]]:
        folder.mkdir()
        events, truth = folder / "events.jsonl.gz", folder / "truth.json"
        options = ("--scenario", "S19", "--strength", "severe", "--seed", "7", "--days", "0.05")
        result = CliRunner().invoke(
            main, ["simulate", *options, "--output", str(events), "--truth", str(truth)]
        )
        assert result.exit_code == 0, result.output
        return events.read_bytes(), orjson.loads(truth.read_bytes())

    first, truth = run(tmp_path / "a")
    assert run(tmp_path / "b") == (first, truth)
    (label,) = truth["incidents"]
    assert label["scenario"] == "S19"
    assert label["segment"] == {"prompt_name": "extract-json"}
    kinds = Counter(record.stream for record in read_events([tmp_path / "a" / "events.jsonl.gz"]))
    assert kinds["interaction"] > 1000
    assert kinds["feedback"] > 50
    assert kinds["change"] == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scenario", "S02"], "no --output"),
        (["--scenario", "T1", "--benign", "--output", "x.jsonl"], "no benign twin"),
        (["--start", "soon", "--output", "x.jsonl"], "--start"),
        (["--scenario", "S02", "--onset-days", "3", "--output", "x.jsonl"], "--onset-days"),
    ],
)
def test_wrong_options_are_explained(options: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["simulate", *options])
    assert result.exit_code == 2
    assert said in result.output


def test_the_catalogue_lists_everything() -> None:
    listed = orjson.loads(CliRunner().invoke(main, ["simulate", "--list", "--json"]).output)
    assert [row["name"] for row in listed["incidents"]] == list(INCIDENTS)
    assert all(
        name in CliRunner().invoke(main, ["simulate", "--list"]).output for name in (*INCIDENTS, *TRAPS)
    )
