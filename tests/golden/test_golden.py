"""Golden timelines: minutes of traffic in, incidents and alerts out, through DETECT and TRIAGE.

A timeline is a YAML file beside this one. ``traffic`` says from which minute on what one segment's traffic is like
(a value stays until it is changed; ``topic`` and its like are shares of labels); ``incidents`` and ``alerts`` are
everything that must come out, with times as minute:second since the start. Traffic is drawn evenly rather than at
random (a Bernoulli event is every 1/p-th one, a log-normal value walks through its quantiles), so a file's outcome
can be understood with a pencil.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "detectors"))
from builders import BASE_MS, START_MS, window

from detectors.incidents.triage import Triage, TriageParams
from detectors.monitor import Detect, DetectParams
from detectors.records import Alert, Incident
from detectors.rules.defaults import DEFAULT_RULES
from streams.signals import SIGNALS

FILES = sorted(Path(__file__).parent.glob("*.yaml"))
FLAGS = ("error", "refusal", "idk", "schema_valid", "safety_flag")
SPREAD = {"duration_ms": 0.5, "tokens_out": 0.8, "cost_usd": 0.8}
"""Standard deviation of the logarithm; the given level is the median."""
VOTES = ("thumbs_down", "judge_score")
CATEGORIES = ("topic", "finish_reason", "model_served", "model_requested", "prompt_version")
_WINDOWS_PER_MINUTE = 60_000 // BASE_MS


class Traffic:
    """One model's traffic, evenly drawn."""

    def __init__(self, changes: dict[int, dict[str, Any]], salt: float) -> None:
        self._changes = changes
        self._now: dict[str, Any] = {"per_minute": 0.0, "error": 0.0}
        self._owed: dict[tuple[str, str], float] = {}
        self._salt = salt
        self._drawn = dict.fromkeys(("per_minute", "votes_per_minute", *FLAGS, *SPREAD, *VOTES), 0.0)

    def window(
        self, number: int
    ) -> tuple[dict[str, list[float]], dict[str, list[float]], dict[str, list[str]]]:
        """(interactions, votes) of one base window as columns of measures, and the labels of the interactions."""
        if number % _WINDOWS_PER_MINUTE == 0:
            self._now |= self._changes.get(number // _WINDOWS_PER_MINUTE, {})
        n = self._count("per_minute", 1.0 + 0.4 * np.sin(number * 1.7 + self._salt))
        n_records = n
        records = {name: self._flags(name, n) for name in FLAGS if name in self._now}
        for name, spread in SPREAD.items():
            if name in self._now:
                records[name] = [self._now[name] * float(np.exp(spread * z)) for z in self._normal(name, n)]
        votes: dict[str, list[float]] = {}
        n = self._count("votes_per_minute", 1.0)
        if "thumbs_down" in self._now:
            votes["thumbs_down"] = self._flags("thumbs_down", n)
        if "judge_score" in self._now:
            level = self._now["judge_score"]
            votes["judge_score"] = [
                min(max(level + 0.1 * z, 0.0), 1.0) for z in self._normal("judge_score", n)
            ]
        return (
            records,
            votes,
            {name: self._labels(name, n_records) for name in CATEGORIES if name in self._now},
        )

    def _count(self, name: str, factor: float) -> int:
        return int(self._step(name, self._now.get(name, 0.0) * factor / _WINDOWS_PER_MINUTE))

    def _flags(self, name: str, n: int) -> list[float]:
        return [float(self._step(name, self._now.get(name, 0.0))) for _ in range(n)]

    def _labels(self, name: str, n: int) -> list[str]:
        """Each record gets the label that is most behind its share."""
        found = []
        for _ in range(n):
            for label, share in self._now[name].items():
                self._owed[name, label] = self._owed.get((name, label), 0.0) + share
            label = max(self._now[name], key=lambda label: self._owed[name, label])
            self._owed[name, label] -= 1.0
            found.append(label)
        return found

    def _step(self, name: str, amount: float) -> int:
        before = self._drawn[name]
        self._drawn[name] = before + amount
        return int(before + amount + 1e-9) - int(before + 1e-9)

    def _normal(self, name: str, n: int) -> list[float]:
        golden = 0.6180339887498949
        found = []
        for _ in range(n):
            self._drawn[name] = (self._drawn[name] + golden) % 1.0
            found.append(NormalDist().inv_cdf(0.001 + 0.998 * self._drawn[name]))
        return found


def play(timeline: dict[str, Any]) -> tuple[list[str], list[str]]:
    """(incidents, alerts) as lines of text."""
    traffic = {model: Traffic(changes, k) for k, (model, changes) in enumerate(timeline["traffic"].items())}
    rules = DEFAULT_RULES if timeline["rules"] else ()
    detect = Detect(DetectParams(), rules, SIGNALS, BASE_MS)
    triage = Triage(TriageParams.model_validate(timeline.get("triage", {})), "golden")
    start_ms = START_MS + 60_000 * timeline.get("start_minute", 0)
    incidents: dict[str, Incident] = {}
    alerts: list[Alert] = []
    for number in range(timeline["minutes"] * _WINDOWS_PER_MINUTE):
        columns: dict[str, list[float]] = {}
        models: list[str] = []
        votes: dict[str, list[float]] = {}
        labels: dict[str, list[str]] = {}
        for model, source in traffic.items():
            records, given, named = source.window(number)
            models += [model] * len(records["error"])
            for name, values in records.items():
                columns.setdefault(name, []).extend(values)
            for name, values in given.items():
                votes.setdefault(name, []).extend(values)
            for name, more in named.items():
                labels.setdefault(name, []).extend(more)
        assert len({len(values) for values in columns.values()}) == 1, "every model has the same measures"
        block = window(
            start_ms + number * BASE_MS, columns if models else None, {"model": models}, votes, labels
        )
        step = triage.step(detect.close(block).evidence, block, SIGNALS, effects=detect.effects)
        detect.apply(step.verdicts)
        incidents |= {incident.incident_id: incident for incident in step.incidents}
        alerts += step.alerts
    return [describe(i, start_ms) for i in incidents.values()], [a.summary for a in alerts]


def describe(incident: Incident, start_ms: int) -> str:
    kind = incident.peak.evidence.detector if incident.family == "rule" else "statistical"
    end = "…" if incident.resolved_at_ms is None else clock(incident.resolved_at_ms - start_ms)
    return (
        f"{kind} {incident.signal} {incident.segment.label} {incident.severity.label}: "
        f"started {clock(incident.started_at_ms - start_ms)}, "
        f"detected {clock(incident.detected_at_ms - start_ms)}, resolved {end}"
    )


def clock(ms: int) -> str:
    sign, seconds = ("-" if ms < 0 else ""), abs(ms) // 1000
    return f"{sign}{seconds // 60}:{seconds % 60:02d}"


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_timeline(file: Path) -> None:
    timeline = yaml.safe_load(file.read_text(encoding="utf-8"))
    incidents, alerts = play(timeline)
    assert incidents == timeline["incidents"]
    assert alerts == timeline["alerts"]


def test_every_timeline_says_what_it_shows() -> None:
    assert len(FILES) >= 8
    for file in FILES:
        timeline = yaml.safe_load(file.read_text(encoding="utf-8"))
        assert set(timeline) <= {
            "shows",
            "minutes",
            "start_minute",
            "rules",
            "triage",
            "traffic",
            "incidents",
            "alerts",
        }
        assert len(timeline["shows"]) > 20
