"""Event files: formats, compression, discriminators, bounds, and files that are not what they seem."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from streams.decode import BadRecord, decode_interaction
from streams.events import CHANGE_KINDS, MAX_RECORD_BYTES
from streams.files import FileRecord, UnreadableFile, classify, open_output, read_events, total_bytes
from tests.strategies import NOW_MS, encoded, interactions

LINES = [b'{"event_id":"a"}', b'{"event_id":"b","output":"x\\ny"}', b"not json", b'{"event_id":"c"}']


def records(path: Path) -> list[FileRecord]:
    return list(read_events([path]))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_lines_come_back_as_they_are(tmp_path: Path, suffix: str, end: bytes) -> None:
    path = tmp_path / f"events.jsonl{suffix}"
    separator = end or b"\n"
    with open_output(path) as file:
        file.write(separator.join([LINES[0], b"", *LINES[1:]]) + end)
    assert [(r.value, r.line) for r in records(path)] == list(zip(LINES, [1, 3, 4, 5], strict=True))
    assert records(path)[-1].position_bytes == total_bytes([path]) == path.stat().st_size


def test_compression_is_recognised_by_content(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    compressed = zstandard.compress(LINES[0] + b"\n") + zstandard.compress(
        LINES[1]
    )  # two frames, as appending makes
    path.write_bytes(compressed)
    assert [r.value for r in records(path)] == LINES[:2]
    path.write_bytes(gzip.compress(LINES[0]))
    assert [r.value for r in records(path)] == LINES[:1]


def test_positions_run_over_all_files(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in paths:
        path.write_bytes(b"\n".join(LINES))
    read = list(read_events(paths))
    assert [r.path for r in read] == [paths[0]] * 4 + [paths[1]] * 4
    positions = [r.position_bytes for r in read]
    assert positions == sorted(positions)
    assert positions[-1] == total_bytes(paths)


@pytest.mark.parametrize(
    ("line", "stream", "value"),
    [
        (b'{"a":1}', "interaction", b'{"a":1}'),
        (b'{"kind":"interaction","a":1.50}', "interaction", b'{"a":1.50}'),
        (b'{"a":1, "kind":"feedback"}', "feedback", b'{"a":1}'),
        (b'{"kind":"change","a":"\\u00e9"}', "change", b'{"a":"\\u00e9"}'),
        (b'{"kind" : "deploy","a":1}', "change", b'{"kind" : "deploy","a":1}'),
        (b'{"kind":3,"a":1}', "interaction", b'{"kind":3,"a":1}'),
        (b'{"kind":"CLIENT"}', "interaction", b'{"kind":"CLIENT"}'),
        (b'{"kind":["feedback"]}', "interaction", b'{"kind":["feedback"]}'),
        (b'{"attributes":{"kind":"feedback"}}', "interaction", b'{"attributes":{"kind":"feedback"}}'),
        (b'{"kind":"feedback"', "interaction", b'{"kind":"feedback"'),
        (b'["kind"]', "interaction", b'["kind"]'),
        (b'{"kind":"\xff"}', "interaction", b'{"kind":"\xff"}'),
    ],
)
def test_a_line_names_its_kind(line: bytes, stream: str, value: bytes) -> None:
    assert classify(line) == (stream, value)


def test_every_kind_of_change_makes_a_change() -> None:
    for kind in CHANGE_KINDS:
        assert classify(encoded({"kind": kind}))[0] == "change"


@given(st.binary(max_size=100).map(lambda tail: b'{"kind":' + tail))
def test_no_line_breaks_the_classification(line: bytes) -> None:
    assert classify(line)[0] in ("interaction", "feedback", "change")


@given(st.lists(interactions(), min_size=1, max_size=5))
def test_records_survive_a_file(
    tmp_path_factory: pytest.TempPathFactory, made: list[dict[str, object]]
) -> None:
    path = tmp_path_factory.mktemp("files") / "events.jsonl"
    path.write_bytes(b"\n".join(encoded(fields) for fields in made))
    direct = [decode_interaction(encoded(fields), now_ms=NOW_MS) for fields in made]
    assert [decode_interaction(r.value, now_ms=NOW_MS) for r in records(path)] == direct


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"]
)
def test_an_endless_line_is_refused_without_being_held_whole(tmp_path: Path, compress: type[bytes]) -> None:
    path = tmp_path / "long.jsonl"
    path.write_bytes(compress(LINES[0] + b"\n" + b"x" * 5_000_000 + b"\n" + LINES[1]))
    first, long, last = records(path)
    assert (first.value, last.value, last.line) == (LINES[0], LINES[1], 3)
    assert len(long.value) == MAX_RECORD_BYTES + 1
    with pytest.raises(BadRecord, match="too_large"):
        decode_interaction(long.value, now_ms=NOW_MS)


def test_parquet_rows_become_records(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    moment = datetime(2023, 11, 16, 18, 15, 46, 680_000)
    table = pa.table(
        {
            "event_id": ["a", "b", "c"],
            "occurred_at": pa.array([moment, moment, moment], pa.timestamp("us")),
            "operation": ["chat", "chat", None],
            "kind": [None, "interaction", "feedback"],
            "cost": pa.array([0.5, float("nan"), float("inf")]),
            "index_updated_at": pa.array([moment.replace(tzinfo=UTC)] * 3, pa.timestamp("ns", "UTC")),
            "attributes": pa.array([{"tier": 1}, None, None]),
        }
    )
    pq.write_table(table, path)
    first, second, third = records(path)
    event = decode_interaction(first.value, now_ms=NOW_MS)
    assert (event.event_id, event.occurred_at, event.cost) == ("a", 1_700_158_546_680, 0.5)
    assert (event.index_updated_at, event.attributes) == (1_700_158_546_680, {"tier": 1})
    assert decode_interaction(second.value, now_ms=NOW_MS).cost is None
    assert (third.stream, third.line) == ("feedback", 3)
    with pytest.raises(BadRecord, match="not_finite"):
        decode_interaction(third.value, now_ms=NOW_MS)
    assert third.position_bytes == total_bytes([path])


def test_standard_input_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BufferedReader(io.BytesIO(gzip.compress(b"\n".join(LINES))))  # type: ignore[arg-type]

    monkeypatch.setattr("sys.stdin", Stdin)
    assert [r.value for r in records(Path("-"))] == LINES
    assert total_bytes([Path("-")]) is None


def _cut(data: bytes) -> bytes:
    return data[: len(data) - 9]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_cut(gzip.compress(b"\n".join(LINES) * 50)), "is it complete"),
        (_cut(zstandard.compress(json.dumps(list(range(9_999))).encode())), "is it complete"),
        (b"\x28\xb5\x2f\xfd garbage", "is it complete"),
        (b"\x1f\x8b garbage", "is it complete"),
        (b"PAR1 garbage", "Parquet"),
    ],
    ids=["gzip cut", "zstd cut", "zstd garbage", "gzip garbage", "parquet garbage"],
)
def test_damaged_files_are_reported(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=message):
        records(path)


def test_missing_files_and_folders_are_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(UnreadableFile, match=str(path)):
            records(path)
    with pytest.raises(UnreadableFile, match="absent"):
        total_bytes([tmp_path / "absent.jsonl"])


def test_a_failed_output_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.zst"
    with pytest.raises(TypeError), open_output(path) as file:
        file.write("not bytes")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_equal_events_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz", "a.jsonl.zst", "b.jsonl.zst"):
        with open_output(tmp_path / name) as file:
            file.write(LINES[0])
    for suffix in ("gz", "zst"):
        assert (tmp_path / f"a.jsonl.{suffix}").read_bytes() == (tmp_path / f"b.jsonl.{suffix}").read_bytes()
