"""Takes people's data out of what is kept: secrets and personal numbers out of text, and texts out of records.

Two uses. ``redact_text`` masks what identifies or authorises somebody inside a text that may be kept.
``redact_head`` goes further, for dead letters: there no prompt or answer may survive, whether the bytes are
JSON, cut-off JSON or anything else, so only what looks like structure, a number or an identifier is left.
"""

from __future__ import annotations

import re
from typing import Final

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
_LITERALS: Final = frozenset(
    {"true", "false", "null", "NaN", "Infinity", "-Infinity", "None", "True", "False", "-"}
)


def redact_text(text: str) -> str:
    """``text`` with e-mail addresses, tokens and keys, IBANs, and card- or phone-like numbers masked."""
    for kind, pattern in _PATTERNS:
        text = pattern.sub(f"<{kind}>", text)
    return text


def redact_head(head: str) -> str:
    """The beginning of a record that may be shown: structure, names, numbers and short identifiers."""
    shown: list[str] = []
    name = ""
    tokens = list(_TOKEN.finditer(head))
    for position, token in enumerate(tokens):
        text = token[0]
        if token["string"] is not None:
            inside, closed = token["inside"], token["closed"]
            if closed and _is_name(tokens, position):
                name = inside
                text = text if _PUBLIC_NAME.fullmatch(inside) else _mask(inside, '"')
            elif _PRIVATE_NAME.search(name) or not closed or _is_text(inside):
                text = _mask(inside, closed)
            else:
                text = f'"{redact_text(inside)}"'
        elif token["number"] is not None:
            if not _in_json(tokens, position):
                text = f"<{len(text)} chars>"
            elif not _TIME_NAME.search(name):
                text = redact_text(text)
        elif token["word"] is not None and text not in _LITERALS:
            text = f"<{len(text)} chars>"
        shown.append(text)
    return _printable("".join(shown))


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
    return "".join(char if char.isprintable() else " " for char in text)
