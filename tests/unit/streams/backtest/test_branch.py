"""Where branches begin, and one of them from a warmed-up fleet to its verdict."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streams.backtest.branch import LEAD_MS, Result, begin, run_branch
from streams.backtest.jobs import Job, expand
from streams.backtest.suite import Settings, journal_path, run_suite
from streams.backtest.warmup import END_MS, SEED, Snapshots, WarmUp
from streams.config import parse_config

DAY_MS = 86_400_000
CONFIG = parse_config({"windows": {"base_secs": 300}, "segments": {"by": [["provider"]]}})
"""Long windows and few segments make a day cheap."""
WARM_UP = WarmUp(1, 20_000)
OUTAGE = Job("S15", "medium", 3)


def test_beginnings() -> None:
    warm_up = WarmUp(28, 100_000)
    hours = set()
    for job in expand((), 5, 0, 1):
        start_ms, onset_ms = begin(job, warm_up)
        assert start_ms in warm_up.beginnings_ms
        assert job.seed != SEED
        if job.kind == "quiet":
            assert start_ms == onset_ms == END_MS
            continue
        assert onset_ms - start_ms >= LEAD_MS
        hours.add(onset_ms % DAY_MS // 3_600_000)
    assert hours == set(range(24))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backtest")


def suite(folder: Path, jobs: list[Job]) -> tuple[list[Result], list[float]]:
    settings = Settings(WARM_UP, 5.0, 1, folder, fresh=False)
    warmed: list[float] = []
    return run_suite(CONFIG, jobs, settings, warmed.append, lambda result: None), warmed


def test_an_outage_is_noticed_ended_early_and_cleared(folder: Path) -> None:
    [result], warmed = suite(folder, [OUTAGE])
    assert warmed[-1] == 1.0
    [verdict] = result.verdicts
    assert verdict.noticed
    assert verdict.delay_secs is not None
    assert verdict.delay_secs < 7200
    assert verdict.label.end_ms - verdict.label.start_ms < DAY_MS / 2  # its full length
    assert not result.capped
    assert result.until_ms < verdict.label.end_ms + DAY_MS


def test_an_interrupted_run_goes_on(folder: Path) -> None:
    [first], _ = suite(folder, [OUTAGE])
    settings = Settings(WARM_UP, 5.0, 1, folder, fresh=False)
    with journal_path(CONFIG, settings).open("ab") as journal:
        journal.write(b'{"scenario":"S04","var')  # killed while it wrote
    quick = Job("S06", "benign", 3)
    [second, again], warmed = suite(folder, [quick, OUTAGE])
    assert again == first
    assert second.job == quick
    [kept], _ = suite(folder, [quick])
    assert kept == second  # in spite of the broken line before it
    assert not warmed  # the snapshots are those of the first run
    anew = run_branch(CONFIG, WARM_UP, Snapshots(folder, CONFIG, WARM_UP), 5.0, OUTAGE)
    assert msgspec.structs.replace(anew, took_secs=first.took_secs) == first
