"""When an alert about Tidewatch itself fires and ends, and what the facts behind it are; no clock, no broker."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from detectors.records import Alert
from sinks.alerts_topic import alert_message
from streams.operate.config import MonitoringConfig
from streams.operate.crashes import crashes, note_crashes
from streams.operate.facts import MAX_SAMPLES, GroupFacts
from streams.operate.monitoring import CONDITIONS, FIRING, RESOLVED, Monitoring, Reading
from streams.operate.status import birth_of, status_path, write_status
from streams.topics import INTERACTIONS
from streams.transport import TP

CONFIG = MonitoringConfig(lag_secs=100, for_secs=60, clear_ratio=0.5, repeat_secs=600)
ONE, TWO = TP(INTERACTIONS, 0), TP(INTERACTIONS, 1)


class Watch:
    """Monitoring, a few seconds at a time."""

    def __init__(self) -> None:
        self.monitoring = Monitoring("fleet", CONFIG)
        self.now_ms = 1_790_000_000_000

    def see(self, value: float, secs: int, condition: str = "lag") -> list[Alert]:
        alerts = []
        for _ in range(0, secs, 5):
            reading = Reading(condition, INTERACTIONS, value, 7, "text")  # type: ignore[arg-type]
            alerts += self.monitoring.observe([reading], self.now_ms)
            self.now_ms += 5000
        return alerts


def test_a_condition_must_hold_and_is_told_once() -> None:
    watch = Watch()
    assert watch.see(150, 60) == []
    assert watch.see(10, 30) == []
    (alert,) = watch.see(150, 3600)
    assert (alert.type, alert.severity, alert.detector) == (FIRING, "critical", "monitoring:lag")
    assert alert.segment == {"subject": INTERACTIONS}
    assert alert.summary == (
        "Tidewatch: records of llm.interactions have waited for 150 s; the limit is 100 s"
    )


def test_it_ends_only_well_below_its_threshold_and_after_a_while() -> None:
    watch = Watch()
    (fired,) = watch.see(150, 120)
    assert watch.see(60, 600) == [], "below the threshold is not yet over"
    assert watch.see(40, 60) == []
    (ended,) = watch.see(40, 10)
    assert ended.type == RESOLVED
    assert (ended.incident_id, ended.started_at) == (fired.incident_id, fired.started_at)
    assert ended.alert_id != fired.alert_id
    assert ended.resolved_at is not None


def test_what_flaps_is_told_seldom() -> None:
    watch = Watch()
    fired = [
        alert
        for _ in range(30)
        for alert in [*watch.see(150, 70), *watch.see(10, 70)]
        if alert.type == FIRING
    ]
    assert len(fired) <= 30 * 140 / CONFIG.repeat_secs + 1


def test_another_worker_goes_on_with_what_the_topic_shows() -> None:
    watch = Watch()
    (fired,) = watch.see(150, 120)
    other = Watch()
    other.now_ms = watch.now_ms
    other.monitoring.adopt([fired], ["lag"])
    assert other.see(150, 600) == [], "it is told already"
    (ended,) = other.see(10, 70)
    assert ended.incident_id == fired.incident_id
    third = Watch()
    third.monitoring.adopt([fired, ended], ["lag"])
    assert list(third.monitoring.firing) == []


def test_alerts_of_other_fleets_and_conditions_are_not_adopted() -> None:
    (fired,) = Watch().see(150, 120)
    other_fleet = Monitoring("another", CONFIG)
    other_fleet.adopt([fired], ["lag"])
    other_condition = Monitoring("fleet", CONFIG)
    other_condition.adopt([fired], ["restart_loop"])
    assert [*other_fleet.firing, *other_condition.firing] == []


def test_two_workers_that_see_the_same_say_the_same() -> None:
    """Workers of one host count the same ends: the idempotency key makes one alert of it."""
    said = []
    for delay_ms in (0, 2500):
        watch = Watch()
        reading = Reading("restart_loop", "detect workers of h", 3, 3, since_ms=watch.now_ms - 60_000)
        said += watch.monitoring.observe([reading], watch.now_ms + delay_ms)
    assert len(said) == 2
    assert said[0].alert_id == said[1].alert_id


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_makes_a_cloud_event(condition: str) -> None:
    (alert,) = Watch().see(1e6, 120, condition)
    key, value, headers = alert_message(alert, "tidewatch/fleet")
    assert key == alert.fingerprint.encode()
    assert dict(headers)["ce_type"] == b"tidewatch.monitoring.firing"
    assert dict(headers)["ce_id"] == alert.alert_id.encode()
    assert orjson.loads(value)["signal"] == condition


def facts() -> GroupFacts:
    return GroupFacts(frozenset({INTERACTIONS}), 60.0)


def test_lag_is_how_long_the_first_record_has_waited() -> None:
    found = facts()
    ends = {ONE: 0}
    for now in range(0, 100, 5):
        ends = {ONE: now * 10}
        (reading,) = found.lags(now, ends, {ONE: 300})
    assert (reading.value, reading.n) == (pytest.approx(95 - 35), 950 - 300)
    (reading,) = found.lags(100, ends, {ONE: 950})
    assert (reading.value, reading.n) == (0.0, 0)


def test_the_slowest_partition_counts_and_an_unread_one_from_when_we_began_to_watch() -> None:
    found = facts()
    for now in (0, 10, 20):
        (reading,) = found.lags(now, {ONE: 5, TWO: 7}, {ONE: 5})
    assert (reading.value, reading.n) == (20.0, 7)


def test_a_long_lag_costs_bounded_memory_and_is_still_known() -> None:
    found = facts()
    for now in range(5000):
        (reading,) = found.lags(now, {ONE: now + 1}, {})
    assert reading.value == 4999
    assert len(found._ends[ONE]._samples) <= MAX_SAMPLES


def test_silence_counts_from_the_last_record_and_never_for_a_topic_without_any() -> None:
    found = facts()
    assert [r.value for now in (0, 50) for r in found.silence(now, {ONE: 0})] == [0.0, 0.0]
    assert [r.value for now in (60, 90) for r in found.silence(now, {ONE: 3})] == [0.0, 30.0]
    assert [r.value for r in found.silence(100, {ONE: 4})] == [0.0]
    assert list(found.silence(100, {TP("llm.feedback", 0): 4})) == []


def test_dead_letters_are_a_share_of_the_last_span() -> None:
    found = facts()
    assert found.dead_letters(0, 0, {ONE: 0}).value == 0.0
    assert found.dead_letters(30, 10, {ONE: 20}).value == 0.0, "too few to say"
    assert found.dead_letters(60, 30, {ONE: 100}).value == pytest.approx(0.3)
    assert found.dead_letters(300, 30, {ONE: 5000}).value == 0.0, "long ago"


def test_workers_that_left_their_status_behind_are_counted_once(tmp_path: Path) -> None:
    note_crashes(tmp_path, "detect")
    assert crashes(tmp_path, "detect") == []
    write_status(tmp_path, "detect", {})
    mine = status_path(tmp_path, "detect")
    status = orjson.loads(mine.read_bytes())
    gone = status_path(tmp_path, "detect", 2**22 + 1)
    gone.write_bytes(orjson.dumps(status | {"pid": 2**22 + 1}))
    reused = status_path(tmp_path, "detect", os.getppid())
    reused.write_bytes(orjson.dumps(status | {"pid": os.getppid(), "birth": 1}))
    note_crashes(tmp_path, "record")
    assert gone.exists(), "another role's"
    note_crashes(tmp_path, "detect")
    note_crashes(tmp_path, "detect")
    # Our own file is one of a process before us that had our number, as number 1 of a container has.
    assert len(crashes(tmp_path, "detect")) == 3
    assert not any(path.exists() for path in (gone, reused, mine))


def test_a_process_that_is_gone_has_no_birth() -> None:
    assert birth_of(os.getpid()) is not None
    assert birth_of(2**22 + 1) is None
