"""`tidewatch explain`: from a checkpoint that it leaves alone, and from files of events."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from streams.commands.explain import command
from streams.config import Config
from streams.decide import Decide
from streams.state import Checkpoint
from streams.state_sqlite import STATE_FILE, SqliteStateStore
from tests.support.make_fixtures import KEY, SECTIONS, partials

RATED = {
    "judge_score_mean",
    "judge_fail_ratio",
    "unsupported_claim_ratio",
    "thumbs_down_ratio",
    "user_corrected_ratio",
}


@pytest.fixture(scope="module")
def snapshot() -> bytes:
    decide = Decide(Config.model_validate(SECTIONS))
    for record in partials(minutes=10):
        decide.step(record)
    return decide.snapshot()


class Host:
    """A computer with a detect worker's checkpoint on it."""

    def __init__(self, folder: Path, snapshot: bytes) -> None:
        self.folder = folder
        self.state = folder / "state" / STATE_FILE
        self.state.parent.mkdir()
        key = self.state.with_name("state.key")
        key.write_bytes(KEY)
        key.chmod(0o600)
        self.store = SqliteStateStore(self.state, "default", KEY)
        self.save(snapshot)
        self.config = folder / "tidewatch.toml"
        self.config.write_text(f'state_dir = "{self.state.parent}"\n[segments]\nby = [["provider"]]\n')

    def save(self, snapshot: bytes) -> None:
        async def save() -> None:
            await self.store.claim()
            await self.store.save(Checkpoint(7, "log", snapshot))

        asyncio.run(save())

    def explain(self, *arguments: str) -> Result:
        return CliRunner().invoke(command, ["--config", str(self.config), *arguments])

    def series(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.explain(*arguments, "--json")
        assert done.exit_code == 0, done.output
        told = orjson.loads(done.stdout)
        assert told["as_of"].startswith("2026-")
        found: list[dict[str, Any]] = told["series"]
        return found


@pytest.fixture
def host(tmp_path: Path, snapshot: bytes) -> Any:
    host = Host(tmp_path, snapshot)
    yield host
    asyncio.run(host.store.close())


def test_what_judges_and_users_can_show_for_the_fleet(host: Host) -> None:
    found = host.series()
    assert found
    assert {one["signal"] for one in found} <= RATED
    for one in found:
        assert one["segment"] == {}
        assert 0.0 < one["sample_rate"] <= 1.0
        assert one["observations_per_hour"] > 0
    told = host.explain()
    assert "seen" not in told.stderr
    assert "sampled" in told.stdout
    assert found[0]["signal"] in told.stdout


def test_one_series_in_full(host: Host) -> None:
    told = host.explain("all", "latency_p95_ms")
    assert told.exit_code == 0
    for part in (
        "expected",
        "nats",
        "an incident needs",
        "an hour",
        "rule latency",
        "warning above 3,000 ms",
    ):
        assert part in told.stdout, told.stdout
    (one,) = host.series("all", "latency_p95_ms")
    assert one["lower"] < one["expected"] < one["upper"]
    assert one["rise_day"] > 0
    assert one["fall_day"] is None, "faster is no alarm"


def test_patterns_and_the_change_asked_for(host: Host) -> None:
    every = host.series("*", "tokens_in_mean")
    providers = host.series("provider=*", "tokens_in_mean")
    assert len(every) == len(providers) + 1 >= 2
    name = providers[0]["segment"]["provider"]
    (one,) = host.series(f"provider={name}", "tokens_in_mean")
    assert one == providers[0]
    assert one["rise_hour"] > 0 > one["fall_hour"], "prompts may go both ways"
    (asked,) = host.series("all", "error_ratio", "--change", "0.25")
    assert asked["asked"] == 0.25


def test_every_label_of_a_mix_with_its_share_and_the_change_that_would_show(host: Host) -> None:
    labels = host.series("all", "model_requested_mix")
    assert len(labels) >= 2
    assert sum(one["expected"] for one in labels) == pytest.approx(1.0, abs=0.02)
    assert labels == sorted(labels, key=lambda one: -one["expected"])
    for one in labels:
        assert one["fall_day"] is None or one["fall_day"] >= one["fall_hour"]
        assert 0.0 < one["rise_day"] <= one["rise_hour"]
        assert one["lower"] <= one["expected"] <= one["upper"]
    told = host.explain("all", "model_requested_mix")
    assert f"model_requested_mix ({labels[0]['label']})" in told.stdout
    assert "points" in told.stdout


def test_a_mix_of_which_nothing_is_known_is_refused_in_words(host: Host) -> None:
    told = host.explain("all", "evaluator_version_mix")
    assert told.exit_code == 1
    assert "too little history, or one label only" in told.output


def test_the_store_is_left_alone_and_its_owner_goes_on(host: Host, snapshot: bytes) -> None:
    def digest() -> dict[str, str]:
        files = {
            path.name: path.read_bytes()
            for path in host.state.parent.iterdir()
            if path.suffix != ".sqlite-shm"
        }
        return {
            name: hashlib.sha256(data).hexdigest()
            for name, data in files.items()
            if not name.endswith("-shm")
        }

    before = digest()
    host.series()
    assert digest() == before

    async def owner_saves() -> None:
        await host.store.save(Checkpoint(8, "log", snapshot))

    asyncio.run(owner_saves())


def test_a_named_file_or_folder(host: Host, tmp_path: Path) -> None:
    host.config.write_text(f'state_dir = "{tmp_path / "elsewhere"}"\n[segments]\nby = [["provider"]]\n')
    assert host.explain().exit_code == 1
    assert host.series("--state", str(host.state)) == host.series("--state", str(host.state.parent))


def test_files_of_events(host: Host, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    lines = [
        {
            "event_id": f"e{at}",
            "occurred_at": f"2026-09-07T10:{at // 60:02d}:{at % 60:02d}Z",
            "model_requested": "gpt-x",
            "duration_ms": 900 + at % 7,
        }
        for at in range(900)
    ]
    events.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    (one,) = host.series("all", "latency_typical_ms", "--events", str(events))
    assert one["expected"] == pytest.approx(903, abs=3)
    told = host.explain("--events", str(events))
    assert "user_corrected_ratio" in told.stdout
    assert "judge" not in told.stdout, "nobody judged"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["all", "latency"], 2, ("got 'latency'", "latency_p95_ms")),
        (["provider"], 2, ("got 'provider'", "name=value")),
        (["provider=nobody"], 1, ("got 'provider=nobody'", "provider=")),
        (["--state", "x", "--events", "y"], 2, ("both",)),
        (["--state", "nowhere"], 1, ("got no such file", "tidewatch up")),
        (["--events", "nowhere.jsonl"], 1, ("nowhere.jsonl",)),
        (["--events", "/dev/null"], 1, ("no window was closed",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_and_what_next(
    host: Host, arguments: list[str], code: int, words: tuple[str, ...]
) -> None:
    done = host.explain(*arguments)
    assert done.exit_code == code, done.output
    for word in words:
        assert word in done.stderr


def test_a_store_that_cannot_be_believed(host: Host) -> None:
    host.config.write_text(host.config.read_text().replace("[segments]", 'fleet = "other"\n[segments]'))
    done = host.explain()
    assert "got those of default; expected one of fleet 'other'" in done.stderr
    host.state.with_name("state.key").write_bytes(b"x" * 32)
    done = host.explain("--state", str(host.state))
    assert done.exit_code == 1
    host.state.with_name("state.key").unlink()
    assert "expected the key that sealed" in host.explain().stderr
    assert not host.state.with_name("state.key").exists(), "never made here"
    no_database = host.folder / STATE_FILE
    no_database.write_bytes(b"no database" * 100)
    host.folder.joinpath("state.key").write_bytes(KEY)
    host.folder.joinpath("state.key").chmod(0o600)
    assert "not a database" in host.explain("--state", str(no_database)).stderr
