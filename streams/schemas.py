"""JSON Schemas and the field reference of the input records, generated from the structs and the alias table."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, Final

import msgspec
from msgspec import inspect

from streams.aliases import ALIASES, FREE_OBJECT, FREE_PREFIX, INDEXED
from streams.deadletters import DeadLetter
from streams.diagnosis import REASONS
from streams.events import (
    MAX_DEPTH,
    MAX_RECORD_BYTES,
    MAX_TEXT_BYTES,
    SCHEMA_VERSION,
    STRUCTS,
    Stream,
)
from streams.topics import TOPIC_OF_STREAM

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
NAMES: Final = (*STRUCTS, "deadletter")
"""What `tidewatch schema` knows."""

_ANY_OF: Final[dict[str, list[dict[str, list[str]]]]] = {
    "interaction": [{"required": ["model_requested"]}, {"required": ["operation"]}],
    "feedback": [{"required": ["event_id"]}, {"required": ["trace_id"]}],
}
"""What the structs cannot say: one of these is required."""


_EXAMPLES: Final[dict[Stream, str]] = {
    "interaction": (
        '{"event_id": "01JA7", "occurred_at": "2026-09-21T14:13:20.123Z", "duration_ms": 1840, "tenant": "acme",\n'
        ' "feature": "search", "provider": "openai", "model_requested": "gpt-x", "tokens_in": 374,\n'
        ' "tokens_out": 44, "cost": 0.0012, "refusal": false, "attributes": {"plan": "gold"}}'
    ),
    "feedback": (
        '{"event_id": "01JA7", "occurred_at": 1790000060000, "name": "user_feedback", "label": "thumbs_down",\n'
        ' "tenant": "acme", "feature": "search"}'
    ),
    "change": (
        '{"change_id": "deploy-812", "occurred_at": "2026-09-21T14:00:00Z", "kind": "prompt",\n'
        ' "scope": {"feature": "search"}, "summary": "answer prompt v13"}'
    ),
}


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of one of ``NAMES``; for input records, of the fields under our own names.

    Foreign names are in the descriptions: a record that uses them is accepted, but is not described by this
    schema. Raises ``KeyError`` for another name.
    """
    struct = DeadLetter if name == "deadletter" else STRUCTS[_stream(name)]
    (schema,), parts = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    title = schema["$ref"].rpartition("/")[2]
    body = parts.pop(title)
    body = {"$schema": _DIALECT, "$id": f"urn:tidewatch:{name}:{SCHEMA_VERSION}", **body}
    body["description"] = cleandoc(body["description"]).replace("``", "`")
    if name != "deadletter":
        # Producers may send more than we know: unknown fields are ignored and counted.
        body["additionalProperties"] = True
        for part in parts.values():
            part["additionalProperties"] = True
        for field, properties in body["properties"].items():
            foreign = _foreign(_stream(name), field)
            if foreign:
                text = properties.get("description", "")
                properties["description"] = f"{text}. Also accepted as: {', '.join(foreign)}"
    if name in _ANY_OF:
        body["anyOf"] = _ANY_OF[name]
    if parts:
        body["$defs"] = parts
    return body


def _stream(name: str) -> Stream:
    for stream in STRUCTS:
        if stream == name:
            return stream
    raise KeyError(name)


def encoded_schema(name: str) -> bytes:
    """The schema as a file holds it."""
    return msgspec.json.format(msgspec.json.encode(json_schema(name)), indent=2) + b"\n"


def _foreign(stream: Stream, field: str) -> list[str]:
    units = {"secs_to_ms": " (seconds)", "nanos_to_epoch_ms": " (nanoseconds)", "join": " (array or string)"}
    names = [a.name + units.get(a.convert, "") for a in ALIASES[stream] if a.field.partition(".")[0] == field]
    if stream == "interaction":
        names += [f"{prefix}N.*" for prefix, into in INDEXED.items() if into == field]
    if field == "attributes" and stream != "change":
        names += [f"{FREE_PREFIX}*", FREE_OBJECT]
    return names


def _table(stream: Stream) -> Iterator[str]:
    struct = STRUCTS[stream]
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - the table of structs says so
    yield f"## `{TOPIC_OF_STREAM[stream]}`: {struct.__name__}"
    yield ""
    yield cleandoc(struct.__doc__ or "").replace("``", "`")
    yield ""
    yield from ("```json", _EXAMPLES[stream], "```")
    yield ""
    yield "| field | type | meaning | also accepted as |"
    yield "|---|---|---|---|"
    # What is required comes first; the rest keeps the order of the schema.
    for field in sorted(info.fields, key=lambda field: not field.required):
        name = f"**`{field.encode_name}`**" if field.required else f"`{field.encode_name}`"
        meaning = _meaning(field.type)
        foreign = ", ".join(
            f"`{other}`{space}{unit}"
            for other, space, unit in (text.partition(" ") for text in _foreign(stream, field.encode_name))
        )
        yield f"| {name} | {_type_name(field.type)} | {meaning} | {foreign} |"
    yield ""


def _meaning(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.Metadata):
        return str((kind.extra_json_schema or {}).get("description", "")) or _meaning(kind.type)
    return ""


def _type_name(kind: inspect.Type) -> str:
    """A type with its bounds, in a few words."""
    match kind:
        case inspect.Metadata(type=inner):
            return _type_name(inner)
        case inspect.UnionType(types=types):
            names = [_type_name(option) for option in types if not isinstance(option, inspect.NoneType)]
            return " or ".join(dict.fromkeys(names))
        case inspect.IntType(ge=low, le=high):
            return _bounded("integer", low, high)
        case inspect.FloatType(ge=low, le=high):
            return _bounded("number", low, high)
        case inspect.StrType(max_length=longest, pattern=pattern):
            if pattern is not None:
                return "string"
            return f"string ≤ {longest}" if longest else "text"
        case inspect.BoolType():
            return "boolean"
        case inspect.DateTimeType():
            return "RFC 3339"
        case inspect.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case inspect.ListType(item_type=item):
            return f"array of {_type_name(item)}"
        case inspect.DictType():
            return "object"
        case inspect.StructType(fields=fields):
            return "{" + ", ".join(f"`{field.encode_name}`" for field in fields) + "}"
        case _:
            return type(kind).__name__.removesuffix("Type").lower()


def _bounded(name: str, low: float | None, high: float | None) -> str:
    if high is None:
        return name
    return f"{low:g}" if low == high else f"{name} {low or 0:g}–{high:,.0f}"


def reference() -> str:
    """docs/schemas.md as a whole."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# Input records"
    yield ""
    yield "<!-- Generated by `tidewatch schema --markdown`; a test keeps it fresh. -->"
    yield ""
    yield (
        f"A record is one JSON object in UTF-8, at most {MAX_RECORD_BYTES // 1024} KiB and nested at most "
        f"{MAX_DEPTH} deep. Bold fields are required; absent and `null` both mean unknown. Texts are cut at "
        f"{MAX_TEXT_BYTES // 1024} KiB. Unknown fields are ignored and counted. The names of OpenTelemetry, "
        "OpenInference and OpenLLMetry in the last column are accepted in place of ours; our own name wins, then "
        "the first that is present. JSON Schemas: `tidewatch schema`, or docs/schemas/."
    )
    yield ""
    for stream in STRUCTS:
        yield from _table(stream)
    yield "## In files"
    yield ""
    yield (
        "`tidewatch replay` and `tidewatch produce` read one record a line (or row). The line's `kind` says what "
        "it is: `interaction`, `feedback` or `change`, and absent means interaction. A change has a `kind` of its "
        'own, which says enough: a line with `"kind": "deploy"` is a change.'
    )
    yield ""
    yield "## Alerts"
    yield ""
    yield (
        "`llm.alerts` carries CloudEvents 1.0 in binary mode: the value is the alert as JSON, the context is "
        "headers (`ce_id` is the idempotency key, `ce_subject` and the record's key the fingerprint). Types:"
    )
    yield ""
    yield "| `ce_type` | says |"
    yield "|---|---|"
    yield (
        "| `tidewatch.alert.firing`, `tidewatch.alert.resolved` | an incident of the watched product began, "
        "got worse, ended |"
    )
    yield (
        "| `tidewatch.monitoring.firing`, `tidewatch.monitoring.resolved` | the same about Tidewatch itself, "
        "such as lag or an outage of the store: docs/operations.md |"
    )
    yield ""
    yield "## What is refused, and why"
    yield ""
    yield (
        "A record that cannot be used becomes a dead letter on `llm.deadletters` and stops nothing. Its reason is "
        "one of these:"
    )
    yield ""
    yield "| reason | meaning |"
    yield "|---|---|"
    yield from (f"| `{reason}` | {meaning} |" for reason, meaning in REASONS.items())
