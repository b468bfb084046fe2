"""The same input gives the same results: offline, on one worker, and on several.

The verdict is by content: every window summary, anomaly, incident and alert up to the last input window, bit for
bit. What kills and outages change (nothing) is in ``test_experiments``.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from streams.topics import ALERTS, ANOMALIES, INCIDENTS
from tests.recovery.rig.run import Event, Run, offline, traffic
from tests.recovery.rig.verdict import Results, compare
from tests.support.brokers import Broker

FEED_SECS = 60.0


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return traffic()


@pytest.fixture(scope="module")
def truth(events: list[Event]) -> Results:
    found = offline(events)
    assert all(found.count(topic) for topic in (ANOMALIES, INCIDENTS, ALERTS))
    return found


def assert_equal(found: Results, expected: Results) -> None:
    verdict = compare(found, expected)
    assert verdict.equal, verdict


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(400)
def test_one_worker_on_the_embedded_broker(
    tansu: Broker, tmp_path: Path, events: list[Event], truth: Results
) -> None:
    run = Run(tansu, tmp_path, partitions=4)
    run.send(events)
    with ExitStack() as stack:
        run.worker(stack)
        run.await_end(events)
    assert_equal(run.results(events), truth)


def killed_five_times(run: Run, events: list[Event], workers: int, seed: int) -> None:
    """While the events come in, five times: wait until windows close, then kill -9 a worker and start another."""
    rng = random.Random(seed)
    with ExitStack() as stack:
        alive = [run.worker(stack) for _ in range(workers)]
        feeder = run.send_slowly(events, FEED_SECS)
        stack.callback(feeder.join)
        for _ in range(5):
            run.await_progress()
            victim = alive.pop(rng.randrange(workers))
            victim.kill()
            alive.append(run.worker(stack))
        feeder.join()
        run.await_end(events)


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(600)
def test_one_worker_killed_five_times(
    tansu: Broker, tmp_path: Path, events: list[Event], truth: Results
) -> None:
    run = Run(tansu, tmp_path, partitions=4)
    killed_five_times(run, events, workers=1, seed=1)
    assert_equal(run.results(events), truth)


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(900)
def test_three_workers_on_kafka_killed_five_times(
    kafka: Broker, tmp_path: Path, events: list[Event], truth: Results
) -> None:
    run = Run(kafka, tmp_path, partitions=12)
    killed_five_times(run, events, workers=3, seed=2)
    assert_equal(run.results(events), truth)
