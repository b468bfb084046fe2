"""The wire schema of the input records, version 1: what producers send and what every stage reads.

One JSON object a record, flat, own names only; ``streams.aliases`` accepts the names of OpenTelemetry and its
neighbours, ``streams.decode`` applies them. Units are part of a name (``_ms``, ``tokens_``); ``cost`` is in
``currency`` (US dollars unless named). Absent and ``null`` mean the same: unknown. The bounds say what can be
true, not what is alarming; they are those of ``streams.signals.VALUES``.

The structs opt out of garbage collection: decoded JSON cannot contain a cycle, and millions of them pass by.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

SCHEMA_VERSION: Final = 1
MAX_RECORD_BYTES: Final = 256 * 1024
MAX_TEXT_BYTES: Final = 32 * 1024
MAX_DEPTH: Final = 32
MAX_FIELDS: Final = 1000
"""Fields of a record, free dimensions, and parts of a list: what a person or a program could still mean."""
MAX_NAME_CHARS: Final = 512
MIN_TIME_MS: Final = 31_536_000_000
"""1971-01-01T00:00:00Z: what lies before is a clock that was never set, or seconds taken for milliseconds."""
MAX_CLOCK_AHEAD_MS: Final = 300_000

Stream = Literal["interaction", "feedback", "change"]
STREAMS: Final[tuple[Stream, ...]] = get_args(Stream)
ChangeKind = Literal["deploy", "prompt", "model", "index", "price", "judge", "experiment"]
CHANGE_KINDS: Final[tuple[ChangeKind, ...]] = get_args(ChangeKind)
USER_FEEDBACK: Final = "user_feedback"
"""The ``name`` of a feedback record that is a person's vote; every other name is an evaluation."""

Name = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
Key = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Text = str
"""Prompt, answer and the like: cut at 32 KiB when decoded, never refused for its length."""
Time = Annotated[int, Meta(ge=MIN_TIME_MS)] | Annotated[datetime, Meta(tz=True)]
"""Epoch milliseconds, or RFC 3339 with an offset."""
Millis = Annotated[float, Meta(ge=0, le=86_400_000)]
Tokens = Annotated[int, Meta(ge=0, le=100_000_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Cost = Annotated[float, Meta(ge=0, le=1_000)]
Score = Annotated[float, Meta(ge=0, le=10_000)]
UnitScore = Annotated[float, Meta(ge=0, le=1)]
Version = Annotated[int, Meta(ge=1, le=1)] | Annotated[str, Meta(pattern=r"^1(\.\d+)?$")]
Status = Annotated[int, Meta(ge=0, le=999)] | Annotated[str, Meta(max_length=64)]
Attribute = Annotated[str, Meta(max_length=4_096)] | int | float | bool | None
Attributes = Annotated[dict[str, Attribute], Meta(max_length=MAX_FIELDS)]


def about(text: str) -> Meta:
    """A field's description, as the JSON Schema and docs/schemas.md show it."""
    return Meta(description=text)


class _Record(msgspec.Struct, gc=False, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What all input records share."""

    occurred_at: Annotated[Time, about("When it ended: RFC 3339 with an offset, or epoch milliseconds")]
    schema_version: Annotated[Version | None, about("Version of this schema: 1, or the string 1.x")] = None
    schema_url: Annotated[Name | None, about("URL of the conventions the producer follows")] = None
    attributes: Annotated[Attributes | None, about("Free dimensions")] = None


class ToolCall(msgspec.Struct, gc=False, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One tool call of an interaction."""

    name: Annotated[Name | None, about("Name of the tool")] = None
    id: Annotated[Name | None, about("Id of the call")] = None
    type: Annotated[Name | None, about("function, extension or datastore")] = None
    duration_ms: Annotated[Millis | None, about("How long it ran, ms")] = None
    error_type: Annotated[Name | None, about("Class of the error, if it failed")] = None
    arguments: Annotated[Text | None, about("Arguments as JSON text")] = None
    result: Annotated[Text | None, about("Result as text")] = None


class Document(msgspec.Struct, gc=False, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One retrieved document."""

    id: Annotated[Name | None, about("Id of the document")] = None
    score: Annotated[float | None, about("Its relevance, in the retriever's unit")] = None


class Retrieval(msgspec.Struct, gc=False, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What a retrieval asked for and got."""

    data_source_id: Annotated[Name | None, about("Index or store that was asked")] = None
    top_k: Annotated[Count | None, about("How many documents were asked for")] = None
    query: Annotated[Text | None, about("Query text")] = None
    documents: Annotated[
        Annotated[list[Document], Meta(max_length=MAX_FIELDS)] | None,
        about("Documents in the order returned"),
    ] = None


class Interaction(_Record, gc=False, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One interaction with a model: a record of ``llm.interactions``.

    ``event_id``, ``occurred_at`` and one of ``model_requested`` and ``operation`` are required.
    """

    event_id: Annotated[Key, about("Unique id; repeats are counted once")]
    duration_ms: Annotated[Millis | None, about("End minus start, ms")] = None
    ttft_ms: Annotated[Millis | None, about("Time to the first chunk, ms")] = None
    trace_id: Annotated[Name | None, about("Trace id, hex")] = None
    span_id: Annotated[Name | None, about("Span id, hex")] = None
    parent_span_id: Annotated[Name | None, about("Parent span id, hex")] = None
    response_id: Annotated[Name | None, about("The provider's id of the response")] = None
    conversation_id: Annotated[Name | None, about("Conversation or session")] = None
    service: Annotated[Name | None, about("Name of the service")] = None
    environment: Annotated[Name | None, about("Deployment environment, such as production")] = None
    tenant: Annotated[Name | None, about("Customer or organisation")] = None
    user_id: Annotated[Name | None, about("User; kept only as a keyed pseudonym")] = None
    user_hash: Annotated[Name | None, about("Pseudonym of the user, if the producer made one")] = None
    feature: Annotated[Name | None, about("Product feature")] = None
    topic: Annotated[Name | None, about("Subject of the question")] = None
    region: Annotated[Name | None, about("Region that served it")] = None
    priority: Annotated[Name | None, about("Priority class")] = None
    operation: Annotated[Name | None, about("chat, embeddings, retrieval, execute_tool, invoke_agent …")] = (
        None
    )
    provider: Annotated[Name | None, about("Who serves the model")] = None
    model_requested: Annotated[Name | None, about("Model asked for")] = None
    model_served: Annotated[Name | None, about("Model that answered")] = None
    prompt_name: Annotated[Name | None, about("Name of the prompt template")] = None
    prompt_version: Annotated[Name | None, about("Version of the prompt template")] = None
    agent_id: Annotated[Name | None, about("Id of the agent")] = None
    agent_name: Annotated[Name | None, about("Name of the agent")] = None
    agent_version: Annotated[Name | None, about("Version of the agent")] = None
    workflow: Annotated[Name | None, about("Name of the workflow")] = None
    steps: Annotated[Count | None, about("Steps an agent took")] = None
    tokens_in: Annotated[Tokens | None, about("Input tokens, cached ones included")] = None
    tokens_out: Annotated[Tokens | None, about("Output tokens, reasoning included")] = None
    tokens_cache_read: Annotated[
        Tokens | None, about("Input tokens read from a cache; part of tokens_in")
    ] = None
    tokens_cache_write: Annotated[
        Tokens | None, about("Input tokens written to a cache; part of tokens_in")
    ] = None
    tokens_reasoning: Annotated[Tokens | None, about("Reasoning tokens; part of tokens_out")] = None
    cost: Annotated[Cost | None, about("Cost of this interaction, in `currency`")] = None
    currency: Annotated[Name | None, about("ISO 4217; absent means USD")] = None
    cost_source: Annotated[Name | None, about("Where the cost comes from, such as provider or estimate")] = (
        None
    )
    streamed: Annotated[bool | None, about("The answer was streamed")] = None
    finish_reason: Annotated[Name | None, about("stop, length, tool_calls, content_filter …")] = None
    status: Annotated[
        Status | None, about("ok, error, failed, timeout; or an HTTP status, an error from 400 on")
    ] = None
    error_type: Annotated[Name | None, about("Class of the error; set means it failed")] = None
    retries: Annotated[Count | None, about("Attempts beyond the first")] = None
    refusal: Annotated[bool | None, about("The model refused")] = None
    idk: Annotated[bool | None, about("The model said that it does not know")] = None
    out_of_scope: Annotated[bool | None, about("The question was out of scope")] = None
    schema_valid: Annotated[bool | None, about("Structured output matched its schema")] = None
    cache_hit: Annotated[bool | None, about("Answered from a cache")] = None
    safety_flag: Annotated[bool | None, about("A guardrail flagged it")] = None
    outcome: Annotated[Name | None, about("What came of it for the user")] = None
    retrieved_chunks: Annotated[Count | None, about("Chunks retrieved")] = None
    retrieval_score: Annotated[
        Score | None, about("Relevance of what was retrieved, in the retriever's unit")
    ] = None
    index_version: Annotated[Name | None, about("Version of the index")] = None
    index_updated_at: Annotated[Time | None, about("When the index was last refreshed")] = None
    retrieval: Annotated[Retrieval | None, about("Retrieval in detail")] = None
    tool_calls: Annotated[
        Annotated[list[ToolCall], Meta(max_length=MAX_FIELDS)] | None, about("Tool calls in order")
    ] = None
    input: Annotated[Text | None, about("Prompt; stored only if configured, redacted")] = None
    output: Annotated[Text | None, about("Answer; stored only if configured, redacted")] = None


class Feedback(_Record, gc=False, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """An evaluation result or a person's vote on an interaction: a record of ``llm.feedback``.

    ``occurred_at``, ``name``, one of ``event_id`` and ``trace_id``, and one of ``score`` and ``label`` (or
    ``error_type``, when the evaluation itself failed) are required. Without the interaction's segment fields
    it counts for the whole fleet only.
    """

    name: Annotated[Key, about("Name of the evaluation, or user_feedback for a person's vote")]
    feedback_id: Annotated[Name | None, about("Unique id of this record")] = None
    event_id: Annotated[Name | None, about("event_id of the interaction")] = None
    trace_id: Annotated[Name | None, about("Trace of the interaction")] = None
    response_id: Annotated[Name | None, about("The provider's id of the judged response")] = None
    score: Annotated[UnitScore | None, about("0 (worst) to 1 (best)")] = None
    label: Annotated[Name | None, about("The verdict in a word; thumbs_up or thumbs_down for votes")] = None
    explanation: Annotated[Text | None, about("Why, as text")] = None
    evaluator: Annotated[Name | None, about("Who judged: model, program or person")] = None
    evaluator_version: Annotated[Name | None, about("Version of the evaluator")] = None
    error_type: Annotated[Name | None, about("Class of the error, if the evaluation failed")] = None
    service: Annotated[Name | None, about("Name of the service")] = None
    environment: Annotated[Name | None, about("Deployment environment")] = None
    tenant: Annotated[Name | None, about("Customer or organisation")] = None
    user_id: Annotated[Name | None, about("User; kept only as a keyed pseudonym")] = None
    user_hash: Annotated[Name | None, about("Pseudonym of the user, if the producer made one")] = None
    conversation_id: Annotated[Name | None, about("Conversation or session")] = None
    feature: Annotated[Name | None, about("Product feature")] = None
    topic: Annotated[Name | None, about("Subject of the question")] = None
    region: Annotated[Name | None, about("Region that served it")] = None
    priority: Annotated[Name | None, about("Priority class")] = None
    operation: Annotated[Name | None, about("Operation that was judged")] = None
    provider: Annotated[Name | None, about("Who serves the judged model")] = None
    model_requested: Annotated[Name | None, about("Judged model, as asked for")] = None
    model_served: Annotated[Name | None, about("Judged model, as it answered")] = None
    prompt_name: Annotated[Name | None, about("Name of the prompt template")] = None
    prompt_version: Annotated[Name | None, about("Version of the prompt template")] = None
    agent_id: Annotated[Name | None, about("Id of the agent")] = None
    agent_name: Annotated[Name | None, about("Name of the agent")] = None
    agent_version: Annotated[Name | None, about("Version of the agent")] = None
    workflow: Annotated[Name | None, about("Name of the workflow")] = None
    index_version: Annotated[Name | None, about("Version of the index")] = None


class Change(_Record, gc=False, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Something was changed on purpose: a record of ``llm.changes``."""

    change_id: Annotated[Key, about("Unique id of the change")]
    kind: Annotated[ChangeKind, about("What was changed")]
    scope: Annotated[dict[str, Name] | None, about("Whom it concerns: dimension to value; absent is all")] = (
        None
    )
    summary: Annotated[Text | None, about("One line for the reader of an alert")] = None


Event = Interaction | Feedback | Change
STRUCTS: Final[dict[Stream, type[Interaction] | type[Feedback] | type[Change]]] = {
    "interaction": Interaction,
    "feedback": Feedback,
    "change": Change,
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ERROR_STATUSES: Final = frozenset({"error", "failed", "failure", "timeout", "status_code_error"})
_VOTES_DOWN: Final = {
    **dict.fromkeys(("thumbs_down", "thumbs-down", "down", "dislike", "negative", "bad", "👎", "-1"), True),
    **dict.fromkeys(("thumbs_up", "thumbs-up", "up", "like", "positive", "good", "👍", "1", "+1"), False),
}


def epoch_ms(time: int | datetime) -> int:
    """Epoch milliseconds of a wire time, rounded down; exact in integers."""
    if isinstance(time, int):
        return time
    since = time - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000 + since.microseconds // 1_000


def occurred_at_ms(record: Event) -> int:
    """When it happened, epoch ms. After ``streams.decode`` the field itself is this integer."""
    return epoch_ms(record.occurred_at)


def is_error(interaction: Interaction) -> bool:
    """Whether the interaction failed; see ``is_failure``."""
    return is_failure(interaction.status, interaction.error_type)


def is_failure(status: int | str | None, error_type: str | None) -> bool:
    """``error_type`` is set, or ``status`` is error, failed, timeout or an HTTP status from 400 on."""
    if error_type:
        return True
    if status is None:
        return False
    if isinstance(status, int):
        return status >= 400
    if status.isascii() and status.isdigit():
        return int(status) >= 400
    return status.lower() in _ERROR_STATUSES


def cost_usd(interaction: Interaction) -> float | None:
    """The cost if it is in US dollars: other currencies are stored, and not added up with dollars."""
    return interaction.cost if is_dollars(interaction.currency) else None


def is_dollars(currency: str | None) -> bool:
    """Whether a cost in this currency is in US dollars; absent means it is."""
    return currency is None or currency.upper() == "USD"


def is_thumbs_down(feedback: Feedback) -> bool | None:
    """Whether a person's vote is down; ``None`` when the record is no vote or says nothing either way."""
    if feedback.name != USER_FEEDBACK:
        return None
    if feedback.label is not None:
        verdict = _VOTES_DOWN.get(feedback.label.strip().lower().replace(" ", "_"))
        if verdict is not None:
            return verdict
    return None if feedback.score is None else feedback.score < 0.5
