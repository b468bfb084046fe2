"""Verdicts on hand-made cases."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from streams.backtest.overlap import in_reference, is_named, relation
from streams.backtest.scoring import (
    Affected,
    Label,
    Notice,
    Setting,
    Verdict,
    false_alarms,
    judge,
    unlabelled_ms,
)

MIN_MS = 60_000
SETTING = Setting(10_000, 15_000, (frozenset({"model_requested", "provider"}), frozenset({"topic"})))
ACME = {"provider": "acme-ai", "model_requested": "acme-chat-2"}
LABEL = Label(
    id="x", start_ms=100 * MIN_MS, end_ms=200 * MIN_MS, segment=ACME, type="latency", severity="warning",
    origin="external API", target_events=100,
)  # fmt: skip
EVERY_SECOND = Affected(np.arange(0, 400 * MIN_MS, 1000))


def notice(at_min: float, **changes: Any) -> Notice:
    plain = Notice(
        at_ms=round(at_min * MIN_MS), incident_id="i", firing=True, told=True, severity="warning", type="latency",
        origin="external API", segment=ACME, signal="latency_p95_ms", detector="adwin", started_at_ms=0,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def verdict(*notices: Notice, until_min: float = 400, **changes: Any) -> Verdict:
    label = msgspec.structs.replace(LABEL, **changes)
    return judge(label, notices, EVERY_SECOND, round(until_min * MIN_MS), SETTING)


def test_right_in_everything() -> None:
    found = verdict(notice(101), notice(201, firing=False))
    assert found.detected
    assert found.in_target
    assert (found.delay_secs, found.delay_events) == (75.0, 75)  # the alert waits for 15 s of lateness
    assert found.allowance_events == 25
    assert (found.severity_right, found.origin_right, found.segment_right, found.cleared) == (True,) * 4
    assert found.alerts == 1


def test_later_than_the_target() -> None:
    assert verdict(notice(100 + 110 / 60)).in_target
    assert not verdict(notice(100 + 111 / 60)).in_target


def test_half_height_counts_for_ramps() -> None:
    found = verdict(notice(161), counts_from_ms=160 * MIN_MS)
    assert found.delay_events == 75
    early = verdict(notice(110), counts_from_ms=160 * MIN_MS)
    assert early.detected
    assert (early.delay_secs, early.delay_events) == (0.0, 0)


@pytest.mark.parametrize("at_min", [99.0, 100.0, 200.1])
def test_outside_of_the_incident(at_min: float) -> None:
    found = verdict(notice(at_min))
    assert not found.noticed
    assert found.by is None
    assert found.delay_events is None


def test_wrong_type_is_noticed_but_not_detected() -> None:
    found = verdict(notice(101, type="cost_spike", severity="critical"))
    assert not found.detected
    assert found.noticed
    assert not found.in_target
    assert found.delay_events == 75
    assert found.critical


def test_the_right_type_counts_where_another_came_first() -> None:
    found = verdict(notice(101, type="cost_spike"), notice(102, incident_id="j"))
    assert found.detected
    assert found.delay_events == 135
    assert found.alerts == 2


@pytest.mark.parametrize(
    ("segment", "counts", "named"),
    [
        (ACME, True, True),
        ({}, True, False),
        ({"provider": "acme-ai"}, True, True),
        (ACME | {"topic": "billing"}, True, False),
        ({"topic": "billing"}, False, False),
        ({"model_requested": "northstar-pro", "provider": "northstar"}, False, False),
    ],
)
def test_segments(segment: dict[str, str], counts: bool, named: bool) -> None:
    found = verdict(notice(101, segment=in_reference(segment)))
    assert found.detected == counts
    assert found.segment_right == named


def test_a_parent_is_named_where_nothing_finer_is_watched() -> None:
    label = in_reference({"provider": "acme-ai", "region": "us-east-1"})
    watched = (frozenset({"provider"}), frozenset({"region"}))
    assert is_named(label, in_reference({"model": "acme-chat-2"}), watched)
    assert is_named(label, {"region": "us-east-1"}, watched)
    assert not is_named(label, {}, watched)
    assert not is_named(label, {"region": "eu-west-1"}, watched)


def test_segments_with_the_same_events_are_equal() -> None:
    assert in_reference({"feature": "agent", "prompt_version": "v5"}) == in_reference(
        {"prompt_name": "agent-plan"}
    )
    label, said = in_reference({"prompt_name": "extract-json"}), in_reference({"feature": "extract"})
    assert relation(label, said) == "equal"
    assert (
        relation(in_reference({"provider": "northstar"}), in_reference({"model": "northstar-pro"})) == "child"
    )


def test_a_new_prompt_version_names_the_segment() -> None:
    segment = in_reference({"prompt_name": "extract-json"})
    said = in_reference({"prompt_name": "extract-json", "prompt_version": "v20"})
    assert verdict(notice(101, segment=said), segment=segment, versioned=True).segment_right
    assert not verdict(notice(101, segment=said), segment=segment).segment_right


def test_what_only_informs_is_detected_by_its_record() -> None:
    record = notice(101, told=False, severity="info")
    assert not verdict(record).noticed
    found = verdict(record, severity="info")
    assert found.detected
    assert found.severity_right
    assert found.alerts == 0


def test_severity_is_the_worst_that_was_said() -> None:
    found = verdict(notice(101), notice(110, severity="critical"))
    assert found.severity_said == "critical"
    assert not found.severity_right
    assert found.alerts == 2


def test_cleared_within_twice_the_delay() -> None:
    # Found after 75 s, the target takes 125 s: it must have resolved 250 s after the end.
    assert verdict(notice(101), notice(204, firing=False)).cleared
    assert not verdict(notice(101), notice(205, firing=False)).cleared
    assert verdict(notice(101)).cleared is False
    assert verdict(notice(101), until_min=202).cleared is None


def test_false_alarms_lie_outside_of_labels_and_grace() -> None:
    notices = [
        notice(50, incident_id="before"),
        notice(60, incident_id="before", severity="critical"),
        notice(101),
        notice(203, incident_id="grace"),
        notice(300, incident_id="grace", severity="critical"),
        notice(300, incident_id="after", told=False),
        notice(310, incident_id="late"),
    ]
    found = false_alarms(notices, [verdict(*notices)])
    assert [(alarm.notice.incident_id, alarm.severity) for alarm in found] == [
        ("before", "critical"),
        ("late", "warning"),
    ]


def test_time_without_labels() -> None:
    first, second = verdict(), verdict(start_ms=150 * MIN_MS, end_ms=220 * MIN_MS)
    grace_ms = second.grace_end_ms - 220 * MIN_MS
    assert unlabelled_ms(0, 400 * MIN_MS, [second, first]) == (100 + 180) * MIN_MS - grace_ms
    assert unlabelled_ms(0, 400 * MIN_MS, []) == 400 * MIN_MS
