"""The docs are true: generated parts are fresh, and every block of the README runs."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec
import orjson
import pytest

from detectors.records import Alert
from streams.commands.sql import command as sql_command
from streams.decode import decode_interaction
from tests.support.brokers import Broker, make_topics, read_all
from tests.support.generate_docs import ROOT, stale
from tests.support.processes import eventually, tidewatch

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
RUNS_ELSEWHERE = {"make demo": "tests/integration/test_demo.py", "make test": ".ci/run"}


def blocks(language: str) -> list[str]:
    return [body for name, body in BLOCKS if name == language]


def shell(name: str) -> str:
    """The one shell block that contains ``name``."""
    (found,) = [body for body in blocks("sh") if name in body]
    return found


def run(script: str, folder: Path) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_generated_parts_are_fresh() -> None:
    assert stale() == []


def test_every_block_is_covered_by_a_test_below() -> None:
    languages = sorted(name for name, _ in BLOCKS)
    assert languages == sorted(["sh"] * 5 + ["text"] * 2 + ["python", "json", "sql"])


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name
)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target


def test_the_two_commands_exist_and_run_in_tests() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for line in shell("make demo").strip().splitlines():
        name = line.split("#")[0].strip()
        assert f"\n{name.removeprefix('make ')}:" in makefile
        assert (ROOT / RUNS_ELSEWHERE[name]).exists()


def test_trying_your_own_history(tmp_path: Path) -> None:
    output = run(shell("requests.csv"), tmp_path)
    assert "3 records" in output
    summary = orjson.loads(output.strip().splitlines()[-1])
    assert summary["signals"]["tokens_in_mean"]["value"] > 0


def test_trying_an_incident_and_a_series(tmp_path: Path) -> None:
    output = run(shell("tidewatch simulate"), tmp_path)
    assert "S04 severe" in output
    incidents = (tmp_path / "surge" / "incidents.jsonl").read_text("utf-8")
    assert '"refusal_ratio"' in incidents
    assert len((tmp_path / "scored" / "temperature.csv").read_text("utf-8").splitlines()) == 3


def test_checking_a_configuration(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", (ROOT / "docs/configuration.md").read_text("utf-8"), re.S)
    assert example
    (tmp_path / "tidewatch.toml").write_text(example[1])
    assert "OK" in run(shell("tidewatch check"), tmp_path)


@pytest.mark.broker
async def test_the_producer_example(tansu: Broker, tmp_path: Path) -> None:
    (program,) = blocks("python")
    config = tansu.config(tmp_path)
    await make_topics(config)
    script = tmp_path / "producer.py"
    script.write_text(program.replace("127.0.0.1:9092", tansu.bootstrap))
    await asyncio.to_thread(run, f"python {script}", tmp_path)
    (record,) = await read_all(config, "llm.interactions")
    assert decode_interaction(record.value, now_ms=2**60).tenant == "acme"


def test_the_alert_example() -> None:
    (example,) = blocks("json")
    alert = msgspec.json.decode(example, type=Alert, strict=True)
    assert orjson.loads(msgspec.json.encode(alert)) == orjson.loads(example)


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(300)
def test_the_laptop_stack_and_the_sql_example(tmp_path: Path) -> None:
    (statement,) = blocks("sql")
    with ExitStack() as stack:
        up = stack.enter_context(tidewatch("up", log=tmp_path / "up.log", cwd=tmp_path))
        eventually(
            lambda: up.running and (tmp_path / ".tidewatch" / "up.json").exists(),
            within_secs=60,
            what=up.output(),
        )
        output = run(shell("produce --simulate"), tmp_path)
        assert "error_ratio" in output
        assert run(f'tidewatch sql --json "{statement}"', tmp_path)
    assert sql_command.name == "sql"
