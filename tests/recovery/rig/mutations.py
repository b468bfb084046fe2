"""Records as hostile or broken producers send them: mutations of good ones, and a grammar of nasty JSON."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

NASTY: Final = (
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"-1",
    b"9" * 500,
    b"9" * 5_000,
    b"1e308",
    b"0." + b"0" * 400 + b"1",
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000\\u001b[2J\\u202e"',
    b'"\x01\x1b"',
    '"\u202e\u2066\ufeff"'.encode(),
    b'"\xff\xfe"',
    b'"' + b"x" * 40_000 + b'"',
    b"[]",
    b"{}",
    b"null",
    b"true",
    b'"2026-13-45T99:99:99Z"',
    b'{"a":' * 40 + b"1" + b"}" * 40,
    b"[" * 3_000 + b"]" * 3_000,
)
"""Values that stand where a good one was."""
WHOLE: Final = (
    b"",
    b"null",
    b"\xef\xbb\xbf{}",
    '{"event_id":"e"}'.encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"[]" * 130_000,
    b"[" + b"1," * 120_000 + b"NaN]",
    b"[" + b"{}," * 80_000 + b"1]",
    b'{"a":"' + b"\\" * 200_000,
    b'{"a":"' + b"x" * 300_000 + b'"}',
    b"{" + b",".join(b'"k%d":1' % k for k in range(20_000)) + b"}",
    b'{"metadata":"' + b'{\\"a\\":' * 20_000 + b'"}',
    b"-" * 200_000,
    b"9" * 200_000,
    b'"' * 200_000,
)
"""Records of their own, most of them nearly as long as a record may be."""


def mutated(seeds: Sequence[bytes], rng: random.Random) -> Iterator[bytes]:
    """Endless mutations of the seeds; one in a thousand is one of ``WHOLE``."""
    while True:
        value = rng.choice(seeds)
        kind = rng.random()
        if kind < 0.001:
            yield rng.choice(WHOLE)
        elif kind < 0.3:
            yield _flipped(value, rng)
        elif kind < 0.45:
            yield value[: rng.randrange(len(value))]
        elif kind < 0.6:
            other = rng.choice(seeds)
            yield value[: rng.randrange(len(value))] + other[rng.randrange(len(other)) :]
        elif kind < 0.65:
            yield rng.randbytes(rng.randrange(1, 300))
        elif kind < 0.7:
            yield value[:-1] + b"," + value[1:]  # every name twice
        else:
            yield _other_value(value, rng)


def _flipped(value: bytes, rng: random.Random) -> bytes:
    changed = bytearray(value)
    for _ in range(rng.randrange(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _other_value(value: bytes, rng: random.Random) -> bytes:
    """A nasty value in the place of one of the fields'."""
    parts = value.split(b":")
    at = rng.randrange(1, len(parts)) if len(parts) > 1 else 0
    _, comma, rest = parts[at].partition(b",")
    parts[at] = rng.choice(NASTY) + comma + rest
    return b":".join(parts)
