"""From what a store holds to a DECIDE that goes on, whatever it holds, and recognising the log it goes on with.

* The newest checkpoint that can be trusted is taken. An older one than the newest gives the same results: the log
  is read again from there.
* Without any, DECIDE begins at the beginning of the log that is left. If that is the whole log, it comes to the
  same state; else monitors learn again from it. What is worked on a second time is not told a second time.
* The log is another one when the cluster is, or when it does not have the record before the position. Then
  positions and sources begin again; monitors and incidents stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from streams.config import Config
from streams.messages import Record
from streams.stages import Decide
from streams.state import Checkpoint, StateStore, mark_of

EMBEDDED: Final = "embedded-"
"""How the ids of embedded brokers begin: each start is another log, and that is no trouble."""

TroubleName = Literal[
    "state_refused", "state_rebuilt", "monitors_forgotten", "log_replaced", "log_gap", "foreign_records"
]


class Trouble(NamedTuple):
    """Something that a person should know about the state."""

    name: TroubleName
    summary: str


class Restored(NamedTuple):
    """Where to go on, and what was found on the way there."""

    decide: Decide
    log: LogGuard
    tell_from: int
    """Messages about records below this offset were sent by the lost state: they are not sent again."""
    troubles: tuple[Trouble, ...]


class LogGuard:
    """Whether the log is the one that the state is of, judged by its records."""

    def __init__(self, position: int = 0, mark: bytes = b"") -> None:
        self._position = position
        self._mark = mark
        self._looked = False
        self.mark = mark
        """``mark_of`` the newest record seen: of the record before the position of the next checkpoint."""

    @property
    def read_from(self) -> int | None:
        """Where to begin to read: at the record before the position; None: at the beginning of the log."""
        return self._position - 1 if self._mark else self._position or None

    def look(self, records: Sequence[Record]) -> Trouble | None:
        """Judge the next records; ``log_replaced`` means that they must not be worked on.

        The first is that before the position, unless it was retired; the following continue without a step back.
        """
        first, position = records[0].offset, self._position
        trouble = None
        if first < position - (not self._looked):
            return _replaced(f"it has a record at offset {first}, and {position} was to come")
        if first < position and self._mark and mark_of(records[0].value) != self._mark:
            return _replaced(f"its record at offset {first} is another one")
        if not self._looked and 0 < position < first:
            trouble = Trouble(
                "log_gap",
                f"tidewatch.partials begins at offset {first}, and the state ends at {position}: the records "
                "between were retired before they were read, and their windows are lost",
            )
        self._looked = True
        self._position = records[-1].offset + 1
        self.mark = mark_of(records[-1].value)
        return trouble


async def restore(
    config: Config, store: StateStore, *, log_id: str, committed: int | None, end: int
) -> Restored:
    """Load, and rebuild what cannot be loaded.

    ``committed`` is the group's offset of the log, whose end is at ``end``.

    Raises:
        StateNewer, StateUnusable: the checkpoint is ours, and not for this program.
        StateError: the store cannot be read at present.
    """
    loaded = await store.load()
    troubles = []
    checkpoint = loaded.checkpoint
    if loaded.refused:
        instead = "" if checkpoint is None else f"; the one before it, at {checkpoint.position}, is taken"
        troubles.append(Trouble("state_refused", "; ".join(loaded.refused) + instead))
    if checkpoint is None:
        lost = committed or 0
        if loaded.refused or lost:
            why = "no checkpoint can be trusted" if loaded.refused else f"the checkpoint at {lost} is gone"
            troubles.append(
                Trouble(
                    "state_rebuilt",
                    f"{why}: the state is rebuilt from what the log still holds; incidents that began before "
                    "that may stay open in the alerts",
                )
            )
        return Restored(Decide(config), LogGuard(), lost if lost <= end else 0, tuple(troubles))
    # In a thread: a large one takes seconds, and the loop has heartbeats to send.
    decide, anew = await asyncio.to_thread(Decide.restore, config, checkpoint.state)
    if anew:
        troubles.append(
            Trouble("monitors_forgotten", f"learning again, incidents are kept: {'; '.join(anew)}")
        )
    guard = LogGuard(checkpoint.position, checkpoint.mark)
    if (trouble := _other_log(checkpoint, log_id, end)) is not None:
        decide.rebase()
        guard = LogGuard()
        if not log_id.startswith(EMBEDDED):
            troubles.append(trouble)
    return Restored(decide, guard, 0, tuple(troubles))


def _other_log(checkpoint: Checkpoint, log_id: str, end: int) -> Trouble | None:
    if checkpoint.log_id != log_id:
        return _replaced(f"the cluster was {checkpoint.log_id} and is {log_id}")
    if end < checkpoint.position:
        return _replaced(f"it ends at {end}, and the state is at {checkpoint.position}")
    return None


def _replaced(why: str) -> Trouble:
    return Trouble(
        "log_replaced",
        f"tidewatch.partials is another log than the state's ({why}): it is read from its beginning, baselines and "
        "incidents are kept; windows that only the old log had are lost",
    )
