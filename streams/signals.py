"""The one table of signals: what Tidewatch watches, and how each is read from the records.

AGGREGATE accumulates *measures* (exact, mergeable: counts, fixed-point sums, log-bucket histograms, category
counts); a *signal* is a statistic of one measure, or of two. Adding a signal is one row here.
"""

from __future__ import annotations

from typing import Final

from detectors.records import Kind, Signal, Worse
from detectors.sketches.layout import Category, Flag, Layout, Reading, Value

FLAGS: Final = (
    Flag("error"),
    Flag("refusal"),
    Flag("idk"),
    Flag("out_of_scope"),
    Flag("schema_valid", bad=False),
    Flag("cache_hit", bad=False),
    Flag("safety_flag"),
    Flag("thumbs_down", stream="feedback"),
)

VALUES: Final = (
    Value("duration_ms", 1e-3, 86_400_000.0, histogram=True),
    Value("ttft_ms", 1e-3, 86_400_000.0, histogram=True),
    Value("tokens_in", 1.0, 1e8),
    Value("tokens_out", 1.0, 1e8),
    Value("cost_usd", 1e-8, 1_000.0),
    Value("retrieval_score", 1e-6, 10_000.0),
    Value("retrieved_chunks", 1.0, 1e6),
    Value("judge_score", 1e-6, 1.0, stream="feedback"),
)

CATEGORIES: Final = (Category("finish_reason"), Category("model_served"))


def _row(
    name: str, unit: str, kind: Kind, worse: Worse, source: str, reading: Reading
) -> tuple[Signal, Reading]:
    return Signal(name, unit, kind, worse, source), reading


_TABLE: Final = (
    _row("request_rate", "1/s", "rate", "both", "number of interactions", Reading("events")),
    _row(
        "error_ratio", "ratio", "ratio", "up", "`status` is error, or `error_type` is set", Reading("error")
    ),
    _row("latency_p50_ms", "ms", "quantile", "up", "`duration_ms`", Reading("duration_ms", q=0.5)),
    _row("latency_p95_ms", "ms", "quantile", "up", "`duration_ms`", Reading("duration_ms", q=0.95)),
    _row("latency_p99_ms", "ms", "quantile", "up", "`duration_ms`", Reading("duration_ms", q=0.99)),
    _row("ttft_p50_ms", "ms", "quantile", "up", "`ttft_ms`", Reading("ttft_ms", q=0.5)),
    _row("ttft_p95_ms", "ms", "quantile", "up", "`ttft_ms`", Reading("ttft_ms", q=0.95)),
    _row("tokens_in_mean", "tokens", "mean", "both", "`tokens_in`", Reading("tokens_in")),
    _row("tokens_out_mean", "tokens", "mean", "both", "`tokens_out`", Reading("tokens_out")),
    _row("cost_per_request_usd", "USD", "mean", "up", "`cost` in USD", Reading("cost_usd")),
    _row(
        "cost_per_1k_tokens_usd",
        "USD",
        "mean",
        "up",
        "`cost` over `tokens_in` + `tokens_out`, times 1,000",
        Reading("cost_usd", per=("tokens_in", "tokens_out"), scale=1000.0),
    ),
    _row("spend_usd", "USD", "rate", "up", "sum of `cost` over the span", Reading("cost_usd", span=True)),
    _row("refusal_ratio", "ratio", "ratio", "up", "`refusal`", Reading("refusal")),
    _row("idk_ratio", "ratio", "ratio", "up", "`idk`", Reading("idk")),
    _row("out_of_scope_ratio", "ratio", "ratio", "up", "`out_of_scope`", Reading("out_of_scope")),
    _row("schema_valid_ratio", "ratio", "ratio", "down", "`schema_valid`", Reading("schema_valid")),
    _row("cache_hit_ratio", "ratio", "ratio", "down", "`cache_hit`", Reading("cache_hit")),
    _row("safety_flag_ratio", "ratio", "ratio", "up", "`safety_flag`", Reading("safety_flag")),
    _row("retrieval_score_mean", "score", "mean", "down", "`retrieval_score`", Reading("retrieval_score")),
    _row(
        "retrieved_chunks_mean", "chunks", "mean", "down", "`retrieved_chunks`", Reading("retrieved_chunks")
    ),
    _row("finish_reason_mix", "share", "mix", "both", "`finish_reason`", Reading("finish_reason")),
    _row("model_served_mix", "share", "mix", "both", "`model_served`", Reading("model_served")),
    _row(
        "judge_score_mean",
        "score",
        "mean",
        "down",
        "`llm.feedback`: `score` of evaluations (any name but `user_feedback`)",
        Reading("judge_score"),
    ),
    _row(
        "thumbs_down_ratio",
        "ratio",
        "ratio",
        "up",
        "`llm.feedback` named `user_feedback`: share of votes that are down",
        Reading("thumbs_down"),
    ),
)

SIGNALS: Final[dict[str, Signal]] = {signal.name: signal for signal, _ in _TABLE}
READINGS: Final[dict[str, Reading]] = {signal.name: reading for signal, reading in _TABLE}
LAYOUT: Final = Layout(FLAGS, VALUES, CATEGORIES, READINGS)
