"""An hour of real production traffic each: bursty, heavy-tailed, and nothing to page anyone for."""

from __future__ import annotations

import csv
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from builders import BASE_MS, window

from detectors.incidents.triage import Triage, TriageParams
from detectors.monitor import Detect, DetectParams
from detectors.records import Incident, Severity
from detectors.rules.defaults import DEFAULT_RULES
from streams.signals import SIGNALS

DATA = Path(os.environ.get("TIDEWATCH_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
AZURE = DATA / "azure" / "AzureLLMInferenceTrace_conv.csv"
MOONCAKE = DATA / "mooncake" / "conversation_trace.jsonl"
EPOCH_MS = 1_700_000_000_000


def azure() -> np.ndarray:
    """Columns: arrival (epoch ms), tokens in, tokens out."""
    with AZURE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    times = [
        datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC).timestamp() * 1e3 for row in rows
    ]
    return np.array(
        [times, [int(r["ContextTokens"]) for r in rows], [int(r["GeneratedTokens"]) for r in rows]]
    ).T


def mooncake() -> np.ndarray:
    with MOONCAKE.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return np.array([[EPOCH_MS + r["timestamp"], r["input_length"], r["output_length"]] for r in rows])


@pytest.mark.parametrize(("read", "file"), [(azure, AZURE), (mooncake, MOONCAKE)], ids=["azure", "mooncake"])
def test_real_traffic_pages_nobody(read: object, file: Path) -> None:
    if not file.exists():
        pytest.skip(f"trace not found at {file}")
    assert callable(read)
    trace = read()
    number = trace[:, 0].astype(np.int64) // BASE_MS
    detect, triage = Detect(DetectParams(), DEFAULT_RULES, SIGNALS, BASE_MS), Triage(TriageParams(), "test")
    incidents: dict[str, Incident] = {}
    judged = 0
    for at in range(int(number.min()), int(number.max()) + 1):
        rows = trace[number == at]
        records = {"tokens_in": rows[:, 1], "tokens_out": rows[:, 2]}
        block = window(at * BASE_MS, records, {"model": ["m"] * len(rows)})
        closing = detect.close(block)
        judged += int((~closing.learning).sum())
        step = triage.step(closing.evidence, block, SIGNALS, effects=detect.effects)
        detect.apply(step.verdicts)
        incidents |= {i.incident_id: i for i in step.incidents}
    assert judged > 1000
    assert all(i.severity < Severity.CRITICAL for i in incidents.values())
    assert sum(i.severity == Severity.WARNING for i in incidents.values()) <= 2
