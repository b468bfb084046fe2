"""Fits a decoded object to a struct where JSON is laxer than msgspec: unknown parts, integral floats, texts.

The shapes are read off the structs once, so a new field needs nothing here.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

from streams.events import MAX_FIELDS, MAX_TEXT_BYTES, STRUCTS


class Shape(NamedTuple):
    """What ``fit`` must know of a struct: its fields, and which hold integers, texts, or structs."""

    fields: frozenset[str]
    integers: frozenset[str]
    texts: frozenset[str]
    nested: dict[str, Shape]


def shape_of(info: inspect.StructType) -> Shape:
    """The shape of a struct, from ``msgspec.inspect.type_info``."""
    integers, texts = set(), set()
    nested: dict[str, Shape] = {}
    for field in info.fields:
        for kind in _options(field.type):
            if isinstance(kind, inspect.ListType):
                kind = next(_options(kind.item_type))
            if isinstance(kind, inspect.IntType):
                integers.add(field.encode_name)
            elif isinstance(kind, inspect.StrType) and kind.max_length is None and kind.pattern is None:
                texts.add(field.encode_name)
            elif isinstance(kind, inspect.StructType):
                nested[field.encode_name] = shape_of(kind)
    names = frozenset(field.encode_name for field in info.fields)
    return Shape(names, frozenset(integers), frozenset(texts), nested)


def _options(kind: inspect.Type) -> Any:
    if isinstance(kind, inspect.Metadata):
        return _options(kind.type)
    if isinstance(kind, inspect.UnionType):
        return (inner for option in kind.types for inner in _options(option))
    return iter((kind,))


def _shape(struct: type[msgspec.Struct]) -> Shape:
    info = inspect.type_info(struct)
    if not isinstance(info, inspect.StructType):
        raise TypeError(struct)
    return shape_of(info)


SHAPES: Final = {stream: _shape(struct) for stream, struct in STRUCTS.items()}


def fit(shape: Shape, fields: dict[str, Any], unknown: list[str]) -> None:
    """Change ``fields`` in place; names of dropped parts of structured fields are added to ``unknown``.

    - 3.0 is an integer in JSON Schema and in many producers: integral floats become integers.
    - Texts are cut at ``MAX_TEXT_BYTES`` of UTF-8, between characters.
    """
    for name in shape.integers & fields.keys():
        value = fields[name]
        if isinstance(value, float) and value.is_integer():
            fields[name] = int(value)
    for name in shape.texts & fields.keys():
        value = fields[name]
        if isinstance(value, str) and len(value) > MAX_TEXT_BYTES // 4:
            encoded = value.encode()
            if len(encoded) > MAX_TEXT_BYTES:
                fields[name] = encoded[:MAX_TEXT_BYTES].decode(errors="ignore")
    for name in sorted(shape.nested.keys() & fields.keys()):
        value, inner = fields[name], shape.nested[name]
        for part in (
            value[: MAX_FIELDS + 1] if isinstance(value, list) else (value,)
        ):  # longer lists are refused
            if isinstance(part, dict):
                for extra in sorted(part.keys() - inner.fields):
                    del part[extra]
                    unknown.append(f"{name}.{extra}")
                fit(inner, part, unknown)
