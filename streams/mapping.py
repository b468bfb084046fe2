"""How a foreign column becomes one of our fields: ``field=Column:conversion``, parsed and applied.

The type of the target decides what a text means; a conversion says what the types cannot know: the unit of a
duration, the format of a time, which word is a yes.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

from streams.events import STRUCTS, Stream, epoch_ms

STARTED_AT: Final = "started_at"
"""A target that is no field: when it began. ``occurred_at`` is then ``started_at`` plus ``duration_ms``."""
MS_OF: Final = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1_000.0, "min": 60_000.0, "h": 3_600_000.0}
_YES: Final = frozenset({"true", "t", "yes", "y", "1", "1.0", "on"})
_NO: Final = frozenset({"false", "f", "no", "n", "0", "0.0", "off"})
_NOTHING: Final = frozenset({"", "nan", "null", "none", "na", "n/a", "-"})
"""What tables write where a number, a boolean or a time is missing."""
_CALL: Final = re.compile(r"^(contains|times)\((.*)\)$", re.DOTALL)


class MappingError(ValueError):
    """A ``--map`` or ``--set`` that cannot be used; the message says what was expected."""


class Unconvertible(ValueError):
    """A value that a mapping cannot read; the message says what was expected."""


class Target(NamedTuple):
    """A field as an import sees it."""

    name: str
    kind: str
    """``text``, ``integer``, ``number``, ``boolean``, ``millis`` or ``time``."""


class Mapping(NamedTuple):
    """One ``--map``: where from, where to, and through what."""

    target: Target
    column: str
    conversion: str | None


def targets_of(stream: Stream) -> dict[str, Target]:
    """The fields of a record that a column can fill, by name; structured ones are left out."""
    info = inspect.type_info(STRUCTS[stream])
    assert isinstance(info, inspect.StructType)  # noqa: S101 - the table of structs says so
    found = {}
    for field in info.fields:
        kind = _kind(field.encode_name, list(_alternatives(field.type)))
        if kind is not None:
            found[field.encode_name] = Target(field.encode_name, kind)
    if stream == "interaction":
        found[STARTED_AT] = Target(STARTED_AT, "time")
    return found


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    if isinstance(kind, inspect.UnionType):
        return [inner for option in kind.types for inner in _alternatives(option)]
    return [kind]


def _kind(name: str, alternatives: list[inspect.Type]) -> str | None:
    types = {type(alternative) for alternative in alternatives}
    if inspect.DateTimeType in types:
        return "time"
    if name.endswith("_ms"):
        return "millis"
    for found, kind in (
        (inspect.StrType, "text"),
        (inspect.LiteralType, "text"),
        (inspect.FloatType, "number"),
        (inspect.BoolType, "boolean"),
        (inspect.IntType, "integer"),
    ):
        if found in types:
            return kind
    return None


def target_of(stream: Stream, name: str) -> Target:
    """The field called ``name``, or a free dimension (``attributes.<name>``). Raises ``MappingError``."""
    if name.startswith("attributes.") and len(name) > len("attributes."):
        return Target(name, "text")
    targets = targets_of(stream)
    if name not in targets:
        near = difflib.get_close_matches(name, targets, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `tidewatch schema` for the fields"
        raise MappingError(
            f"{name} is no field of {stream} records; {hint} A free dimension is attributes.<name>"
        )
    return targets[name]


def parse_map(stream: Stream, text: str) -> Mapping:
    """``field=Column`` or ``field=Column:conversion``. Raises ``MappingError``."""
    name, equals, source = text.partition("=")
    if not (equals and name and source):
        raise MappingError(f"--map {text}: expected field=Column or field=Column:conversion")
    target = target_of(stream, name.strip())
    column, conversion = _split(source)
    if conversion is not None:
        _check_conversion(target, conversion, text)
    return Mapping(target, column, conversion)


def _split(source: str) -> tuple[str, str | None]:
    """Columns may hold colons: what follows one is a conversion only if it reads like one."""
    for match in re.finditer(":", source):
        column, after = source[: match.start()], source[match.end() :]
        if column and (
            after.startswith("%") or after in _CONVERSIONS or after in MS_OF or _CALL.match(after)
        ):
            return column, after
    return source, None


def _check_conversion(target: Target, conversion: str, text: str) -> None:
    fits = {
        "time": conversion in MS_OF or conversion.startswith("%"),
        "millis": conversion in MS_OF,
        "boolean": conversion in ("bool", "not") or conversion.startswith("contains("),
        "number": conversion in ("not", "bool") or conversion.startswith("times("),
        "integer": conversion.startswith("times("),
        "text": conversion in ("lower", "bool", "not"),
    }[target.kind]
    if not fits:
        raise MappingError(
            f"--map {text}: {conversion} does not make a {target.kind}, which {target.name} is"
        )
    if conversion.startswith("times(") and _factor(conversion) is None:
        raise MappingError(f"--map {text}: expected times(NUMBER)")


def _factor(conversion: str) -> float | None:
    try:
        factor = float(conversion[len("times(") : -1])
    except ValueError:
        return None
    return factor if math.isfinite(factor) else None


_CONVERSIONS: Final = frozenset({"bool", "not", "lower"})


class Clock:
    """Reads times, and remembers whether it had to take one for UTC.

    ``start_ms`` makes numbers relative: milliseconds (or the unit that the mapping names) after the start.
    """

    def __init__(self, start_ms: int | None = None) -> None:
        self.start_ms = start_ms
        self.assumed_utc = 0

    def read(self, value: object, conversion: str | None) -> int:
        """Epoch ms of a cell. Raises ``Unconvertible``."""
        if isinstance(value, str) and conversion is not None and conversion.startswith("%"):
            try:
                return self._zoned(datetime.strptime(value, conversion))
            except ValueError:
                raise Unconvertible(f"a time like {conversion}") from None
        number = _maybe_number(value)
        if number is not None:
            at_ms = math.floor(number * MS_OF[conversion or "ms"] + 1e-6)
            return at_ms if self.start_ms is None else self.start_ms + at_ms
        if conversion is not None and conversion in MS_OF:
            raise Unconvertible(f"a number ({conversion})")
        if isinstance(value, str):
            return self._zoned(_parse_time(value))
        raise Unconvertible("a time")

    def _zoned(self, moment: datetime) -> int:
        if moment.tzinfo is None:
            self.assumed_utc += 1
            moment = moment.replace(tzinfo=UTC)
        return epoch_ms(moment)


def _parse_time(text: str) -> datetime:
    """RFC 3339 and the other forms of ISO 8601; the zone may be missing."""
    for parse in (_rfc3339, datetime.fromisoformat):
        try:
            return parse(text.strip())
        except ValueError:  # msgspec's errors are of this class too
            continue
    raise Unconvertible("a time: ISO 8601, or name its format as :%d.%m.%Y …, or its unit as :s or :ms")


def _rfc3339(text: str) -> datetime:
    """Any number of digits after the second, which ``fromisoformat`` does not take."""
    return msgspec.convert(text, datetime)


def _maybe_number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if abs(value) < 1e300 else None
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def convert(value: Any, mapping: Mapping, clock: Clock) -> object:
    """A cell as the value of its field; ``None`` when the cell is empty. Raises ``Unconvertible``."""
    kind, conversion = mapping.target.kind, mapping.conversion
    if value is None:
        return None
    if isinstance(value, str) and (value == "" or (kind != "text" and value.strip().lower() in _NOTHING)):
        return None
    if kind == "time":
        return clock.read(value, conversion)
    if conversion is not None and conversion.startswith("contains("):
        return conversion[len("contains(") : -1].lower() in str(value).lower()
    if kind == "boolean" or conversion in ("bool", "not"):
        yes = _boolean(value) != (conversion == "not")
        return {"number": float(yes), "text": str(yes).lower()}.get(kind, yes)
    return _CONVERT[kind](value, conversion)


def _boolean(value: object) -> bool:
    word = str(value).strip().lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise Unconvertible("yes or no (true, false, 1, 0 …)")


def _text(value: object, conversion: str | None) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return text.lower() if conversion == "lower" else text


def _number(value: object, conversion: str | None) -> float:
    number = _maybe_number(value)
    if number is None:
        raise Unconvertible("a number")
    factor = _factor(conversion) if conversion is not None else None
    return number if factor is None else number * factor


def _integer(value: object, conversion: str | None) -> int:
    number = _number(value, conversion)
    if conversion is not None:
        return round(number)
    if not number.is_integer():
        raise Unconvertible("an integer")
    return int(number)


def _millis(value: object, conversion: str | None) -> float:
    # Rounded to a millionth: what is left of decimal fractions in binary is no measurement.
    return round(_number(value, None) * MS_OF[conversion or "ms"], 6)


_CONVERT: Final[dict[str, Callable[[Any, str | None], object]]] = {
    "text": _text,
    "number": _number,
    "integer": _integer,
    "millis": _millis,
}


def parse_set(stream: Stream, text: str) -> tuple[str, object]:
    """``field=value`` for every row. Raises ``MappingError``."""
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise MappingError(f"--set {text}: expected field=value")
    target = target_of(stream, name.strip())
    try:
        made = convert(value, Mapping(target, name, None), Clock())
    except Unconvertible as error:
        raise MappingError(f"--set {text}: expected {error}") from None
    if made is None:
        raise MappingError(f"--set {text}: the value is empty")
    return target.name, made
