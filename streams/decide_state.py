"""The form of DECIDE's state: its parts, the version that they share, and what carries an older version over.

A change of what any part stores raises ``VERSION`` and adds a row to ``MIGRATIONS``. Incidents, places in the log
and admitted segments must be carried over; what DETECT stores may be dropped (``forget_monitors``): it is then
learnt again, and that is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from detectors.sketches.translation import UnknownMeasure, recode, signature
from streams.closing import ClosingState
from streams.partials import FIRST_LAYOUT, NewerRecord, Partial
from streams.signals import LAYOUT

VERSION: Final = 4
T = TypeVar("T")


class StateUnusable(Exception):
    """A state that this program cannot go on from; says what it is, what is expected and what to do."""


class Parts(msgspec.Struct):
    """The state of DECIDE at one position of the log, parts still encoded."""

    version: int
    next_offset: int
    windows_closed: int
    layout: str
    """Signature of the layout of all blocks in it."""
    closing: msgspec.Raw
    admission: msgspec.Raw
    exemplars: msgspec.Raw
    detect: msgspec.Raw
    triage: msgspec.Raw
    advised: msgspec.Raw = msgspec.Raw(b"\x80")
    """Empty before there was any."""

    def read(self, part: str, form: type[T]) -> T:
        """A part that must be carried over. Raises StateUnusable."""
        try:
            return msgspec.msgpack.decode(getattr(self, part), type=form)
        except msgspec.MsgspecError as error:
            raise StateUnusable(
                f"the checkpoint's {part}: got {error}; expected its form in version {VERSION}. "
                "Use the version that wrote it, or remove the checkpoint: the state is then rebuilt from the log"
            ) from error


class _Version(msgspec.Struct):
    version: int


State = dict[str, Any]
Migration = Callable[[State], State]


def name_the_layout(state: State) -> State:
    """From version 1 on the blocks in the state say how they are to be read."""
    return state | {"layout": FIRST_LAYOUT}


def forget_monitors(state: State) -> State:
    """For a migration: DETECT's state cannot be carried over."""
    return state | {"detect": None}


def begin_monitors_anew(state: State) -> State:
    """From version 2 to 3 monitors are others: DETECT finds that by its schema, and keeps what its rules hold."""
    return state


def group_incidents(state: State) -> State:
    """From version 3 to 4 an incident has many series: TRIAGE reads its older form (``incidents.stored``)."""
    return state


MIGRATIONS: Final[dict[int, Migration]] = {1: name_the_layout, 2: begin_monitors_anew, 3: group_incidents}
"""From each version to the next; a state is a dictionary of the parts, decoded."""


def encode(**parts: Any) -> bytes:
    """The state in the present version; the names are those of ``Parts``."""
    return _ENCODER.encode({"version": VERSION, "layout": signature(LAYOUT), **parts})


def decode(state: bytes) -> Parts:
    """A state of this version or an older one.

    Raises:
        StateUnusable: it is a newer version's, or none.
    """
    try:
        version = msgspec.msgpack.decode(state, type=_Version).version
        if version > VERSION:
            raise StateUnusable(
                f"the checkpoint: got state of version {version}; expected {VERSION} or lower. A newer Tidewatch "
                "wrote it: use that version"
            )
        if version < VERSION:
            state = _ENCODER.encode(_migrated(msgspec.msgpack.decode(state), version))
        return msgspec.msgpack.decode(state, type=Parts)
    except msgspec.MsgspecError as error:
        raise StateUnusable(
            f"the checkpoint: got {error}; expected the state of DECIDE. Remove the checkpoint: the state is then "
            "rebuilt from the log"
        ) from error


def _migrated(state: State, version: int) -> State:
    for step in range(version, VERSION):
        state = MIGRATIONS[step](state) | {"version": step + 1}
    return state


def recode_blocks(closing: ClosingState, written: str) -> None:
    """Bring the blocks of windows that are not closed yet into the present layout."""
    for window in closing.sealed.values():
        window.blocks = [recode(block, written, LAYOUT) for block in window.blocks]
    for source in closing.sources.values():
        for windows in source.attempts.values():
            for pieces in windows.values():
                pieces.blocks = {n: recode(block, written, LAYOUT) for n, block in pieces.blocks.items()}


def recode_partial(partial: Partial) -> Partial:
    """A partial whose block is in the present layout.

    Raises:
        NewerRecord: it has measures of a kind that this program does not know.
    """
    if partial.layout == signature(LAYOUT):
        return partial
    try:
        block = recode(partial.block, partial.layout, LAYOUT)
    except UnknownMeasure as unknown:
        raise NewerRecord(
            f"a partial of {partial.source}: {unknown}. A newer Tidewatch wrote it: use that version for every "
            "worker of the fleet"
        ) from None
    return msgspec.structs.replace(partial, block=block, layout=signature(LAYOUT))


_ENCODER: Final = msgspec.msgpack.Encoder()
