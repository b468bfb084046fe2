"""Names of other conventions for our fields, as data: one row per accepted name.

Sources: OpenTelemetry GenAI conventions (current and replaced names), OpenInference, OpenLLMetry. The first
row that is present wins, and our own name wins over all of them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.events import Stream


class Alias(NamedTuple):
    """One accepted name: ``name`` is read into ``field`` through ``convert`` (``streams.conversions``).

    ``field`` may be a part of a structured field, such as ``retrieval.top_k``.
    """

    field: str
    name: str
    origin: str
    convert: str = "as_is"


_OTEL, _OTEL_OLD, _OI, _TL = "OpenTelemetry", "OpenTelemetry, older", "OpenInference", "OpenLLMetry"

_SHARED: Final = (
    Alias("trace_id", "traceId", _OTEL),
    Alias("service", "service.name", _OTEL),
    Alias("environment", "deployment.environment.name", _OTEL),
    Alias("environment", "deployment.environment", _OTEL_OLD),
    Alias("tenant", "tenant.id", _OTEL),
    Alias("tenant", "traceloop.association.properties.tenant", _TL),
    Alias("tenant", "traceloop.association.properties.tenant_id", _TL),
    Alias("user_id", "user.id", _OTEL),
    Alias("user_id", "gen_ai.user", _TL),
    Alias("user_id", "traceloop.association.properties.user_id", _TL),
    Alias("operation", "gen_ai.operation.name", _OTEL),
    Alias("operation", "openinference.span.kind", _OI, "operation"),
    Alias("operation", "llm.request.type", _TL, "operation"),
    Alias("operation", "traceloop.span.kind", _TL, "operation"),
    Alias("provider", "gen_ai.provider.name", _OTEL),
    Alias("provider", "llm.provider", _OI),
    Alias("provider", "llm.system", _OI),
    Alias("provider", "gen_ai.system", _OTEL_OLD),
    Alias("model_requested", "gen_ai.request.model", _OTEL),
    Alias("model_requested", "llm.request.model_name", _OI),
    Alias("model_served", "gen_ai.response.model", _OTEL),
    Alias("model_served", "llm.response.model_name", _OI),
    Alias("model_served", "llm.model_name", _OI),
    Alias("response_id", "gen_ai.response.id", _OTEL),
    Alias("prompt_name", "gen_ai.prompt.name", _OTEL),
    Alias("prompt_name", "prompt.id", _OI),
    Alias("prompt_name", "traceloop.prompt.key", _TL),
    Alias("prompt_version", "gen_ai.prompt.version", _OTEL, "text"),
    Alias("prompt_version", "llm.prompt_template.version", _OI, "text"),
    Alias("prompt_version", "traceloop.prompt.version", _TL, "text"),
    Alias("conversation_id", "gen_ai.conversation.id", _OTEL),
    Alias("conversation_id", "session.id", _OI),
    Alias("conversation_id", "traceloop.association.properties.session_id", _TL),
    Alias("agent_id", "gen_ai.agent.id", _OTEL),
    Alias("agent_name", "gen_ai.agent.name", _OTEL),
    Alias("agent_name", "agent.name", _OI),
    Alias("agent_name", "graph.node.id", _OI),
    Alias("agent_name", "traceloop.entity.name", _TL),
    Alias("agent_version", "gen_ai.agent.version", _OTEL, "text"),
    Alias("workflow", "gen_ai.workflow.name", _OTEL),
    Alias("workflow", "traceloop.workflow.name", _TL),
    Alias("error_type", "error.type", _OTEL),
    Alias("schema_url", "schemaUrl", _OTEL),
)

_INTERACTION: Final = (
    Alias("event_id", "spanId", _OTEL),
    Alias("event_id", "span_id", _OTEL),
    Alias("occurred_at", "endTimeUnixNano", _OTEL, "nanos_to_epoch_ms"),
    Alias("occurred_at", "end_time_unix_nano", _OTEL, "nanos_to_epoch_ms"),
    Alias("occurred_at", "end_time", _OI),
    Alias("span_id", "spanId", _OTEL),
    Alias("parent_span_id", "parentSpanId", _OTEL),
    *_SHARED,
    Alias("tokens_in", "gen_ai.usage.input_tokens", _OTEL, "integer"),
    Alias("tokens_in", "llm.token_count.prompt", _OI, "integer"),
    Alias("tokens_in", "gen_ai.usage.prompt_tokens", _TL, "integer"),
    Alias("tokens_out", "gen_ai.usage.output_tokens", _OTEL, "integer"),
    Alias("tokens_out", "llm.token_count.completion", _OI, "integer"),
    Alias("tokens_out", "gen_ai.usage.completion_tokens", _TL, "integer"),
    Alias("tokens_cache_read", "gen_ai.usage.cache_read.input_tokens", _OTEL, "integer"),
    Alias("tokens_cache_read", "llm.token_count.prompt_details.cache_read", _OI, "integer"),
    Alias("tokens_cache_read", "gen_ai.usage.cache_read_input_tokens", _TL, "integer"),
    Alias("tokens_cache_write", "gen_ai.usage.cache_write.input_tokens", _OTEL, "integer"),
    Alias("tokens_cache_write", "gen_ai.usage.cache_creation.input_tokens", _OTEL_OLD, "integer"),
    Alias("tokens_cache_write", "llm.token_count.prompt_details.cache_write", _OI, "integer"),
    Alias("tokens_reasoning", "gen_ai.usage.reasoning.output_tokens", _OTEL, "integer"),
    Alias("tokens_reasoning", "llm.token_count.completion_details.reasoning", _OI, "integer"),
    Alias("tokens_reasoning", "gen_ai.usage.reasoning_tokens", _TL, "integer"),
    Alias("cost", "gen_ai.usage.cost.amount", "OpenTelemetry, proposed"),
    Alias("cost", "llm.cost.total", _OI),
    Alias("cost", "gen_ai.usage.cost", "OpenLIT"),
    Alias("currency", "gen_ai.usage.cost.currency", "OpenTelemetry, proposed"),
    Alias("cost_source", "gen_ai.usage.cost.source", "OpenTelemetry, proposed"),
    Alias("ttft_ms", "gen_ai.response.time_to_first_chunk", _OTEL, "secs_to_ms"),
    Alias("streamed", "gen_ai.request.stream", _OTEL),
    Alias("finish_reason", "gen_ai.response.finish_reasons", _OTEL, "join"),
    Alias("finish_reason", "llm.finish_reason", _OI, "join"),
    Alias("finish_reason", "gen_ai.response.finish_reason", _OTEL_OLD, "join"),
    Alias("tool_calls.name", "gen_ai.tool.name", _OTEL),
    Alias("tool_calls.name", "tool.name", _OI),
    Alias("tool_calls.type", "gen_ai.tool.type", _OTEL),
    Alias("tool_calls.id", "gen_ai.tool.call.id", _OTEL),
    Alias("tool_calls.id", "tool_call.id", _OI),
    Alias("tool_calls.arguments", "gen_ai.tool.call.arguments", _OTEL, "text"),
    Alias("tool_calls.arguments", "tool_call.function.arguments", _OI, "text"),
    Alias("tool_calls.result", "gen_ai.tool.call.result", _OTEL, "text"),
    Alias("retrieval.data_source_id", "gen_ai.data_source.id", _OTEL),
    Alias("retrieval.top_k", "gen_ai.retrieval.top_k", _OTEL, "integer"),
    Alias("retrieval.query", "gen_ai.retrieval.query.text", _OTEL),
    Alias("retrieval.documents", "gen_ai.retrieval.documents", _OTEL, "documents"),
    Alias("retrieval.documents", "retrieval.documents", _OI, "documents"),
    Alias("input", "gen_ai.input.messages", _OTEL, "text"),
    Alias("input", "llm.input_messages", _OI, "text"),
    Alias("input", "input.value", _OI, "text"),
    Alias("output", "gen_ai.output.messages", _OTEL, "text"),
    Alias("output", "llm.output_messages", _OI, "text"),
    Alias("output", "output.value", _OI, "text"),
)

_FEEDBACK: Final = (
    Alias("event_id", "parentSpanId", _OTEL),
    Alias("event_id", "spanId", _OTEL),
    Alias("event_id", "span_id", _OTEL),
    Alias("occurred_at", "timeUnixNano", _OTEL, "nanos_to_epoch_ms"),
    Alias("occurred_at", "time_unix_nano", _OTEL, "nanos_to_epoch_ms"),
    *_SHARED,
    Alias("name", "gen_ai.evaluation.name", _OTEL),
    Alias("name", "evaluation.name", _OI),
    Alias("name", "annotation.name", _OI),
    Alias("score", "gen_ai.evaluation.score.value", _OTEL),
    Alias("score", "evaluation.score", _OI),
    Alias("score", "annotation.score", _OI),
    Alias("label", "gen_ai.evaluation.score.label", _OTEL),
    Alias("label", "evaluation.label", _OI),
    Alias("label", "annotation.label", _OI),
    Alias("explanation", "gen_ai.evaluation.explanation", _OTEL),
    Alias("explanation", "evaluation.explanation", _OI),
    Alias("explanation", "annotation.explanation", _OI),
    Alias("evaluator", "annotation.annotator_kind", _OI),
)

ALIASES: Final[dict[Stream, tuple[Alias, ...]]] = {
    "interaction": _INTERACTION,
    "feedback": _FEEDBACK,
    "change": (),
}

INDEXED: Final = {
    "gen_ai.prompt.": "input",
    "gen_ai.completion.": "output",
    "llm.input_messages.": "input",
    "llm.output_messages.": "output",
}
"""Flattened messages: prefix and a number: ``gen_ai.prompt.0.content`` and not ``gen_ai.prompt.name``."""

STARTS: Final = {
    "startTimeUnixNano": "endTimeUnixNano",
    "start_time_unix_nano": "end_time_unix_nano",
    "start_time": "end_time",
}
"""A span's start, and the name of its end: together they give ``duration_ms``."""

FREE_PREFIX: Final = "traceloop.association.properties."
FREE_OBJECT: Final = "metadata"
"""Where the neighbours put free dimensions; they become ``attributes``."""
PROMOTED: Final = frozenset({"feature", "outcome", "index_version", "index_updated_at"})
"""Our fields without any convention: read out of free dimensions when they are named there."""
