"""A real Apache Kafka for tests: a container where Docker runs, else a Java process from Maven's jars.

The jars (54 MB) are fetched once, through the ordinary ``mvn``, into the user's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from streams.broker import free_port
from tests.support.processes import Child

VERSION = "4.1.0"
IMAGE = f"apache/kafka:{VERSION}"
SETTINGS = {
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "num.partitions": "1",
}
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>tests</groupId><artifactId>kafka</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version></dependency>
</dependencies></project>
"""


class NoKafka(Exception):
    """Why there is no real Kafka here."""


@dataclass(frozen=True)
class RealKafka:
    """A running broker."""

    bootstrap: str
    how: str


@contextmanager
def real_kafka(folder: Path) -> Iterator[RealKafka]:
    """Start a broker whose files are in ``folder``; stop it at the end.

    Raises:
        NoKafka: with the reason.
    """
    with ExitStack() as stack:
        if _docker_runs():
            yield stack.enter_context(_from_container())
        else:
            can_start()
            yield stack.enter_context(_from_jars(folder))


def can_start() -> None:
    """Raises NoKafka, with the reason, where no real Kafka can run."""
    if not _docker_runs() and not (shutil.which("java") and shutil.which("mvn")):
        raise NoKafka("needs a real Kafka: neither does Docker run here, nor are java and mvn installed")


def _docker_runs() -> bool:
    if shutil.which("docker") is None:
        return False
    probe = subprocess.run(["docker", "info"], capture_output=True, timeout=20, check=False)
    return probe.returncode == 0


@contextmanager
def _from_container() -> Iterator[RealKafka]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    port = free_port()
    container = DockerContainer(IMAGE).with_bind_ports(9092, port)
    own = {
        "node.id": "1",
        "process.roles": "broker,controller",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "listeners": "PLAINTEXT://0.0.0.0:9092,CONTROLLER://localhost:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    }
    for name, value in (own | SETTINGS).items():
        container = container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    with container:
        wait_for_logs(container, "Kafka Server started", timeout=60)
        yield RealKafka(f"127.0.0.1:{port}", f"container {IMAGE}")


@contextmanager
def _from_jars(folder: Path) -> Iterator[RealKafka]:
    jars = jars_folder()
    port, controller = free_port(), free_port()
    own = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "log.dirs": str(folder / "log"),
    }
    settings = folder / "server.properties"
    settings.write_text("".join(f"{name}={value}\n" for name, value in (own | SETTINGS).items()))
    java = ["java", "-Xmx1g", "-Dlog4j2.level=WARN", "-cp", f"{jars}/*"]
    subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", "-t", str(uuid.uuid4()), "-c", str(settings)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with Child([*java, "kafka.Kafka", str(settings)], folder / "kafka.log", cwd=folder) as broker:
        await_port(broker, port)
        yield RealKafka(f"127.0.0.1:{port}", f"Java process, Kafka {VERSION}")


def await_port(broker: Child, port: int) -> None:
    """Return when somebody listens there. Raises ``NoKafka`` when the broker ends first, or after a minute."""
    import socket

    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if not broker.running or time.monotonic() > deadline:
            raise NoKafka(f"Kafka did not start:\n{broker.output()[-2000:]}")
        time.sleep(0.05)


def jars_folder() -> Path:
    """The folder of the jars, fetched if need be."""
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "tidewatch-tests"
        / f"kafka-{VERSION}"
    )
    jars, complete = cache / "lib", cache / "complete"
    if not complete.exists():
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "pom.xml").write_text(_POM)
        fetched = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"],
            cwd=cache,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if fetched.returncode != 0:
            raise NoKafka(f"needs a real Kafka: mvn cannot fetch its jars:\n{fetched.stdout[-500:]}")
        complete.touch()
    return jars
