"""An alert as a CloudEvents 1.0 message on Kafka, binary mode: the value stays plain JSON, the context is headers.

Everything is a function of the alert, times included, so a repeat after a crash is the same message and
``ce_id`` works as idempotency key. Source: CloudEvents Kafka protocol binding 1.0.2, section 3.2.
"""

from __future__ import annotations

from typing import Final

import msgspec
import orjson

from detectors.records import Alert

SCHEMA: Final = "urn:tidewatch:schema:alert:1"
Headers = tuple[tuple[str, bytes], ...]


def alert_message(alert: Alert, source: str) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of the record on ``llm.alerts``.

    ``source`` is a URI reference that names who says so, such as ``/tidewatch/<fleet>``. The key is the
    fingerprint: all transitions of an incident are in one partition, in order.
    """
    headers = {
        "ce_specversion": "1.0",
        "ce_type": alert.type,
        "ce_source": source,
        "ce_id": alert.alert_id,
        "ce_time": alert.resolved_at or alert.detected_at,
        "ce_subject": alert.fingerprint,
        "ce_dataschema": SCHEMA,
        "content-type": "application/json",
    }
    encoded = tuple((name, value.encode()) for name, value in headers.items())
    return alert.fingerprint.encode(), orjson.dumps(msgspec.to_builtins(alert)), encoded
