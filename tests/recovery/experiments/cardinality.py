"""A flood of names: every record with a tenant, a topic, a user, labels that nobody has seen before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import orjson

from streams.config import Config, SegmentsConfig
from streams.messages import Message
from streams.replay import Replay
from streams.topics import ALERTS, ANOMALIES, INCIDENTS, SUMMARIES
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import tansu
from tests.recovery.rig.measure import Usage
from tests.recovery.rig.run import MARKER_MS, SECTIONS, START_MS, Event, Run, end_ms
from tests.recovery.rig.stream import Feeder, LongTraffic
from tests.recovery.rig.verdict import Results, compare, results

PARTITIONS: Final = 4
FLOOD_AFTER_MS: Final = 180_000
"""By then every ordinary segment of the comparison has its place."""
MAX_RSS_MB: Final = 512.0
OVERFLOW: Final = "rule:segment-cap"
CONFIG: Final[dict[str, Any]] = {
    "segments": {"by": [*map(list, SegmentsConfig().by), ["attributes.cohort"]]},
    "checkpoint": {"interval_secs": 15},
}
"""The default segmentations and a free one. Checkpoints as often as makes several fall into a short run."""
NEW_SEGMENTS: Final = 5
"""Of each record of the flood: tenant, topic, model and topic, prompt version, cohort."""
JUDGED: Final = (SUMMARIES, ANOMALIES, INCIDENTS, ALERTS)


@dataclass(frozen=True)
class Flood:
    """Ordinary traffic, and from ``FLOOD_AFTER_MS`` on ``records`` that share no segment with it or one another."""

    ordinary: LongTraffic
    records: int

    def __iter__(self) -> Iterator[Event]:
        begin_ms = self.ordinary.start_ms + FLOOD_AFTER_MS
        span_ms = self.ordinary.start_ms + self.ordinary.secs * 1000 - begin_ms
        sent = 0
        for event in self.ordinary:
            due = min(self.records, self.records * max(0, event.at_ms - begin_ms) // span_ms)
            for number in range(sent, due):
                yield _flooding(number, event.at_ms)
            sent = max(sent, due)
            yield event
        for number in range(sent, self.records):
            yield _flooding(number, begin_ms + span_ms - 1)


def _flooding(number: int, at_ms: int) -> Event:
    """A record of one model and prompt; all its other names are its own.

    No segment of it lasts: what does is known after a while (``Rows.known_well``), and counts as others do.
    """
    n = f"{number:07d}"
    value = {
        "event_id": f"flood-{n}", "trace_id": f"t-{n}", "occurred_at": at_ms, "user_id": f"u-{n}",
        "session_id": f"s-{n}", "tenant": f"tenant-{n}", "topic": f"topic-{n}",
        "model_requested": "flood", "model_served": f"served-{n}",
        "finish_reason": f"reason-{n}", "prompt_name": "flood", "prompt_version": f"v{n}",
        "error_type": f"error-{n}", "cost": 0.01, "currency": f"c{n}", "duration_ms": 500 + number % 1000,
        "tokens_in": 100, "tokens_out": 50, "attributes": {"cohort": f"cohort-{n}", f"key-{n}": n},
        "tool_calls": [{"name": f"tool-{n}"}], f"unknown_{n}": n,
    }  # fmt: skip
    return Event("interaction", f"t-{n}".encode(), at_ms, orjson.dumps(value))


def flood(scale: Scale) -> Outcome:
    """A worker in the flood, held against a replay of the ordinary traffic alone."""
    records = scale.pick(50_000, 1_000_000)
    ordinary = LongTraffic(scale.pick(480, 1980), 12.0)
    end = ordinary.end
    with tansu() as broker, ExitStack() as stack:
        run = Run(broker, scale.folder / "run", PARTITIONS, **CONFIG)
        worker = run.worker(stack)
        usage = stack.enter_context(Usage(lambda: [worker.pid]))
        with Feeder(run.config, Flood(ordinary, records), None) as feeder:
            feeder.wait()
        run.send_markers(end_ms(end) + MARKER_MS)
        run.await_end(end, within_secs=scale.pick(150, 1800))
        found = {topic: run.read(topic) for topic in JUDGED}
    alone = _replayed(ordinary)
    known = _segments_before(alone[SUMMARIES], START_MS + FLOOD_AFTER_MS)
    expected = _of_segments(alone, known, end_ms(end))
    judged = _of_segments(found, known, end_ms(end))
    for more in _with_others(found, known) - expected.rows[ANOMALIES].keys():
        judged.rows[ANOMALIES].pop(more, None)
    verdict = compare(judged, expected)
    failures = list(verdict.examples)
    if not expected.count(INCIDENTS):
        failures.append("the ordinary traffic has no incident that the flood could hide")
    alerts = {alert["alert_id"]: alert["detector"] for alert in map(orjson.loads, found[ALERTS])}
    if (overflows := [*alerts.values()].count(OVERFLOW)) != 1:
        failures.append(f"{overflows} alerts that the cap is reached, expected 1")
    if usage.worst_rss_mb > MAX_RSS_MB:
        failures.append(f"the worker grew to {usage.worst_rss_mb:.0f} MB")
    return Outcome(
        runs=1,
        faults=records,
        lost=verdict.lost,
        doubled=verdict.doubled,
        worst_rss_mb=usage.worst_rss_mb,
        notes=f"{records * NEW_SEGMENTS:,} new segments and {records:,} users; {len(known)} segments known before, "
        f"with {expected.count(SUMMARIES):,} rows and {expected.count(INCIDENTS)} incidents",
        failures=tuple(failures),
    )


def _replayed(events: Iterable[Event]) -> dict[str, list[bytes]]:
    by_topic: dict[str, list[bytes]] = {topic: [] for topic in JUDGED}

    def keep(message: Message) -> None:
        if message.topic in by_topic:
            by_topic[message.topic].append(message.value)

    replay = Replay(Config.model_validate(SECTIONS | CONFIG), keep, now_ms=START_MS + 86_400_000)
    for event in events:
        replay.feed(event.stream, event.value)
    replay.finish()
    return by_topic


Segment = tuple[tuple[str, str], ...]


def _segment(given: Any) -> Segment:
    """Of an object of names and values, or of a pair of lists of them."""
    return tuple(given.items() if isinstance(given, dict) else zip(*given, strict=True))


def _segments_before(summaries: Iterable[bytes], until_ms: int) -> set[Segment]:
    """Segments with records before, but the whole fleet, which has those of the flood."""
    windows = [record for record in map(orjson.loads, summaries) if record["window_end_ms"] <= until_ms]
    return {_segment(row[0]) for record in windows for row in record["rows"]} - {()}


def _of_segments(by_topic: Mapping[str, Iterable[bytes]], known: set[Segment], until_ms: int) -> Results:
    """What is said about these segments."""
    kept: dict[str, list[bytes]] = {topic: [] for topic in JUDGED}
    for topic, values in by_topic.items():
        for record in map(orjson.loads, values):
            if topic == SUMMARIES:
                record["rows"] = [row for row in record["rows"] if _segment(row[0]) in known]
            elif _segment((record.get("evidence") or record)["segment"]) not in known:
                continue
            kept[topic].append(orjson.dumps(_PROMISED.get(topic, dict)(record)))
    return results(kept, until_ms)


def _apart(anomaly: dict[str, Any]) -> dict[str, Any]:
    """An anomaly without the incident that it is counted under: the flood moves the whole fleet, and what a segment
    shows like it, at about that time or later, may be told as a part of that."""
    return anomaly | {"anomaly_id": _identity(anomaly), "fingerprint": ""}


def _identity(anomaly: dict[str, Any]) -> str:
    about = [anomaly["evidence"][name] for name in ("detector", "segment", "signal", "window_end_ms")]
    return orjson.dumps(about).decode()


def _with_others(by_topic: Mapping[str, Iterable[bytes]], known: set[Segment]) -> set[str]:
    """Anomalies of incidents of other segments: what is too weak for an own one is put on record there."""
    incidents = map(orjson.loads, by_topic[INCIDENTS])
    theirs = {incident["fingerprint"] for incident in incidents if _segment(incident["segment"]) not in known}
    anomalies = map(orjson.loads, by_topic[ANOMALIES])
    return {_identity(anomaly) for anomaly in anomalies if anomaly["fingerprint"] in theirs}


def _transition(incident: dict[str, Any]) -> dict[str, Any]:
    """An incident without what counts its anomalies, for the same reason; one row for each status."""
    at_ms = incident["resolved_at_ms"] or incident["detected_at_ms"]
    return {name: incident[name] for name in _OF_INCIDENT} | {"last_seen_ms": at_ms}


_OF_INCIDENT: Final = (
    "incident_id", "fingerprint", "status", "family", "segment", "signal", "detected_at_ms", "resolved_at_ms",
)  # fmt: skip
_PROMISED: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    ANOMALIES: _apart,
    INCIDENTS: _transition,
    ALERTS: lambda alert: alert | {"members": ()},
}
"""Without what else moved in an alert: the whole fleet may be part of that."""


EXPERIMENTS = (
    Experiment(
        "cardinality",
        "a million records, each with a tenant, topic, prompt version, user, tool, label of its own",
        "≤ 512 MB; segments known before judged as without the flood; one alert that the cap is reached",
        ("tansu",),
        flood,
        short_secs=25,
    ),
)
