"""The nine rules that run unless the configuration names others; all on the whole fleet."""

from __future__ import annotations

from typing import Final

from detectors.rules.absolute import Rule

DEFAULT_RULES: Final = (
    Rule(
        name="quality", signal="judge_score_mean", worse="down",
        warning=0.80, critical=0.70, span_secs=3600, min_events=30,
    ),
    Rule(
        name="latency", signal="latency_p95_ms",
        warning=3000.0, critical=5000.0, span_secs=300, min_events=100, forecast_hours=72,
    ),
    Rule(
        name="cost", signal="cost_per_request_usd",
        warning=0.015, critical=0.030, span_secs=900, min_events=100, forecast_hours=72,
    ),
    Rule(
        name="errors", signal="error_ratio",
        warning=0.02, critical=0.05, span_secs=300, min_events=100,
    ),
    Rule(
        name="thumbs-down", signal="thumbs_down_ratio",
        warning=0.15, critical=0.25, span_secs=3600, min_events=300,
    ),
    Rule(
        name="daily-spend", signal="spend_usd",
        warning=100.0, critical=200.0, span_secs=86_400, per_day=True, min_events=1, forecast_hours=72,
    ),
    Rule(
        name="quality-week", signal="judge_score_mean", worse="down", versus="week", relative=True,
        warning=0.05, min_events=500,
    ),
    Rule(
        name="thumbs-down-week", signal="thumbs_down_ratio", versus="week",
        warning=0.03, min_events=3000,
    ),
    Rule(
        name="spend-week", signal="spend_usd", versus="week", relative=True,
        warning=0.20, critical=0.50, min_events=1000,
    ),
)  # fmt: skip
"""Floors: 100 observations put 2 % errors two standard errors above 0.6 %; a p95 needs five values above it;
scores vary little, so 30 of them do; 300 votes put 15 % three standard errors above a usual 10 %. Two weeks of
3,000 votes each put three points four standard errors apart, two of 500 scores 5 % about as far. Sums need not be
sampled: the floor of spend keeps a fleet that only begins from being compared with nothing."""
