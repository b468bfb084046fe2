"""Real data kept beside the repository: the folder, and the answers of two models before and after an update."""

from __future__ import annotations

import csv
import os
import re
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

DATA: Final = Path(
    os.environ.get("TIDEWATCH_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
NAB: Final = DATA / "nab"
PRIME: Final = DATA / "llmdrift" / "PRIME_FULL_EVAL.csv"
AZURE: Final = DATA / "azure" / "AzureLLMInferenceTrace_conv.csv"
MOONCAKE: Final = DATA / "mooncake" / "conversation_trace.jsonl"

UPDATES: Final = {
    "gpt-4": ("openaichat/gpt-4-0314", "openaichat/gpt-4-0613"),
    "gpt-3.5": ("openaichat/gpt-3.5-turbo-0301", "openaichat/gpt-3.5-turbo-0613"),
}


class Answer(NamedTuple):
    """``bad``: 1 if the last yes or no of the answer is not the reference."""

    bad: float
    tokens: float
    latency_secs: float


@cache
def answers(model: str) -> tuple[list[Answer], list[Answer]]:
    """Answers in March and in June 2023 to the same 1,000 questions (LLMDrift, is this number prime?)."""
    found: dict[str, list[Answer]] = {version: [] for version in UPDATES[model]}
    with PRIME.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["model"] in found:
                said = re.findall(r"\b(yes|no)\b", row["answer"].lower())
                bad = not said or said[-1] != row["ref_answer"].lower()
                found[row["model"]].append(
                    Answer(float(bad), float(row["answer_token"]), float(row["latency"]))
                )
    march, june = found.values()
    return march, june
