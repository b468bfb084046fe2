"""Takes people's data out of what is kept: secrets and personal numbers out of text, and texts out of records.

Two uses. ``redact_text`` masks what identifies or authorises somebody inside a text that may be kept.
``redact_head`` goes further, for dead letters: there no prompt or answer may survive, whether the bytes are
JSON, cut-off JSON or anything else, so only what looks like structure, a number or an identifier is left.

A flood of bad records must not keep good ones waiting. Records of one producer are alike, so a head is taken apart
at ``,"``, where JSON begins another name: most pieces were seen before and are remembered, and most others are a
name with one plain value. Only what is neither is read token by token. Where a string does not end within its
piece, nobody knows any longer what is text and what is structure: nothing is shown from there on.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

MAX_KEPT_CHARS: Final = 64
MAX_KEPT_SPACES: Final = 2
"""A JSON string with more of either is taken for text, whatever its name."""

_PATTERNS: Final = (
    ("email", re.compile(r"(?<![\w.+%\-])[\w.+%\-]++@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,8}")),
    ("secret", re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=\-]{6,}")),
    ("secret", re.compile(r"\beyJ[\w\-]{8,}(?:\.[\w\-]*){1,2}")),
    (
        "secret",
        re.compile(r"\b(?:sk|pk|rk|hf|ghp|gho|ghs|glpat|xox[abeprs]|AKIA|ASIA|AIza)[_\-]?[\w\-]{12,}"),
    ),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")),
    ("number", re.compile(r"(?<![\w\-])\+?\(?\d(?:[ ().\-/]{0,2}\d){8,}(?![\w\-])")),
)
"""Masked in this order. A personal number has nine digits or more (dates have eight), separated by at most two
characters, and stands alone: digits inside hexadecimal ids and UUIDs do not count."""

_PRIVATE_NAME: Final = re.compile(
    r"(?i)(?:^|[._\-])(?:input|output|prompt|completion|messages?|content|text|query|question|answer|arguments"
    r"|args|result|explanation|summary|documents?|value|user|user_?id|enduser|e?mail|phone|name_?full"
    r"|authorization|api_?key|password|passwd|secret|token|access_token|cookie)(?:$|[.\[]\d|[._]?id$)"
)
_PUBLIC_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_TIME_NAME: Final = re.compile(r"(?:_at|_time|_ms|UnixNano|_nano|timestamp)$")

_TOKEN: Final = re.compile(
    r'(?P<string>"(?P<inside>(?:[^"\\]++|\\.)*+)(?P<closed>"?))'
    r"|(?P<number>-?\d[\d.eE+\-]*+)"
    r'|(?P<mark>[\s{}\[\],:]+)|(?P<word>[^\s"{}\[\],:]+)',
    re.DOTALL,
)
_NOT_ASCII: Final = re.compile(r"[^ -~]")
_LITERALS: Final = frozenset(
    {"true", "false", "null", "NaN", "Infinity", "-Infinity", "None", "True", "False", "-"}
)


_HEX: Final = re.compile(r"(?=[0-9\-]*[a-f])[0-9a-f\-]+")
"""Ids and UUIDs: with a letter among the digits none of the patterns matches."""
_MAX_TOKENS: Final = 128
"""Of a piece; it seldom has more than ten. What is behind them is not shown."""
_PERSONAL_DIGITS: Final = 9
_SHORTEST_CHARS: Final = 9
"""Of what a pattern matches, but for an e-mail address."""
_NUMBER: Final = re.compile(r"-?[0-9][0-9.eE+\-]*")


def redact_text(text: str) -> str:
    """``text`` with e-mail addresses, tokens and keys, IBANs, and card- or phone-like numbers masked."""
    if len(text) < _SHORTEST_CHARS and "@" not in text:
        return text
    for kind, pattern in _PATTERNS:
        text = pattern.sub(f"<{kind}>", text)
    return text


class _Shown(NamedTuple):
    """What may be shown of a piece."""

    text: str
    name: str
    """The last one in it: values that follow without a name belong to it."""
    closed: bool
    """Every string in it has an end, and all of it was read."""


def redact_head(head: str) -> str:
    """The beginning of a record that may be shown: structure, names, numbers and short identifiers."""
    separator = ', "' if ', "' in head else ',"'
    first, *rest = head.split(separator)
    begin = _member(first[2:]) if first.startswith('{"') else ""
    shown = [begin and f'{{"{begin}', *map(_member, rest)]
    if not all(shown):
        shown = _others(shown, [first, *(f'"{piece}' for piece in rest)], separator)
    return separator.join(shown)


def _others(shown: list[str], pieces: list[str], separator: str) -> list[str]:
    """``shown`` with the pieces that have no name of their own, and without what follows one that is broken."""
    name, known_to, position = "", -1, -1
    while "" in shown[position + 1 :]:
        position = shown.index("", position + 1)
        if known_to < position - 1:
            name = _last_name(pieces[position - 1])
        text, name, closed = _by_token(pieces[position], name)
        known_to = position
        shown[position] = _printable(text[1:] if position else text)
        if not closed:
            hidden = len(separator.join(pieces[position + 1 :]))
            return [*shown[:position], f"{shown[position]}<{hidden} chars>" if hidden else shown[position]]
    return shown


def _last_name(piece: str) -> str:
    """Of a piece that could be read."""
    name, _, value = piece.lstrip('{"').partition('":')
    return _by_token(piece, "").name if '":' in value else name


@lru_cache(maxsize=4096)
def _member(piece: str) -> str:
    """What follows a quote: ``tokens_in":12``, or more. Empty when it has no name of its own or is broken."""
    name, colon, value = piece.partition('":')
    if not colon or (kind := _kind_of(name)) is None:
        return ""
    gap = " " if value[:1] == " " else ""
    value = value[len(gap) :]
    if value[-1:] == '"' and value[0] == '"' and value.count('"') == 2 and "\\" not in value:
        inside = value[1:-1]
        if kind == "private" or _is_text(inside):
            value = _mask(inside, '"')
        elif not _HEX.fullmatch(inside):
            value = f'"{redact_text(inside)}"'
    elif _NUMBER.fullmatch(value):
        if len(value) >= _PERSONAL_DIGITS and kind != "time":
            value = redact_text(value)
    elif value not in _LITERALS:
        text, _, closed = _by_token(f'"{piece}', "")
        return _printable(text[1:]) if closed else ""
    return _printable(f'{name}":{gap}{value}')


@lru_cache(maxsize=1024)
def _kind_of(name: str) -> str | None:
    """What a name says of its value: ``private``, ``time`` or ``plain``; None for what may not be shown itself."""
    if not _PUBLIC_NAME.fullmatch(name):
        return None
    if _PRIVATE_NAME.search(name):
        return "private"
    return "time" if _TIME_NAME.search(name) else "plain"


def _by_token(piece: str, name: str) -> _Shown:
    """Anything at all, after a value of ``name``."""
    shown: list[str] = []
    tokens = list(islice(_TOKEN.finditer(piece), _MAX_TOKENS))
    hidden = len(piece) - tokens[-1].end() if tokens else 0
    for position, token in enumerate(tokens):
        text, kind = token[0], token.lastgroup
        if kind == "string":
            inside, closed = token["inside"], token["closed"]
            if closed and _is_name(tokens, position):
                name = inside
                text = text if _PUBLIC_NAME.fullmatch(inside) else _mask(inside, '"')
            elif _PRIVATE_NAME.search(name) or not closed or _is_text(inside):
                text = _mask(inside, closed)
            else:
                text = f'"{redact_text(inside)}"'
        elif kind == "number":
            if not _in_json(tokens, position):
                text = f"<{len(text)} chars>"
            elif not _TIME_NAME.search(name):
                text = redact_text(text)
        elif kind == "word" and text not in _LITERALS:
            text = f"<{len(text)} chars>"
        shown.append(text)
    if hidden:
        shown.append(f"<{hidden} chars>")
    return _Shown("".join(shown), name, not tokens or (tokens[-1]["closed"] != "" and not hidden))


def _is_name(tokens: list[re.Match[str]], position: int) -> bool:
    """A string followed by a colon."""
    following = tokens[position + 1] if position + 1 < len(tokens) else None
    return following is not None and following["mark"] is not None and following[0].lstrip().startswith(":")


def _in_json(tokens: list[re.Match[str]], position: int) -> bool:
    """A number where JSON has one; digits after anything else are part of a text."""
    return (
        position > 0
        and tokens[position - 1]["mark"] is not None
        and tokens[position - 1][0].rstrip()[-1:]
        in (
            ":",
            ",",
            "[",
        )
    )


def _is_text(inside: str) -> bool:
    return len(inside) > MAX_KEPT_CHARS or inside.count(" ") > MAX_KEPT_SPACES or "\\u0020" in inside


def _mask(inside: str, closed: str) -> str:
    return f'"<{len(inside)}{"" if closed else "+"} chars>{closed}'


def _printable(text: str) -> str:
    """Control, format and surrogate characters would let a record write on the reader's terminal."""
    return text if text.isprintable() else _NOT_ASCII.sub(_printable_char, text)


def _printable_char(char: re.Match[str]) -> str:
    return char[0] if char[0].isprintable() else " "
