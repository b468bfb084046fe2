"""Benign twins: what looks like an incident of the catalogue and must not page anyone."""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.simulate.incidents import ACME, DAY_MS, EU, HOUR_MS, TOPIC, Does, Notice

MINUTE_MS: Final = 60_000


class Twin(NamedTuple):
    """The twin of one incident: what happens, for how long (``lasts_ms``: of one effect), and its notice."""

    title: str
    does: list[Does]
    duration_ms: int = 12 * HOUR_MS
    notice: Notice | None = None
    weekly: bool = False
    """Happened at the same time of every earlier week too."""


TWINS: Final[dict[str, Twin]] = {
    "S01": Twin(
        "Topic mix of a weekend, as in the weeks before",
        [{"segment": EU, "labels": {"topic": {"travel": 0.3}}}], 2 * DAY_MS, weekly=True,
    ),
    "S02": Twin(
        "Planned migration, announced", [{"segment": ACME, "factors": {"tokens_out": 0.7}}],
        notice=Notice("model", "acme-chat-2 moves to its November release", {"model": "acme-chat-2"}),
    ),
    "S03": Twin("Three times the traffic of one topic, same quality", [{"segment": TOPIC | ACME, "volume": 3.0}]),
    "S04": Twin(
        "A red team's tenant is refused", [{"segment": {"tenant": "tenant-20"}, "ratios": {"refusal": 0.8}}]
    ),
    "S05": Twin(
        "Product launch: unknown answers until the planned re-index",
        [{"segment": {"topic": "billing"}, "ratios": {"idk": 0.10}}], HOUR_MS,
        Notice("index", "re-index after the launch", {"topic": "billing"}),
    ),
    "S06": Twin(
        "Index switch, two minutes of lower scores", [{"segment": EU, "shifts": {"retrieval_score": -0.1}}],
        2 * MINUTE_MS, Notice("index", "blue/green switch of the index", {"region": "eu-west-1"}),
    ),
    "S07": Twin(
        "A documented new attribute value",
        [{"segment": {"attributes.source": "feed-b"}, "labels": {"attributes.doc_locale": {"pt": 0.05}}}],
        notice=Notice("deploy", "feed-b adds locale pt", {"attributes.source": "feed-b"}),
    ),
    "S08": Twin(
        "Long prompts are slower",
        [{"segment": {"provider": "acme-ai", "region": "us-east-1"}, "factors": {"tokens_in": 1.6}}],
    ),
    "S09": Twin(
        "A batch job runs slowly",
        [
            {
                "segment": {"tenant": "tenant-07"}, "labels": {"priority": {"batch": 1.0}},
                "factors": {"duration_ms": 8.0},
            }
        ],
        6 * HOUR_MS,
    ),
    "S10": Twin(
        "One tenant uploads longer documents for a day",
        [{"segment": {"tenant": "tenant-03"}, "factors": {"tokens_in": 2.0}}], DAY_MS,
    ),
    "S11": Twin("End-of-month peak at unchanged cost per request", [{"volume": 1.5}], 2 * DAY_MS),
    "S12": Twin(
        "Onboarding with a declared quota", [{"segment": {"tenant": "tenant-05"}, "volume": 5.0}],
        notice=Notice("experiment", "tenant-05 onboards, quota 20,000 a day", {"tenant": "tenant-05"}),
    ),
    "S13": Twin(
        "A long research task with distinct tool calls",
        [{"segment": {"tenant": "tenant-04", "feature": "agent"}, "factors": {"steps": 2.5}}], 2 * HOUR_MS,
    ),
    "S14": Twin(
        "Canary of 5 % on the premium model, announced",
        [{"segment": ACME, "labels": {"model_requested": {"northstar-pro": 0.05}}}],
        notice=Notice("experiment", "canary: 5 % on northstar-pro", {"model": "acme-chat-2"}),
    ),
    "S15": Twin(
        "One client sends malformed requests",
        [
            {
                "segment": {"tenant": "tenant-09"}, "ratios": {"error": 0.9},
                "labels": {"error_type": {"invalid_request": 1.0}},
            }
        ],
        6 * HOUR_MS,
    ),
    "S16": Twin(
        "Announced maintenance of one feature", [{"segment": {"feature": "search"}, "volume": 0.0}], HOUR_MS // 2,
        Notice("deploy", "search is down for maintenance for 30 minutes", {"feature": "search"}),
    ),
    "S17": Twin(
        "A new safety classifier flags more everywhere",
        [{"ratios": {"safety_flag": 0.001}, "labels": {"attributes.safety_model_version": {"guard-5": 1.0}}}],
        notice=Notice("model", "safety classifier guard-5"),
    ),
    "S18": Twin(
        "Harder questions: judged worse, claims still supported",
        [{"segment": {"topic": "scheduling"}, "ratios": {"judge_fail": 0.2}}],
    ),
    "S19": Twin(
        "Stricter schema, equal again after ten minutes",
        [
            {
                "segment": {"prompt_name": "extract-json"}, "ratios": {"schema_valid": 0.95},
                "lasts_ms": 10 * MINUTE_MS,
            },
            {"segment": {"prompt_name": "extract-json"}, "labels": {"prompt_version": {"v20": 1.0}}},
        ],
        12 * HOUR_MS, Notice("prompt", "extract-json v20, stricter schema", {"prompt_name": "extract-json"}),
    ),
    "S20": Twin(
        "Cache warm-up after a restart", [{"segment": {"feature": "chat"}, "ratios": {"cache_hit": 0.10}}],
        10 * MINUTE_MS, Notice("deploy", "restart of the chat service", {"feature": "chat"}),
    ),
    "S21": Twin("Twice as many votes, same share down", [{"ratios": {"feedback": 0.10}}]),
    "S22": Twin(
        "Judge re-calibrated, announced",
        [{"shifts": {"judge_score": -0.05}, "labels": {"evaluator_version": {"2026-11": 1.0}}}],
        notice=Notice("judge", "judge-llm 2026-11, baseline reset"),
    ),
}  # fmt: skip
