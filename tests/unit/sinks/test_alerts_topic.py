"""Alerts as CloudEvents and as lines for a person."""

from __future__ import annotations

import io

import orjson

from detectors.records import Alert
from sinks.alerts_topic import alert_message
from sinks.base import Batch
from sinks.console import ConsoleSink
from tests.support.rows import sample_batch, with_value

FIRING = Alert(
    alert_id="a1",
    type="tidewatch.alert.firing",
    fingerprint="f1",
    incident_id="i1",
    severity="critical",
    summary="refusal_ratio is 0.31, expected 0.02",
    segment={"provider": "openai", "model": "gpt-x"},
    signal="refusal_ratio",
    unit="ratio",
    detector="adwin",
    observed=0.31,
    expected=0.02,
    lower=None,
    upper=0.05,
    n=812,
    window_start="2026-09-21T14:13:10.000Z",
    window_end="2026-09-21T14:13:20.000Z",
    started_at="2026-09-21T14:12:00.000Z",
    detected_at="2026-09-21T14:13:20.000Z",
    resolved_at=None,
    exemplars=("e1", "e2"),
)


def test_binary_mode_message() -> None:
    key, value, headers = alert_message(FIRING, "/tidewatch/default")
    assert key == b"f1"
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"tidewatch.alert.firing",
        "ce_source": b"/tidewatch/default",
        "ce_id": b"a1",
        "ce_time": b"2026-09-21T14:13:20.000Z",
        "ce_subject": b"f1",
        "ce_dataschema": b"urn:tidewatch:schema:alert:1",
        "content-type": b"application/json",
    }
    content = orjson.loads(value)
    assert content["segment"] == {"provider": "openai", "model": "gpt-x"}
    assert content["lower"] is None
    assert content["exemplars"] == ["e1", "e2"]


def test_equal_alerts_are_equal_messages() -> None:
    assert alert_message(FIRING, "/a") == alert_message(FIRING, "/a")


def test_a_resolved_alert_has_the_time_it_was_resolved() -> None:
    import msgspec

    resolved = msgspec.structs.replace(
        FIRING, type="tidewatch.alert.resolved", resolved_at="2026-09-21T15:00:00.000Z"
    )
    assert dict(alert_message(resolved, "/a")[2])["ce_time"] == b"2026-09-21T15:00:00.000Z"


def _alerts(**changed: object) -> Batch:
    batch = sample_batch("alerts", 1, resolved_at=None, severity="critical", unit="ratio")
    for name, value in changed.items():
        batch = with_value(batch, name, 0, value)
    return batch


async def test_the_console_prints_an_alert_once() -> None:
    out = io.StringIO()
    sink = ConsoleSink(out)
    await sink.write(_alerts())
    await sink.write(_alerts())
    await sink.write(sample_batch("interactions", 3))
    await sink.close()
    assert out.getvalue() == (
        "2026-09-21 14:13:20Z CRITICAL summary of it [signal of it 0.5 ratio, expected 0.5, n=0, "
        "since 2026-09-21 14:13:20Z, segment segment-0]\n"
    )


async def test_the_console_says_when_it_is_over() -> None:
    out = io.StringIO()
    sink = ConsoleSink(out)
    await sink.write(_alerts(type="tidewatch.alert.resolved", resolved_at=1_790_000_060_000))
    assert out.getvalue().startswith("2026-09-21 14:14:20Z RESOLVED summary of it")


async def test_an_alert_cannot_write_on_the_terminal() -> None:
    out = io.StringIO()
    await ConsoleSink(out).write(_alerts(summary="\x1b[2J\x9b31m‮evil\r\n"))
    assert out.getvalue().count("\n") == 1
    assert out.getvalue().rstrip("\n").isprintable()
