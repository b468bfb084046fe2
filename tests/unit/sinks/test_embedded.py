"""One owner of an embedded store, known by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks.clickhouse import ClickHouseSink
from sinks.clickhouse_config import ClickHouseConfig
from sinks.clickhouse_schema import SchemaMismatch
from sinks.embedded import Ownership, StoreInUse, lock_path

_OWNER = """
import sys
from collections.abc import Iterator
from pathlib import Path
from sinks.embedded import Ownership
with Ownership(Path(sys.argv[1]), "the other one"):
    print("owned", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the default store below ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path / "clickhouse")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        yield process
        process.kill()


async def test_a_second_process_is_told_who_owns_it(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    sink = ClickHouseSink(ClickHouseConfig(), tmp_path)
    with pytest.raises(StoreInUse, match=rf"process {owner.pid} \(the other one\)"):
        await sink.healthcheck()
    await sink.close()


def test_a_killed_owner_leaves_nothing_behind(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    Ownership(tmp_path / "clickhouse", "me").release()


def test_users_in_one_process_share_it(tmp_path: Path) -> None:
    path = tmp_path / "store"
    first, second = Ownership(path, "a"), Ownership(path, "b")
    first.release()
    first.release()
    assert _taken_elsewhere(path)
    second.release()
    assert not _taken_elsewhere(path)
    assert lock_path(path).stat().st_mode & 0o777 == 0o600


def _taken_elsewhere(path: Path) -> bool:
    code = (
        "import sys; from pathlib import Path; from sinks.embedded import Ownership; "
        "Ownership(Path(sys.argv[1]), 'x')"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert run.returncode == 0 or "StoreInUse" in run.stderr, run.stderr
    return run.returncode != 0


async def test_tables_of_a_newer_program_are_refused(tmp_path: Path) -> None:
    sink = ClickHouseSink(ClickHouseConfig(), tmp_path)
    await sink.healthcheck()
    await sink._run(
        lambda: sink._connected().command(
            "INSERT INTO tidewatch.tidewatch_meta VALUES ('schema_version', '99')"
        )
    )
    await sink.close()
    again = ClickHouseSink(ClickHouseConfig(), tmp_path)
    with pytest.raises(SchemaMismatch, match="schema version 99; expected 1"):
        await again.healthcheck()
    await again.close()


async def test_a_table_without_one_of_our_columns_is_refused_with_the_remedy(tmp_path: Path) -> None:
    sink = ClickHouseSink(ClickHouseConfig(), tmp_path)
    await sink.healthcheck()
    await sink._run(lambda: sink._connected().command("ALTER TABLE tidewatch.changes DROP COLUMN scope"))
    await sink.close()
    again = ClickHouseSink(ClickHouseConfig(), tmp_path)
    with pytest.raises(SchemaMismatch, match=r"ALTER TABLE `tidewatch`\.`changes` ADD COLUMN `scope` Map"):
        await again.healthcheck()
    await again.close()
