"""Files of events, read as a stream in bounded memory: JSON lines or Parquet, plain, gzip or zstd.

The bytes of a line are handed on as they are, so that a file meets the same decoder as live records and a bad
line becomes the same dead letter. The compression is recognised by content, not by name.

A line says what it is in ``kind``: ``interaction``, ``feedback`` or ``change``; absent means interaction. That
field is taken out again. A change has a ``kind`` of its own (deploy, prompt, model …), which stays, and which
makes a line a change without more words. Any other ``kind`` is left where it is, on an interaction.
"""

from __future__ import annotations

import gzip
import io
import math
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from streams.events import CHANGE_KINDS, MAX_RECORD_BYTES, STREAMS, Stream, epoch_ms

STDIN: Final = Path("-")
_BLOCK_BYTES: Final = 1 << 20
_COMPRESSED_BLOCK_BYTES: Final = 1 << 16
_PARQUET_ROWS: Final = 1_000
MAX_TEXT_LINE_BYTES: Final = 1 << 24
_ZSTD, _GZIP, _PARQUET = b"\x28\xb5\x2f\xfd", b"\x1f\x8b", b"PAR1"
_ZSTD_MAX_WINDOW_BYTES: Final = 1 << 27


class UnreadableFile(Exception):
    """A file cannot be opened or read on; the message says which, where, and what to do next."""


class FileRecord(NamedTuple):
    """One record of a file."""

    stream: Stream
    value: bytes
    path: Path
    line: int
    """Line (JSON lines) or row (Parquet), from 1."""
    position_bytes: int
    """How far reading has come, of ``total_bytes`` over all files; in compressed bytes, rounded to a block."""


class Line(NamedTuple):
    """One raw line of a file, without its line end."""

    number: int
    data: bytes
    position_bytes: int


def total_bytes(paths: Iterable[Path]) -> int | None:
    """Size of the files together, for a progress bar; ``None`` when one of them is standard input."""
    sizes = []
    for path in paths:
        if path == STDIN:
            return None
        try:
            sizes.append(path.stat().st_size)
        except OSError as error:
            raise _unreadable(path, error) from None
    return sum(sizes)


def read_events(paths: Iterable[Path]) -> Iterator[FileRecord]:
    """The records of the files, one file after another.

    Empty lines are skipped. A line beyond the size limit is cut just above it, so that the decoder refuses it as
    ``too_large`` without the whole of it in memory.

    Raises:
        UnreadableFile: the file is missing, is not what its first bytes say, or ends early.
    """
    done_bytes = 0
    for path in paths:
        if is_parquet(path):
            for number, row, position in read_rows(path):
                value = msgspec.json.encode(row, enc_hook=str)
                stream, value = classify(value)
                yield FileRecord(stream, value, path, number, done_bytes + position)
        else:
            for number, line, position in read_lines(path):
                stream, value = classify(line)
                yield FileRecord(stream, value, path, number, done_bytes + position)
        done_bytes += 0 if path == STDIN else path.stat().st_size


_STREAMS: Final[dict[str, Stream]] = {
    **{stream: stream for stream in STREAMS},
    **dict.fromkeys(CHANGE_KINDS, "change"),
}
_TOP_LEVEL: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def classify(line: bytes) -> tuple[Stream, bytes]:
    """What a line is, and its bytes without the discriminator. Unreadable lines are interactions, unchanged."""
    if b'"kind"' not in line:
        return "interaction", line
    try:
        fields = _TOP_LEVEL.decode(line)
        kind = msgspec.json.decode(fields["kind"])
        stream = _STREAMS[kind]
    except (msgspec.DecodeError, UnicodeError, RecursionError, KeyError, TypeError):
        return "interaction", line
    if kind in CHANGE_KINDS:
        return stream, line
    del fields["kind"]
    return stream, msgspec.json.encode(fields)


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a text file that are not blank, with their numbers."""
    with _opened(path) as (raw, reader):
        for number, data in enumerate(_lines(reader, path), start=1):
            if data and not data.isspace():
                yield Line(number, data, _position(raw, path))


def read_text(path: Path) -> Iterator[Line]:
    """Every line of a text file with its line end, as parsers of multi-line cells need it."""
    with _opened(path) as (raw, reader):
        for number, data in enumerate(_lines(reader, path, MAX_TEXT_LINE_BYTES), start=1):
            yield Line(number, data + b"\n", _position(raw, path))


def _lines(reader: BinaryIO, path: Path, limit: int = MAX_RECORD_BYTES + 1) -> Iterator[bytes]:
    rest = b""
    while block := _read(reader, path):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()[:limit]
        for line in lines:
            yield line[:limit].removesuffix(b"\r")
    if rest:
        yield rest.removesuffix(b"\r")


def _read(reader: BinaryIO, path: Path) -> bytes:
    try:
        return reader.read(_BLOCK_BYTES)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise UnreadableFile(f"{path}: cannot be read to its end ({error}): is it complete?") from None


class _ZstdReader:
    """Decompresses frame after frame; unlike the library's own reader it notices a file that ends early."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._library = zstandard.ZstdDecompressor(max_window_size=_ZSTD_MAX_WINDOW_BYTES)
        self._frame = self._library.decompressobj()
        self._unused = b""
        self._in_frame = False

    def read(self, _size: int) -> bytes:
        while True:
            block = self._unused or self._raw.read(_COMPRESSED_BLOCK_BYTES)
            self._unused = b""
            if not block:
                if self._in_frame:
                    raise EOFError("it ends in the middle of a zstd frame")
                return b""
            data = self._frame.decompress(block)
            self._in_frame = not self._frame.eof
            if self._frame.eof:
                self._unused = self._frame.unused_data
                self._frame = self._library.decompressobj()
            if data:
                return data


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The file itself, for its position, and a reader of its decompressed bytes."""
    try:
        raw = cast(io.BufferedReader, sys.stdin.buffer if path == STDIN else path.open("rb"))
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        magic = raw.peek(4)[:4]
        if magic.startswith(_ZSTD):
            yield raw, cast(BinaryIO, _ZstdReader(raw))
        elif magic.startswith(_GZIP):
            with gzip.open(raw) as unzipped:
                yield raw, cast(BinaryIO, unzipped)
        else:
            yield raw, raw
    except IsADirectoryError as error:
        raise _unreadable(path, error) from None
    finally:
        if path != STDIN:
            raw.close()


def _position(raw: BinaryIO, path: Path) -> int:
    return 0 if path == STDIN else raw.tell()


def _unreadable(path: Path, error: OSError) -> UnreadableFile:
    return UnreadableFile(f"{path}: {error.strerror or error}: give the path of a file that can be read")


def is_parquet(path: Path) -> bool:
    """Whether the file begins like Parquet. Raises ``UnreadableFile``."""
    if path == STDIN:
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) == _PARQUET
    except OSError as error:
        raise _unreadable(path, error) from None


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any], int]]:
    """The rows of a Parquet file: number from 1, the columns that have a value, and the position in bytes.

    Times become epoch milliseconds (UTC where the column names no zone); NaN is what data frames write for
    "missing" and is left out.
    """
    size_bytes = path.stat().st_size
    try:
        with pq.ParquetFile(path) as file:
            rows_total = max(file.metadata.num_rows, 1)
            number = 0
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    present = {name: _plain(value) for name, value in row.items() if not _is_missing(value)}
                    yield number, present, size_bytes * number // rows_total
    except (pa.ArrowException, OSError) as error:
        raise UnreadableFile(f"{path}: not readable as Parquet ({error}): is it complete?") from None


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return epoch_ms(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if not _is_missing(inner)}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and math.isinf(value):
        return msgspec.Raw(b"1e999" if value > 0 else b"-1e999")
    return value


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """A file to write lines to, compressed as its name says (.gz, .zst); ``-`` is standard output.

    The file appears under its name when all is written, and not at all when writing fails.
    """
    if path == STDIN:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as raw:
            if path.suffix == ".zst":
                with zstandard.ZstdCompressor(level=6).stream_writer(raw, closefd=False) as writer:
                    yield writer
            elif path.suffix == ".gz":
                # No name and no time in the header: equal events give equal files.
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as zipped:
                    yield cast(BinaryIO, zipped)
            else:
                yield raw
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
