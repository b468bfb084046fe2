"""Fixtures that many tests use: brokers, embedded and real."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Iterator

import hypothesis
import pytest

from streams.broker import EmbeddedBroker
from tests.support.brokers import Broker, delete_topics
from tests.support.kafka import NoKafka, real_kafka

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

_REAL_PROCESSES = {"broker", "kafka", "slow"}
_FOLDERS_OF_THEM = {"integration", "recovery"}
_RERUNS = 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of real processes wait in real time, which a busy machine can stretch past any limit.

    They get another try, and the report shows each with an R; the rest must pass at once.
    """
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if marks & _REAL_PROCESSES or _FOLDERS_OF_THEM & set(item.path.parts):
            item.add_marker(pytest.mark.flaky(reruns=_RERUNS))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests may be coroutines; each has an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.function(**{name: pyfuncitem.funcargs[name] for name in names}))
    gc.collect()  # what a test forgot to close complains in that test
    return True


@pytest.fixture
def tansu() -> Iterator[Broker]:
    """An embedded broker of this test's own: its log is empty."""
    broker = EmbeddedBroker()
    asyncio.run(broker.start())
    try:
        yield Broker(broker.bootstrap, real=False)
    finally:
        asyncio.run(broker.stop())


@pytest.fixture(scope="session")
def _real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    try:
        with real_kafka(tmp_path_factory.mktemp("kafka")) as kafka:
            yield Broker(kafka.bootstrap, real=True)
    except NoKafka as reason:
        pytest.skip(str(reason))


@pytest.fixture
def kafka(_real_kafka: Broker) -> Iterator[Broker]:
    """Apache Kafka, without topics; what a test makes is deleted after it."""
    yield _real_kafka
    asyncio.run(delete_topics(_real_kafka))


@pytest.fixture(
    params=[pytest.param("tansu", marks=pytest.mark.broker), pytest.param("kafka", marks=pytest.mark.kafka)]
)
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each kind in turn."""
    found: Broker = request.getfixturevalue(request.param)
    return found
