"""The tools of the fault experiments do what they say: otherwise a passed experiment would mean nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import NotEnoughReplicasError, TopicAuthorizationFailedError

from streams.client import producer_settings
from streams.topics import ALERTS, CHANGES, INCIDENTS
from tests.recovery import report
from tests.recovery.experiment import Outcome
from tests.recovery.rig.kafka_proxy import KafkaProxy
from tests.recovery.rig.measure import Stall, Usage, open_files, rss_mb
from tests.recovery.rig.proxy import SERVICE_UNAVAILABLE, Proxy
from tests.recovery.rig.verdict import Results, compare, results
from tests.support.brokers import Broker, make_topics, read_all
from tests.support.processes import eventually


@pytest.fixture
def echo() -> Iterator[socket.socket]:
    """A listener that sends back what it gets."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            Thread(target=send_back, args=(connection,), daemon=True).start()

    def send_back(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    received.append(data)
                    connection.sendall(data)
            except OSError:
                return

    received: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    thread = Thread(target=serve, daemon=True)
    thread.start()
    yield listener
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.fixture
def proxy(echo: socket.socket) -> Iterator[Proxy]:
    with Proxy(echo.getsockname()[1]) as running:
        yield running


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def receive(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := connection.recv(size - len(found))):
        found += data
    return found


def test_bytes_pass_unchanged(proxy: Proxy) -> None:
    sent = os.urandom(3_000_000)
    with connect(proxy) as connection:
        sender = Thread(target=connection.sendall, args=(sent,))
        sender.start()
        assert receive(connection, len(sent)) == sent
        sender.join()


def test_a_round_trip_takes_as_long_as_told(proxy: Proxy) -> None:
    proxy.slow(0.3)
    with connect(proxy) as connection:
        begin = time.monotonic()
        connection.sendall(b"hello")
        assert receive(connection, 5) == b"hello"
        assert time.monotonic() - begin >= 0.3


def test_a_hung_target_answers_when_it_is_over(proxy: Proxy) -> None:
    proxy.hang()
    with connect(proxy) as connection:
        connection.sendall(b"hello")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(5)
        proxy.restore()
        connection.settimeout(5)
        assert receive(connection, 5) == b"hello"


def test_refusing_keeps_the_port(proxy: Proxy) -> None:
    for _ in range(3):
        with connect(proxy) as connection:
            connection.sendall(b"x")
            assert receive(connection, 1) == b"x"
            proxy.refuse()
            with contextlib.suppress(ConnectionError):
                assert connection.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", proxy.port))
        proxy.restore()
        eventually(lambda: _accepts(proxy), within_secs=5)


def _accepts(proxy: Proxy) -> bool:
    try:
        connect(proxy).close()
    except ConnectionRefusedError:
        return False
    return True


def test_cut_after_so_many_bytes(proxy: Proxy) -> None:
    proxy.cut_after(5)
    with connect(proxy) as connection:
        connection.sendall(b"hello world")
        assert receive(connection, 11) in (b"", b"hello")
    assert proxy.hits == 1
    with connect(proxy) as connection:
        connection.sendall(b"hello world")
        assert receive(connection, 11) == b"hello world"


def test_lost_answers(proxy: Proxy) -> None:
    proxy.lose_answers()
    with connect(proxy) as connection:
        connection.sendall(b"hello")
        assert receive(connection, 5) == b""
    assert proxy.hits == 1


def test_a_canned_answer(proxy: Proxy) -> None:
    proxy.answer(SERVICE_UNAVAILABLE)
    with connect(proxy) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")
        assert receive(connection, 1000) == SERVICE_UNAVAILABLE


@pytest.mark.parametrize("appended", [False, True])
async def test_refused_produces(broker: Broker, tmp_path: Path, appended: bool) -> None:
    direct = broker.config(tmp_path)
    await make_topics(direct)
    with KafkaProxy(int(broker.bootstrap.rsplit(":")[-1])) as proxy:
        config = Broker(proxy.address, broker.real).config(tmp_path)
        producer = AIOKafkaProducer(**producer_settings(config.kafka))
        await producer.start()
        try:
            await producer.send_and_wait(ALERTS, b"before")
            proxy.refuse_produces(29, [ALERTS], appended=appended)
            await producer.send_and_wait(CHANGES, b"not concerned")
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(ALERTS, b"refused")
            assert proxy.hits == 1
        finally:
            proxy.restore()
            await producer.stop()
    values = [record.value for record in await read_all(direct, ALERTS)]
    assert values == ([b"before", b"refused"] if appended else [b"before"])


async def test_a_passing_refusal_is_tried_again(broker: Broker, tmp_path: Path) -> None:
    direct = broker.config(tmp_path)
    await make_topics(direct)
    with KafkaProxy(int(broker.bootstrap.rsplit(":")[-1])) as proxy:
        config = Broker(proxy.address, broker.real).config(tmp_path)
        producer = AIOKafkaProducer(**producer_settings(config.kafka))
        await producer.start()
        try:
            proxy.refuse_produces(NotEnoughReplicasError.errno, [ALERTS])
            sent = await producer.send(ALERTS, b"once")
            while proxy.hits < 3:  # noqa: ASYNC110 - counted in another thread
                await asyncio.sleep(0.01)
            proxy.restore()
            await sent
        finally:
            await producer.stop()
    assert [record.value for record in await read_all(direct, ALERTS)] == [b"once"]


def test_the_verdict_counts_by_content() -> None:
    def incidents(*counts: tuple[str, int]) -> Results:
        times = {"last_seen_ms": 1, "detected_at_ms": 1, "resolved_at_ms": None}
        values = [
            orjson.dumps({"incident_id": name, "status": "firing", "anomalies": count} | times)
            for name, count in counts
        ]
        return results({INCIDENTS: values}, 10)

    expected = incidents(("a", 1), ("b", 2), ("c", 3))
    found = incidents(("a", 1), ("a", 1), ("b", 2), ("b", 7), ("d", 4))
    verdict = compare(found, expected)
    assert (verdict.lost, verdict.doubled) == (1, 2)
    assert not verdict.equal
    assert compare(expected, incidents(("c", 3), ("b", 2), ("a", 1))).equal


@pytest.mark.parametrize(("change_ms", "counts"), [(9, True), (11, False)])
def test_an_incident_that_names_a_change_after_the_end_does_not_count(change_ms: int, counts: bool) -> None:
    times = {"last_seen_ms": 1, "detected_at_ms": 1, "resolved_at_ms": None}
    incident = {"incident_id": "a", "status": "firing", "related_change": {"at_ms": change_ms}} | times
    assert results({INCIDENTS: [orjson.dumps(incident)]}, 10).count(INCIDENTS) == counts


def test_usage_and_stalls_are_seen() -> None:
    assert (rss_mb(os.getpid()) or 0) > 10
    assert rss_mb(2**22 + 1) is None
    assert open_files(os.getpid())
    begin = time.monotonic()
    with Usage(lambda: [os.getpid()], every_secs=0.01) as usage, Stall(lambda: 7, every_secs=0.01) as stall:
        eventually(lambda: usage.worst_rss_mb > 10 and stall.worst_secs > 0.1, within_secs=10)
    assert stall.worst_secs <= time.monotonic() - begin


def test_results_merge_by_name(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    report.merge(path, {"b": {"runs": 1}, "a": {"runs": 1}})
    report.merge(path, {"b": {"runs": 2}})
    assert path.read_text() == '{\n  "a": {\n    "runs": 1\n  },\n  "b": {\n    "runs": 2\n  }\n}\n'
    assert Outcome(1, 0, 0, 1).ok is False
