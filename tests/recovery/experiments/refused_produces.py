"""A broker that refuses what is produced: by its answers, and because replicas are missing."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)

from streams.client import open_admin
from streams.topics import ALERTS, ANOMALIES, INCIDENTS, PARTIALS, SUMMARIES
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import kafka, port_of, tansu
from tests.recovery.rig.kafka_proxy import KafkaProxy
from tests.recovery.rig.trial import Trial, trial

OUTPUTS: Final = (PARTIALS, SUMMARIES, ANOMALIES, INCIDENTS, ALERTS)
PASSING: Final = (RequestTimedOutError, NotLeaderForPartitionError, NotEnoughReplicasError)
LASTING: Final = (TopicAuthorizationFailedError, MessageSizeTooLargeError)
SHARE: Final = 1 / 3


def by_answer(scale: Scale) -> Outcome:
    """A third of the produce requests is refused; of some, the broker has the records nevertheless."""
    codes = [error.errno for error in (*PASSING, *LASTING)]
    rounds = [(code, appended) for code in codes for appended in (False, True)]
    scale.random().shuffle(rounds)
    rounds = rounds[: scale.pick(2, len(rounds))]
    with (
        tansu() as broker,
        KafkaProxy(port_of(broker), seed=scale.seed) as proxy,
        trial(
            broker,
            scale.folder / "run",
            minutes=scale.pick(8, 24),
            feed_secs=len(rounds) * 20.0,
            through=proxy.address,
        ) as (run, outcome),
    ):
        run.await_progress()
        for code, appended in rounds:
            proxy.refuse_produces(code, OUTPUTS, share=SHARE, appended=appended)
            time.sleep(8.0)
            proxy.restore()
            run.await_recovery()
        run.faults = proxy.hits
        run.notes.append(f"workers that gave up and were started again: {len(run.unasked)}")
    return outcome[0]


def by_replicas(scale: Scale) -> Outcome:
    """min.insync.replicas of 2 where there is one replica: the broker refuses until it is set back."""
    times = scale.pick(1, 10)
    with (
        kafka(scale.folder) as broker,
        trial(broker, scale.folder / "run", minutes=scale.pick(8, 24), feed_secs=times * 25.0, workers=2) as (
            run,
            outcome,
        ),
    ):
        run.await_progress()
        for number in range(times):
            topics = OUTPUTS if number % 2 else (PARTIALS, ALERTS)
            _require_replicas(run, topics, 2)
            run.faults += 1
            time.sleep(6.0)
            _require_replicas(run, topics, 1)
            run.await_recovery()
        run.notes.append(f"workers that gave up and were started again: {len(run.unasked)}")
    return outcome[0]


def _require_replicas(run: Trial, topics: tuple[str, ...], count: int) -> None:
    async def work() -> None:
        admin = await open_admin(run.run.config.kafka)
        try:
            setting = {"min.insync.replicas": str(count)}
            await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic, configs=setting) for topic in topics]
            )
        finally:
            await admin.close()

    asyncio.run(work())


EXPERIMENTS = (
    Experiment(
        "produce-refused",
        "a third of the produces refused: errors 6, 7, 10, 19, 29, with and without the records being there",
        "equality",
        ("tansu",),
        by_answer,
    ),
    Experiment(
        "replicas-missing",
        "produces refused for want of replicas",
        "equality",
        ("kafka",),
        by_replicas,
    ),
)
