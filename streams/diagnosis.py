"""Why a record is bad: one stable reason each, the path of the field, and a detail without its value."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, Literal, NoReturn

import msgspec

from streams.events import MAX_CLOCK_AHEAD_MS, MAX_DEPTH, MAX_RECORD_BYTES

Reason = Literal[
    "empty",
    "not_json",
    "not_utf8",
    "not_an_object",
    "lone_surrogate",
    "too_deep",
    "too_large",
    "missing_field",
    "wrong_type",
    "not_finite",
    "out_of_range",
    "time_before_1971",
    "time_in_future",
    "unknown_schema_version",
]
REASONS: Final[dict[Reason, str]] = {
    "empty": "no bytes: counted and skipped, without a dead letter",
    "not_json": "not a JSON document",
    "not_utf8": "not UTF-8",
    "not_an_object": "JSON, but not an object",
    "lone_surrogate": "a string holds half of a UTF-16 surrogate pair",
    "too_deep": f"nested deeper than {MAX_DEPTH}",
    "too_large": f"more than {MAX_RECORD_BYTES // 1024} KiB",
    "missing_field": "a required field is absent or null",
    "wrong_type": "a field is of another type, or not one of the values allowed",
    "not_finite": "NaN, an infinity, or a number beyond the range of a double",
    "out_of_range": "negative, absurdly large, or too long",
    "time_before_1971": "`occurred_at` is before 1971: a clock that was never set, or seconds for milliseconds",
    "time_in_future": f"`occurred_at` is more than {MAX_CLOCK_AHEAD_MS // 1000} s ahead of the clock",
    "unknown_schema_version": "`schema_version` is of another major version",
}
"""Every reason, and what it says in words."""


class BadRecord(Exception):
    """A record that cannot be used.

    ``reason`` is one of ``REASONS`` and stable; ``path`` locates the field (``$.tokens_in``); ``detail`` says
    what was expected and of which type it was, never what it held.
    """

    def __init__(self, reason: Reason, path: str, detail: str) -> None:
        super().__init__(reason, path, detail)
        self.reason: Reason = reason
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason} at {self.path}: {self.detail}"


_AT: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$.*)`)?$", re.DOTALL)
_MISSING: Final = re.compile(r"^Object missing required field `(\w+)`")
_BOUND: Final = re.compile(r"^Expected `[^`]*` (?:[<>]=?|of length|matching|that's)|out of range")


def from_validation(error: msgspec.ValidationError) -> BadRecord:
    """The reason of a type or bound that msgspec found violated. Its messages hold no values, only types."""
    match = _AT.match(str(error))
    what, path = (match["what"], match["path"] or "$") if match else (str(error), "$")
    missing = _MISSING.match(what)
    if missing:
        return BadRecord("missing_field", f"{path}.{missing[1]}", "required")
    if path == "$.occurred_at" and ">=" in what:
        return BadRecord("time_before_1971", path, what)
    if path == "$.kind":
        return BadRecord("wrong_type", path, "expected one of the kinds of change")
    return BadRecord("out_of_range" if _BOUND.search(what) else "wrong_type", path, what)


def check_depth(value: object) -> None:
    """Raises ``too_deep`` when objects and arrays nest deeper than ``MAX_DEPTH``; itself iterative."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise BadRecord("too_deep", "$", f"nested deeper than {MAX_DEPTH}")


_STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""A JSON string, closed or cut off: possessive, so linear for every input."""
_HUGE_DIGITS: Final = 400
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


def undecodable(value: bytes) -> NoReturn:
    """Raise the reason why ``value`` is not a JSON document that we take, having found that it is not."""
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise BadRecord("not_utf8", "$", f"invalid UTF-8 at byte {error.start}") from None
    if _depth(text) > MAX_DEPTH:
        raise BadRecord("too_deep", "$", f"nested deeper than {MAX_DEPTH}")
    try:
        document = json.loads(text, parse_constant=lambda name: math.nan, parse_int=_bounded_int)
    except json.JSONDecodeError as error:
        raise BadRecord("not_json", "$", f"malformed at character {error.pos}") from None
    except (ValueError, RecursionError):
        raise BadRecord("not_json", "$", "malformed") from None
    _find_unencodable(document, "$")
    raise BadRecord("not_json", "$", "malformed")


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in re.findall(r"[\[\]{}]", _STRINGS.sub("", text)):
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


class _HugeInt(float):
    """Stands for an integer of more digits than any number here has."""


def _bounded_int(digits: str) -> int | float:
    return int(digits) if len(digits) < _HUGE_DIGITS else _HugeInt(0.0)


def _find_unencodable(value: Any, path: str) -> None:
    """Raise at the first number that is not finite or string with a lone surrogate; the depth is bounded."""
    if isinstance(value, dict):
        for name, child in value.items():
            inner = f"{path}.{name}" if _SAFE_NAME.fullmatch(name) else f"{path}[...]"
            _find_unencodable(name, inner)
            _find_unencodable(child, inner)
    elif isinstance(value, list):
        for child in value:
            _find_unencodable(child, f"{path}[...]")
    elif isinstance(value, _HugeInt):
        raise BadRecord("out_of_range", path, f"an integer of more than {_HUGE_DIGITS} digits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadRecord("not_finite", path, "NaN, an infinity, or beyond the range of a double")
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadRecord("lone_surrogate", path, "half of a UTF-16 surrogate pair") from None
