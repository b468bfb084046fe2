"""Named places where a worker can be made to die, for tests of what it leaves behind.

``TIDEWATCH_FAULTPOINT=name:n`` ends the process with SIGKILL at its n-th pass of the place. Without the variable a
pass costs a call and a comparison.
"""

from __future__ import annotations

import os
import signal
from typing import Final

ENVIRONMENT: Final = "TIDEWATCH_FAULTPOINT"

FAULTPOINTS: Final[dict[str, str]] = {
    "aggregate.before-send": "a chunk is worked on; nothing of it is sent",
    "delivery.before-last": "all but the last record of each topic are durable: partials without their watermark",
    "aggregate.sent": "the watermark is durable; its offset is not committed",
    "aggregate.committed": "the offset is committed",
    "aggregate.vouched": "an idle source is proved to be ours, and what it seals is committed; nothing is sealed",
    "decide.before-send": "windows are closed; nothing about them is sent",
    "decide.sent": "summaries, anomalies, incidents and alerts are durable; no snapshot has them",
    "decide.saved": "the snapshot is durable; its offset is not committed",
    "decide.committed": "the offset of the snapshot is committed",
    "decide.claimed": "the fleet is taken over; its snapshot is not loaded",
    "decide.restored": "the snapshot is loaded; nothing is read on from it",
    "sqlite.in-transaction": "the snapshot is written, within the transaction",
    "sqlite.committed": "the transaction of the snapshot is committed; nobody knows yet",
    "topic.in-transaction": "the snapshot's records are sent, within the transaction",
    "topic.committed": "the transaction of the snapshot is committed; nobody knows yet",
    "record.before-write": "rows are gathered; none is written",
    "record.written": "the rows of one table are durable, those of others may not be",
    "record.durable": "all rows are durable; no offset is committed",
    "record.committed": "the offsets of the rows are committed",
}
"""Every place, and what is done and what is not when a process ends there."""


class UnknownFaultpoint(ValueError):
    """The variable names no place, or no number of passes."""


class Countdown:
    """To the pass at which the process ends."""

    def __init__(self, name: str, passes: int) -> None:
        self._name = name
        self._left = passes

    @classmethod
    def parse(cls, text: str) -> Countdown:
        """``name:n`` with n from 1. Raises UnknownFaultpoint."""
        name, _, passes = text.partition(":")
        if name not in FAULTPOINTS or not passes.isdecimal() or int(passes) < 1:
            raise UnknownFaultpoint(
                f"{ENVIRONMENT}={text!r}: expected NAME:N with N from 1 and NAME one of {', '.join(FAULTPOINTS)}"
            )
        return cls(name, int(passes))

    def passed(self, name: str) -> bool:
        """Count a pass; whether the process must end now."""
        if name == self._name:
            self._left -= 1
        return name == self._name and self._left == 0


_armed: Final = Countdown.parse(os.environ[ENVIRONMENT]) if ENVIRONMENT in os.environ else None


def faultpoint(name: str) -> None:
    """A place that is in ``FAULTPOINTS``."""
    if _armed is not None and _armed.passed(name):
        os.kill(os.getpid(), signal.SIGKILL)
