"""Which branches a suite has."""

from __future__ import annotations

import pytest

from streams.backtest.jobs import Job, UnknownJob, expand


def names(*only: str) -> list[str]:
    return sorted(job.name for job in expand(only, 1, 0, 1))


def test_everything() -> None:
    jobs = expand((), 3, 10, 2)
    assert sum(job.kind == "incident" for job in jobs) == 3 * 66
    assert sum(job.kind == "benign" for job in jobs) == 3 * 22
    assert sum(job.kind == "trap" for job in jobs) == 3 * 8
    quiet = [job.seed for job in jobs if job.kind == "quiet"]
    assert sorted(quiet) == [10, 11, 12, 13, 14, 15]
    assert len(set(jobs)) == len(jobs)
    assert [job.longest_days for job in jobs] == sorted((job.longest_days for job in jobs), reverse=True)


def test_what_takes_days_runs_less_often() -> None:
    jobs = expand((), 3, 0, 1, long_seeds=1)
    often = [job.name for job in jobs]
    assert often.count("S02/medium") == 3
    assert often.count("S18/mild") == often.count("S11/severe") == often.count("T3") == 1
    assert often.count("quiet") == 3
    assert sum(job.longest_days for job in jobs) < 0.6 * sum(job.longest_days for job in expand((), 3, 0, 1))


def test_some() -> None:
    assert names("S02/medium", "s08/BENIGN", "T3", "quiet") == ["S02/medium", "S08/benign", "T3", "quiet"]
    assert names("S04") == ["S04/benign", "S04/medium", "S04/mild", "S04/severe"]
    assert names("S04", "S04/mild") == names("S04")


@pytest.mark.parametrize("name", ["S23", "S04/huge", "T9", "T1/mild", ""])
def test_unknown(name: str) -> None:
    with pytest.raises(UnknownJob, match="expected S01 to S22"):
        expand([name], 1, 0, 1)


def test_kinds() -> None:
    assert Job("S01", "benign", 0).kind == "benign"
    assert Job("quiet", "quiet", 0).name == "quiet"
