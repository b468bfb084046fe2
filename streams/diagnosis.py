"""Why a record is bad: one stable reason each, the path of the field, and a detail without its value."""

from __future__ import annotations

import json
import math
import re
from typing import Final, Literal, NoReturn

import msgspec

from streams.events import MAX_CLOCK_AHEAD_MS, MAX_DEPTH, MAX_FIELDS, MAX_RECORD_BYTES

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
    "too_large": f"more than {MAX_RECORD_BYTES // 1024} KiB, or more than {MAX_FIELDS} fields",
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


_AT: Final = " - at `$"
_MISSING: Final = re.compile(r"^Object missing required field `(\w+)`")
_BOUND: Final = re.compile(r"^Expected `[^`]*` (?:[<>]=?|of length|matching|that's)|out of range")


def from_validation(error: msgspec.ValidationError) -> BadRecord:
    """The reason of a type or bound that msgspec found violated. Its messages hold no values, only types."""
    what, _, inner = str(error).partition(_AT)
    path = f"${inner[:-1]}"
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


_HUGE_DIGITS: Final = 400
_HUGE_BITS: Final = 1320
_HUGE: Final = 10**_HUGE_DIGITS
"""Stands for every number with more digits: Python takes its time with those, and refuses the longest."""
_MAX_SEARCHED_BYTES: Final = 32_768
"""Longer records get their reason without its path: Python objects of all their values cost milliseconds."""
_CONSTANTS: Final = (b"-Infinity", b"Infinity", b"NaN")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_VALIDATOR: Final = msgspec.json.Decoder(msgspec.Raw)
"""Walks over a document without building anything of it."""
_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_PAIR_BYTES: Final = 16
_BYTE: Final = re.compile(r"\(byte ([0-9]+)\)$")


def _bounded(digits: str) -> int:
    return int(digits) if len(digits) <= _HUGE_DIGITS else _HUGE


_LENIENT: Final = json.JSONDecoder(parse_constant=float, parse_int=_bounded)
"""Takes NaN, infinities, halves of surrogate pairs and integers of any length."""


def undecodable(value: bytes, error: Exception) -> NoReturn:
    """Raise the reason why ``value`` is not a JSON document that we take; ``error`` is what the decoder raised."""
    if isinstance(error, RecursionError):
        raise BadRecord("too_deep", "$", f"nested deeper than {MAX_DEPTH}") from None
    try:
        text = value.decode()
    except UnicodeDecodeError as wrong:
        raise BadRecord("not_utf8", "$", f"invalid UTF-8 at byte {wrong.start}") from None
    if type(error) is msgspec.DecodeError:
        message = str(error)
        if not _sound_otherwise(value, message):
            raise BadRecord("not_json", "$", message)  # these are of positions, never of values
    if len(value) > _MAX_SEARCHED_BYTES:
        _without_path(value, error)
    try:
        document = _LENIENT.decode(text)
    except json.JSONDecodeError as wrong:
        raise BadRecord("not_json", "$", f"malformed at character {wrong.pos}") from None
    except RecursionError:
        raise BadRecord("too_deep", "$", f"nested deeper than {MAX_DEPTH}") from None
    except ValueError:
        raise BadRecord("not_json", "$", "malformed") from None
    if text.count("[") + text.count("{") > MAX_DEPTH:  # fewer cannot nest deeper
        check_depth(document)
    _find_unencodable(document)
    if any(constant in value for constant in _CONSTANTS):
        raise BadRecord("not_finite", "$", "NaN or an infinity")
    raise BadRecord("not_json", "$", "malformed")


def not_an_object(value: bytes) -> NoReturn:
    """Raise the reason of what does not begin like an object; nothing is built of it, however much it is."""
    try:
        _VALIDATOR.decode(value)
        value.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        undecodable(value, error)
    raise BadRecord("not_an_object", "$", "expected one JSON object")


def _sound_otherwise(value: bytes, message: str) -> bool:
    """Whether this would be JSON, were there no constants and surrogates that JSON does not have.

    ``message`` says where decoding ended: if neither of them is there, nothing else needs to be tried.
    """
    if at := _BYTE.search(message):
        end = int(at[1])
        if value[end : end + 1] not in (b"N", b"I") and "surrogate" not in message:
            return False
    elif (
        b"\\u" not in value[-_PAIR_BYTES:]
    ):  # cut off, or the first half of a pair without room for the other
        return False
    scrubbed = value
    for constant in _CONSTANTS:
        scrubbed = scrubbed.replace(constant, b"null")
    if b"\\u" in value:
        scrubbed = _SURROGATE.sub(rb"\\u0041", scrubbed)
    if scrubbed == value:
        return False
    try:
        _VALIDATOR.decode(scrubbed)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _without_path(value: bytes, error: Exception) -> NoReturn:
    """Raise the reason of a long record that is sound otherwise, or has a number out of range."""
    what = str(error)
    if what.startswith("Integer"):
        raise BadRecord("out_of_range", "$", f"an integer of more than {_HUGE_DIGITS} digits")
    if "surrogate" in what or not (
        isinstance(error, msgspec.ValidationError) or any(constant in value for constant in _CONSTANTS)
    ):
        raise BadRecord("lone_surrogate", "$", "half of a UTF-16 surrogate pair")
    raise BadRecord("not_finite", "$", "NaN, an infinity, or beyond the range of a double")


def _find_unencodable(document: object) -> None:
    """Raise at a number that is not finite or a string with a lone surrogate."""
    waiting: list[tuple[str, object]] = [("$", document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            for name, child in value.items():
                if not (_is_ordinary(child) and name.isascii()):
                    inner = f"{path}.{name}" if _SAFE_NAME.fullmatch(name) else f"{path}[...]"
                    waiting += ((inner, child), (inner, name))
        elif isinstance(value, list):
            waiting += ((f"{path}[...]", child) for child in value if not _is_ordinary(child))
        else:
            _check_encodable(value, path)


def _is_ordinary(value: object) -> bool:
    """Quick to tell, and true of nearly all values: it cannot be what is wrong."""
    kind = type(value)
    if kind is str:
        return value.isascii()  # type: ignore[attr-defined,no-any-return]
    if kind is float:
        return math.isfinite(value)  # type: ignore[arg-type]
    if kind is int:
        return value.bit_length() <= _HUGE_BITS  # type: ignore[attr-defined,no-any-return]
    return kind is bool or value is None


def _check_encodable(value: object, path: str) -> None:
    if isinstance(value, int) and value.bit_length() > _HUGE_BITS:
        raise BadRecord("out_of_range", path, f"an integer of more than {_HUGE_DIGITS} digits")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadRecord("not_finite", path, "NaN, an infinity, or beyond the range of a double")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadRecord("lone_surrogate", path, "half of a UTF-16 surrogate pair") from None
