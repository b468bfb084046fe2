"""Change events as TRIAGE takes them: times as numbers, one short line of redacted text."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from detectors.records import AnnouncedChange
from streams.events import Change, epoch_ms
from streams.redact import redact_text

MAX_SUMMARY_CHARS: Final = 120
MAX_SCOPE: Final = 10
MAX_VALUE_CHARS: Final = 128


def announced_change(plain: dict[str, Any]) -> AnnouncedChange:
    """A change as the partials carry it. Raises msgspec.ValidationError if it is none."""
    change = msgspec.convert(plain, Change)
    summary = " ".join(redact_text(change.summary or "").split())
    scope = sorted((change.scope or {}).items())[:MAX_SCOPE]
    return AnnouncedChange(
        id=change.change_id,
        kind=change.kind,
        summary=summary if len(summary) <= MAX_SUMMARY_CHARS else f"{summary[: MAX_SUMMARY_CHARS - 1]}…",
        at_ms=epoch_ms(change.occurred_at),
        scope={name: value[:MAX_VALUE_CHARS] for name, value in scope},
    )
