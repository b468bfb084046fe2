"""Alerts about Tidewatch itself: which conditions there are, when they fire, when they have ended.

They travel the same topic as all alerts, with the types ``tidewatch.monitoring.firing`` and ``.resolved``. A
condition fires when it holds for ``for_secs`` (unless its value is a duration itself), ends when it is below
``clear_ratio`` of its threshold for ``for_secs``, and fires again only ``repeat_secs`` after it fired before, so
that nothing here can flood on-call. Pure: time is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

from detectors.incidents.wording import with_unit
from detectors.records import Alert, rfc3339, stable_id
from streams.operate.config import MonitoringConfig

FIRING: Final = "tidewatch.monitoring.firing"
RESOLVED: Final = "tidewatch.monitoring.resolved"
ConditionName = Literal[
    "lag", "held_up", "dead_letters", "silent_producer", "sink_outage", "state", "restart_loop"
]


class Condition(NamedTuple):
    """One thing that can be wrong with Tidewatch."""

    name: ConditionName
    unit: str
    severity: Literal["warning", "critical"]
    threshold: Callable[[MonitoringConfig], float]
    sustained: bool
    """Whether it must hold for ``for_secs``; a duration, a share over that time, or a fact speaks for itself."""
    summary: str
    """With ``{subject}``, ``{observed}`` and ``{threshold}``."""
    meaning: str
    """For the runbook."""


_TABLE: Final = (
    Condition(
        "lag",
        "s",
        "critical",
        lambda config: config.lag_secs,
        True,
        "records of {subject} have waited for {observed}; the limit is {threshold}",
        "The group of workers does not keep up with a topic, or some of its partitions are not worked on.",
    ),
    Condition(
        "held_up",
        "s",
        "critical",
        lambda config: config.held_up_secs,
        True,
        "all windows wait for {subject}, which is {observed} behind the others; the limit is {threshold}",
        "No window closes without a partition that is behind: alerts come late by as much. Its producer's clock is "
        "slow, or what it is fed by is.",
    ),
    Condition(
        "dead_letters",
        "ratio",
        "warning",
        lambda config: config.dead_letter_ratio,
        False,
        "{observed} of the input records are refused; the limit is {threshold}",
        "A producer sends records that cannot be used.",
    ),
    Condition(
        "silent_producer",
        "s",
        "critical",
        lambda config: config.silent_secs,
        False,
        "no record arrived on {subject} for {observed}; the limit is {threshold}",
        "The brokers answer, and nobody writes: what is not sent cannot be watched.",
    ),
    Condition(
        "sink_outage",
        "s",
        "warning",
        lambda config: config.sink_secs,
        False,
        "{subject} cannot be written to for {observed}; rows wait on Kafka, alerts are not delayed",
        "The store is away or refuses; nothing is lost before the retention of the topics.",
    ),
    Condition(
        "state",
        "",
        "critical",
        lambda config: 1.0,
        False,
        "{text}",
        "A checkpoint was refused, rebuilt or belongs to another log.",
    ),
    Condition(
        "restart_loop",
        "restarts",
        "critical",
        lambda config: config.restarts,
        False,
        "{subject} ended {observed} without being asked to, at {threshold} or more this is told",
        "Workers end again and again; each time records are read again and alerts come late.",
    ),
)

CONDITIONS: Final[dict[ConditionName, Condition]] = {condition.name: condition for condition in _TABLE}
_CALM: Final = {"silent_producer", "sink_outage"}
"""They have ended at once when the thing is there again: for_secs of calm would only delay good news."""


class Reading(NamedTuple):
    """What one condition is now."""

    condition: ConditionName
    subject: str
    value: float
    n: int = 0
    """Observations behind the value."""
    text: str = ""
    since_ms: int | None = None
    """When it began, if that is known better than by watching."""


class _Course:
    """One condition of one subject."""

    def __init__(self) -> None:
        self.over_since_ms: int | None = None
        self.under_since_ms: int | None = None
        self.fired_ms: int | None = None
        """When it last fired."""
        self.alert: Alert | None = None
        """While it is firing: what was said."""


class Monitoring:
    """The conditions that one worker watches."""

    def __init__(self, fleet: str, config: MonitoringConfig) -> None:
        self._fleet = fleet
        self._config = config
        self._courses: dict[tuple[ConditionName, str], _Course] = {}

    @property
    def firing(self) -> Iterator[tuple[ConditionName, str]]:
        """What is firing: condition and subject."""
        return (key for key, course in self._courses.items() if course.alert is not None)

    def adopt(self, alerts: Iterable[Alert], conditions: Iterable[ConditionName]) -> None:
        """Go on with what another worker left firing on the topic; ``alerts`` in the order of the log."""
        detectors = {f"monitoring:{name}": name for name in conditions}
        for alert in alerts:
            name = detectors.get(alert.detector)
            subject = alert.segment.get("subject", "")
            if name is None or alert.fingerprint != self._fingerprint(name, subject):
                continue
            course = self._courses.setdefault((name, subject), _Course())
            course.alert = alert if alert.type == FIRING else None

    def observe(self, readings: Iterable[Reading], now_ms: int) -> list[Alert]:
        """Take the readings of one moment; the alerts that they make."""
        alerts = []
        for reading in readings:
            course = self._courses.setdefault((reading.condition, reading.subject), _Course())
            step = self._resolve if course.alert is not None else self._fire
            if (alert := step(course, reading, now_ms)) is not None:
                alerts.append(alert)
        return alerts

    def forget(self, conditions: Iterable[ConditionName]) -> None:
        """Another worker watches these now."""
        gone = set(conditions)
        self._courses = {key: course for key, course in self._courses.items() if key[0] not in gone}

    def _fire(self, course: _Course, reading: Reading, now_ms: int) -> Alert | None:
        condition = CONDITIONS[reading.condition]
        if reading.value < condition.threshold(self._config):
            course.over_since_ms = None
            return None
        if course.over_since_ms is None:
            course.over_since_ms = now_ms
        for_secs = self._config.for_secs if condition.sustained else 0.0
        if now_ms - course.over_since_ms < for_secs * 1000:
            return None
        if course.fired_ms is not None and now_ms - course.fired_ms < self._config.repeat_secs * 1000:
            return None
        started_ms = course.over_since_ms if reading.since_ms is None else reading.since_ms
        course.fired_ms, course.under_since_ms = now_ms, None
        course.alert = self._alert(condition, reading, started_ms, now_ms)
        return course.alert

    def _resolve(self, course: _Course, reading: Reading, now_ms: int) -> Alert | None:
        condition = CONDITIONS[reading.condition]
        if reading.value >= condition.threshold(self._config) * self._config.clear_ratio:
            course.under_since_ms = None
            return None
        if course.under_since_ms is None:
            course.under_since_ms = now_ms
        for_secs = 0.0 if reading.condition in _CALM else self._config.for_secs
        if now_ms - course.under_since_ms < for_secs * 1000 or course.alert is None:
            return None
        said, course.alert, course.over_since_ms = course.alert, None, None
        return _resolved(said, now_ms)

    def _alert(self, condition: Condition, reading: Reading, started_ms: int, now_ms: int) -> Alert:
        fingerprint = self._fingerprint(condition.name, reading.subject)
        incident_id = stable_id(fingerprint, started_ms)
        threshold = condition.threshold(self._config)
        summary = condition.summary.format(
            subject=reading.subject,
            text=reading.text,
            observed=with_unit(reading.value, condition.unit),
            threshold=with_unit(threshold, condition.unit),
        )
        return Alert(
            alert_id=stable_id(incident_id, "firing"),
            type=FIRING,
            fingerprint=fingerprint,
            incident_id=incident_id,
            severity=condition.severity,
            summary=f"Tidewatch: {summary}",
            segment={"subject": reading.subject},
            signal=condition.name,
            unit=condition.unit,
            detector=f"monitoring:{condition.name}",
            observed=float(reading.value),
            expected=0.0,
            lower=None,
            upper=threshold,
            n=reading.n,
            window_start=rfc3339(started_ms),
            window_end=rfc3339(now_ms),
            started_at=rfc3339(started_ms),
            detected_at=rfc3339(now_ms),
            resolved_at=None,
            exemplars=(),
        )

    def _fingerprint(self, condition: ConditionName, subject: str) -> str:
        return stable_id(self._fleet, "monitoring", condition, subject)


def _resolved(said: Alert, now_ms: int) -> Alert:
    """The end of what was said; the firing alert's numbers stay."""
    changes = {
        "alert_id": stable_id(said.incident_id, "resolved"),
        "type": RESOLVED,
        "summary": f"Resolved: {said.summary}",
        "resolved_at": rfc3339(now_ms),
    }
    return Alert(**{name: getattr(said, name) for name in said.__struct_fields__} | changes)


def reference() -> Iterator[str]:
    """The table of docs/operations.md."""
    config = MonitoringConfig()
    yield "| condition | severity | fires at | means |"
    yield "|---|---|---|---|"
    for condition in CONDITIONS.values():
        at = with_unit(condition.threshold(config), condition.unit) if condition.unit else "once"
        held = f", for {config.for_secs:g} s" if condition.sustained else ""
        yield f"| `{condition.name}` | {condition.severity} | {at}{held} | {condition.meaning} |"
