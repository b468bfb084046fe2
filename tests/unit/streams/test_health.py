"""What /livez, /readyz and /metrics answer, and that nobody off this host is asked."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.operate.health import CannotListen, HealthServer, Report
from streams.operate.metrics import Exposition, Sample, Value, sample_of
from streams.operate.table import METRICS
from streams.operate.vitals import Delays, Vitals, cpu_ticks


class Blocked:
    """How long an event loop has not turned."""

    secs = 0.0

    def __call__(self) -> float:
        return self.secs


@contextmanager
def serving(blocked: Blocked | None = None) -> Iterator[HealthServer]:
    server = HealthServer("127.0.0.1", 0, blocked_secs=blocked or Blocked(), limit_secs=18.0)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_is_alive_at_once_and_ready_when_there_is_no_reason_not_to_be() -> None:
    with serving() as server:
        assert get(server, "/livez") == (200, b'{"ok":true,"reasons":[]}')
        assert get(server, "/readyz") == (503, b'{"ok":false,"reasons":["starting"]}')
        server.publish(Report(()))
        assert get(server, "/readyz") == (200, b'{"ok":true,"reasons":[]}')
        server.publish(Report(("the store cannot be written to",)))
        status, body = get(server, "/readyz")
        assert (status, orjson.loads(body)["reasons"]) == (503, ["the store cannot be written to"])


def test_a_blocked_event_loop_is_first_not_ready_and_then_dead() -> None:
    blocked = Blocked()
    with serving(blocked) as server:
        server.publish(Report(()))
        blocked.secs = 6.0
        status, body = get(server, "/readyz")
        assert (status, orjson.loads(body)["reasons"]) == (503, ["the event loop is blocked for 6 s"])
        assert get(server, "/livez")[0] == 200
        blocked.secs = 18.0
        assert get(server, "/livez")[0] == 503


@pytest.mark.parametrize("path", ["/", "/metrics/../etc", "/table/"])
def test_there_is_nothing_else(path: str) -> None:
    with serving() as server:
        assert get(server, path)[0] == 404
        assert get(server, "/readyz", "POST")[0] == 405


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = HealthServer("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(CannotListen, match=r"choose another operate\.port, or 0 for any"):
            server.start()


def test_it_does_not_listen_after_its_end() -> None:
    with serving() as server:
        port = server.port
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def everything() -> Sample:
    """Each metric of the table with a number."""
    delays = Delays()
    for secs in (0.01, 0.3, 0.3, 1000.0):
        delays.add(secs)
    values = [
        Value(metric.name, tuple(f"a {label}" for label in metric.labels), 7)
        for metric in METRICS.values()
        if metric.kind != "histogram"
    ]
    return sample_of(values, delays)


def test_the_exposition_is_the_table() -> None:
    sample = everything()
    text = Exposition(lambda: sample).text().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for metric in METRICS.values():
        family = families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind
        assert family.documentation == metric.help
        if metric.kind != "histogram":
            (found,) = family.samples
            assert (found.name, found.value) == (metric.name, 7)
            assert set(found.labels) == set(metric.labels)
    ours = {name for name in families if name.startswith("tidewatch_")}
    assert ours == {metric.name.removesuffix("_total") for metric in METRICS.values()}


def test_the_histogram_is_cumulative() -> None:
    sample = everything()
    text = Exposition(lambda: sample).text().decode()
    buckets = {
        found.labels["le"]: found.value
        for family in text_string_to_metric_families(text)
        for found in family.samples
        if found.name == "tidewatch_alert_delay_seconds_bucket"
    }
    assert (buckets["0.05"], buckets["0.5"], buckets["300.0"], buckets["+Inf"]) == (1, 3, 3, 4)


def test_memory_descriptors_and_cpu_of_the_process_are_there() -> None:
    text = Exposition(Sample).text().decode()
    for name in ("resident_memory_bytes", "open_fds", "cpu_seconds_total"):
        assert f"process_{name} " in text


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_names_follow_the_conventions_of_prometheus(metric: object) -> None:
    found = METRICS[str(getattr(metric, "name", ""))]
    assert found.name.endswith("_total") == (found.kind == "counter")
    if found.unit in ("seconds", "bytes") and found.kind != "counter":
        assert found.name.endswith(f"_{found.unit}")
    assert found.help.endswith(".")
    assert not {"tenant", "user", "segment", "event_id", "partition"} & set(found.labels)


def test_an_unknown_metric_is_a_defect_that_is_noticed() -> None:
    sample = sample_of([Value("tidewatch_made_up", (), 1)], None)
    with pytest.raises(KeyError):
        Exposition(lambda: sample).text()


def test_waits_are_out_until_they_return() -> None:
    vitals = Vitals()
    with vitals.waiting("the store"):
        (wait,) = vitals.waits.values()
        assert wait.what == "the store"
    assert not vitals.waits


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="Linux only")
def test_the_work_of_a_thread_shows() -> None:
    before = cpu_ticks("MainThread")
    while cpu_ticks("MainThread") == before:
        sum(range(100_000))
    assert cpu_ticks("no such thread") == 0
