"""The one table of signals: what Tidewatch watches, and how each is read from the records.

AGGREGATE accumulates *measures* (exact, mergeable: counts, fixed-point sums, log-bucket histograms, category
counts); a *signal* is a statistic of one measure, or of two. Adding a signal is one row here.
"""

from __future__ import annotations

from typing import Final

from detectors.records import Kind, Signal, Worse
from detectors.sketches.layout import Category, Flag, Layout, Log, Reading, Value
from streams.users import COST_BY_USER

FLAGS: Final = (
    Flag("error"),
    Flag("refusal"),
    Flag("idk"),
    Flag("out_of_scope"),
    Flag("schema_valid", bad=False),
    Flag("cache_hit", bad=False),
    Flag("safety_flag"),
    Flag("safety_high"),
    Flag("retried"),
    Flag("success", bad=False),
    Flag("abandoned"),
    Flag("escalated"),
    Flag("thumbs_down", stream="feedback"),
    Flag("judge_fail", stream="feedback"),
    Flag("unsupported_claim", stream="feedback"),
    Flag("user_corrected", stream="feedback"),
)

VALUES: Final = (
    Value("duration_ms", 1e-3, 86_400_000.0, histogram=True),
    Value("ttft_ms", 1e-3, 86_400_000.0, histogram=True),
    Value("tokens_in", 1.0, 1e8),
    Value("tokens_out", 1.0, 1e8),
    Value("cost_usd", 1e-8, 1_000.0, histogram=True),
    Value("retrieval_score", 1e-6, 10_000.0),
    Value("retrieved_chunks", 1.0, 1e6),
    Value("steps", 1.0, 1e6, histogram=True),
    Value("retries", 1.0, 1e6),
    Value("tool_calls", 1.0, 1e3),
    Value("tool_errors", 1.0, 1e3),
    Value("judge_score", 1e-6, 1.0, stream="feedback"),
)

LOGS: Final = (
    Log("duration_ms"),
    Log("ttft_ms"),
    Log("tpot_ms"),
    Log("tokens_in"),
    Log("tokens_out"),
    Log("cost_usd"),
    Log("cost_per_1k_usd"),
    Log("steps"),
    Log("index_age_days"),
)

CATEGORIES: Final = (
    Category("finish_reason"),
    Category("model_served"),
    Category("model_requested"),
    Category("topic"),
    Category("prompt_version"),
    Category("tool"),
    Category("attributes"),
    Category("evaluator_version", stream="feedback"),
)


def _row(
    name: str, unit: str, kind: Kind, worse: Worse, source: str, reading: Reading
) -> tuple[Signal, Reading]:
    tail_of = reading.measure if reading.tail else None
    signal = Signal(name, unit, kind, worse, source, tail_of, reading.tail, reading.measure)
    return signal, reading


_TABLE: Final = (
    _row("request_rate", "1/s", "rate", "both", "number of interactions", Reading("events")),
    _row(
        "error_ratio", "ratio", "ratio", "up", "`status` is error, or `error_type` is set", Reading("error")
    ),
    _row("latency_p50_ms", "ms", "quantile", "up", "`duration_ms`", Reading("duration_ms", q=0.5)),
    _row("latency_p95_ms", "ms", "quantile", "up", "`duration_ms`", Reading("duration_ms", q=0.95)),
    _row("latency_p99_ms", "ms", "quantile", "none", "`duration_ms`", Reading("duration_ms", q=0.99)),
    _row(
        "latency_typical_ms",
        "ms",
        "mean",
        "up",
        "geometric mean of `duration_ms` above 0",
        Reading("duration_ms", typical=True),
    ),
    _row("ttft_p50_ms", "ms", "quantile", "up", "`ttft_ms`", Reading("ttft_ms", q=0.5)),
    _row("ttft_p95_ms", "ms", "quantile", "none", "`ttft_ms`", Reading("ttft_ms", q=0.95)),
    _row(
        "ttft_typical_ms",
        "ms",
        "mean",
        "up",
        "geometric mean of `ttft_ms` above 0",
        Reading("ttft_ms", typical=True),
    ),
    _row(
        "tpot_typical_ms",
        "ms",
        "mean",
        "up",
        "time per output token: geometric mean of (`duration_ms` - `ttft_ms`) / (`tokens_out` - 1)",
        Reading("tpot_ms", typical=True),
    ),
    _row(
        "latency_tail_ratio",
        "ratio",
        "ratio",
        "up",
        "share of `duration_ms` above the segment's usual p99",
        Reading("duration_ms", tail="p99"),
    ),
    _row(
        "latency_p999_ratio",
        "ratio",
        "ratio",
        "up",
        "share of `duration_ms` above the segment's usual p99.9",
        Reading("duration_ms", tail="p999"),
    ),
    _row("tokens_in_mean", "tokens", "mean", "both", "`tokens_in`", Reading("tokens_in")),
    _row(
        "tokens_in_typical",
        "tokens",
        "mean",
        "both",
        "geometric mean of `tokens_in` above 0",
        Reading("tokens_in", typical=True),
    ),
    _row("tokens_out_mean", "tokens", "mean", "both", "`tokens_out`", Reading("tokens_out")),
    _row(
        "tokens_out_typical",
        "tokens",
        "mean",
        "both",
        "geometric mean of `tokens_out` above 0",
        Reading("tokens_out", typical=True),
    ),
    _row("cost_per_request_usd", "USD", "mean", "up", "`cost` in USD", Reading("cost_usd")),
    _row(
        "cost_typical_usd",
        "USD",
        "mean",
        "up",
        "geometric mean of `cost` in USD above 0",
        Reading("cost_usd", typical=True),
    ),
    _row("cost_p50_usd", "USD", "quantile", "up", "`cost` in USD", Reading("cost_usd", q=0.5)),
    _row("cost_p95_usd", "USD", "quantile", "none", "`cost` in USD", Reading("cost_usd", q=0.95)),
    _row(
        "cost_max_usd", "USD", "quantile", "none", "largest `cost`, within 0.8 %", Reading("cost_usd", q=1.0)
    ),
    _row(
        "cost_per_1k_tokens_usd",
        "USD",
        "mean",
        "up",
        "`cost` over `tokens_in` + `tokens_out`, times 1,000",
        Reading("cost_usd", per=("tokens_in", "tokens_out"), scale=1000.0),
    ),
    _row(
        "cost_per_1k_typical_usd",
        "USD",
        "mean",
        "up",
        "geometric mean of the same of each interaction",
        Reading("cost_per_1k_usd", typical=True),
    ),
    _row(
        "cost_tail_ratio",
        "ratio",
        "ratio",
        "up",
        "share of `cost` in USD far above the segment's usual p99",
        Reading("cost_usd", tail="far"),
    ),
    _row("spend_usd", "USD", "rate", "up", "sum of `cost` over the span", Reading("cost_usd", span=True)),
    _row(
        "cost_per_success_usd",
        "USD",
        "mean",
        "up",
        "sum of `cost` over interactions whose `outcome` is a success",
        Reading("cost_usd", per=("success",)),
    ),
    _row(
        "cost_per_user_usd",
        "USD",
        "mean",
        "up",
        "sum of `cost` over the `user_id` (or `user_hash`) of ten minutes; the fleet and tenants",
        Reading("user_cost_usd", who="mean"),
    ),
    _row(
        "heavy_user_cost_share",
        "ratio",
        "mean",
        "up",
        "share of that `cost` that the heaviest hundredth of the users has, one at least",
        Reading("user_cost_usd", who="heaviest"),
    ),
    _row("users", "users", "mean", "none", "users of ten minutes", Reading("user_cost_usd", who="number")),
    _row("success_ratio", "ratio", "ratio", "down", "`outcome`: success, resolved …", Reading("success")),
    _row("abandoned_ratio", "ratio", "ratio", "up", "`outcome`: abandoned …", Reading("abandoned")),
    _row("escalated_ratio", "ratio", "ratio", "up", "`outcome`: escalated …", Reading("escalated")),
    _row("retry_ratio", "ratio", "ratio", "up", "`retries` above 0", Reading("retried")),
    _row("retries_mean", "retries", "mean", "none", "`retries`", Reading("retries")),
    _row("steps_mean", "steps", "mean", "up", "`steps`", Reading("steps")),
    _row(
        "steps_typical",
        "steps",
        "mean",
        "up",
        "geometric mean of `steps` above 0",
        Reading("steps", typical=True),
    ),
    _row(
        "steps_tail_ratio",
        "ratio",
        "ratio",
        "up",
        "share of `steps` far above the segment's usual p99",
        Reading("steps", tail="far"),
    ),
    _row("tool_calls_mean", "calls", "mean", "up", "length of `tool_calls`", Reading("tool_calls")),
    _row(
        "tool_error_ratio",
        "ratio",
        "ratio",
        "up",
        "`tool_calls` with `error_type`, of all tool calls",
        Reading("tool_errors", per=("tool_calls",), out_of=True),
    ),
    _row("refusal_ratio", "ratio", "ratio", "up", "`refusal`", Reading("refusal")),
    _row("idk_ratio", "ratio", "ratio", "up", "`idk`", Reading("idk")),
    _row("out_of_scope_ratio", "ratio", "ratio", "up", "`out_of_scope`", Reading("out_of_scope")),
    _row("schema_valid_ratio", "ratio", "ratio", "down", "`schema_valid`", Reading("schema_valid")),
    _row("cache_hit_ratio", "ratio", "ratio", "down", "`cache_hit`", Reading("cache_hit")),
    _row("safety_flag_ratio", "ratio", "ratio", "up", "`safety_flag`", Reading("safety_flag")),
    _row(
        "safety_high_ratio",
        "ratio",
        "ratio",
        "up",
        "attribute `safety_severity` is high or critical, of all interactions",
        Reading("safety_high", per_event=True),
    ),
    _row("retrieval_score_mean", "score", "mean", "down", "`retrieval_score`", Reading("retrieval_score")),
    _row(
        "retrieved_chunks_mean", "chunks", "mean", "down", "`retrieved_chunks`", Reading("retrieved_chunks")
    ),
    _row(
        "index_age_typical_days",
        "days",
        "mean",
        "up",
        "geometric mean of `occurred_at` minus `index_updated_at`",
        Reading("index_age_days", typical=True),
    ),
    _row("topic_mix", "share", "mix", "both", "`topic`", Reading("topic")),
    _row("model_requested_mix", "share", "mix", "both", "`model_requested`", Reading("model_requested")),
    _row("model_served_mix", "share", "mix", "both", "`model_served`", Reading("model_served")),
    _row("prompt_version_mix", "share", "mix", "both", "`prompt_version`", Reading("prompt_version")),
    _row("finish_reason_mix", "share", "mix", "both", "`finish_reason`", Reading("finish_reason")),
    _row("tool_mix", "share", "mix", "both", "`name` of `tool_calls`", Reading("tool")),
    _row(
        "attributes_mix",
        "share",
        "mix",
        "both",
        "`attributes` named in `segments.watched_attributes`, as `name=value`, or `name=` where missing",
        Reading("attributes"),
    ),
    _row(
        "evaluator_version_mix",
        "share",
        "mix",
        "both",
        "`llm.feedback`: `evaluator_version`",
        Reading("evaluator_version"),
    ),
    _row(
        "judge_score_mean",
        "score",
        "mean",
        "down",
        "`llm.feedback`: `score` of evaluations (any name but `user_feedback`)",
        Reading("judge_score"),
    ),
    _row(
        "judge_fail_ratio",
        "ratio",
        "ratio",
        "up",
        "`llm.feedback`: evaluations with `label` fail, of those with fail or pass",
        Reading("judge_fail"),
    ),
    _row(
        "unsupported_claim_ratio",
        "ratio",
        "ratio",
        "up",
        "`llm.feedback`: evaluations with `label` unsupported, of those with unsupported or supported",
        Reading("unsupported_claim"),
    ),
    _row(
        "thumbs_down_ratio",
        "ratio",
        "ratio",
        "up",
        "`llm.feedback` named `user_feedback`: share of votes that are down",
        Reading("thumbs_down"),
    ),
    _row(
        "user_corrected_ratio",
        "ratio",
        "ratio",
        "up",
        "`llm.feedback` named `user_correction` with `label` corrected, of all interactions",
        Reading("user_corrected", per_event=True),
    ),
)

SIGNALS: Final[dict[str, Signal]] = {signal.name: signal for signal, _ in _TABLE}
READINGS: Final[dict[str, Reading]] = {signal.name: reading for signal, reading in _TABLE}
LAYOUT: Final = Layout(FLAGS, VALUES, CATEGORIES, READINGS, LOGS, (COST_BY_USER,))

_FEEDBACK: Final = {
    measure.name for measure in (*FLAGS, *VALUES, *LOGS, *CATEGORIES) if measure.stream == "feedback"
}
RATED: Final = tuple(name for name in LAYOUT.numeric_signals if READINGS[name].measure in _FEEDBACK)
"""Signals that judges and users give, of some of the interactions only."""
