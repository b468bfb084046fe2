"""What every detector is: a bank that holds the state of all series and updates many of them at once.

A *series* is one signal of one segment and has a fixed index; per-window work is vectorised over series. A
detector sees the series standardised by the baseline: ``z`` is about N(0, 1) while nothing changes, whatever
the signal's unit and the number of events behind a value. A new detector is one file with a frozen Params
class and a class that follows ``Detector``, and one line in ``detectors.registry``.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from detectors.records import SegmentKey

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
State = dict[str, Any]
"""MessagePack-able: dicts with string keys, lists, bytes, ints, floats, strings."""


class Params(BaseModel):
    """Base of every component's parameters: immutable, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Change(NamedTuple):
    """The likeliest change of each series: how surely, since when, and the sums (as in ``Batch``) since then."""

    nats: Floats
    since_ms: Ints
    n: Floats
    deviation: Floats
    expected: Floats


class Hits(NamedTuple):
    """What a detector says about the series it was just given; arrays are aligned with its input.

    ``up`` and ``down`` are its statistic for a rise and for a fall; the series fires on the sides where
    ``fired_up`` or ``fired_down`` is true. ``threshold`` is what the statistic had to exceed.
    """

    up: Floats
    down: Floats
    fired_up: Bools
    fired_down: Bools
    threshold: Floats


class Batch(NamedTuple):
    """One new pane of some series, as detectors see it; arrays aligned, no series twice.

    For the likelihood of a stretch: ``n`` observations, ``deviation`` the sum of their differences from what was
    expected, ``expected`` the sum of expectations (held answers of a ratio, events of a rate; unused for means).
    """

    series: Ints
    family: Ints
    """0 mean of x, 1 ratio, 2 rate."""
    n: Floats
    deviation: Floats
    expected: Floats
    variance: Floats
    """Of one observation of x."""
    weight: Floats
    """Observations behind the reference."""
    tolerance: Floats
    """A difference of x that nobody would look at."""
    start_ms: Ints
    z: Floats
    """The pane standardised: about N(0, 1) while nothing changes."""
    white: Floats
    """``z`` divided by the inflation that its serial correlation gives to sums."""
    sigma: Floats
    """How far x of such a pane usually lies from what is expected, that inflation included; divides ``white``."""
    learn: Bools
    """False where an incident is open or suspected: score, but do not take it for normal."""
    bulk: Floats
    """How many small panes it stands for where no single value moves it far, else 1."""

    def take(self, at: Ints) -> Batch:
        """The same for some of the series."""
        return Batch._make(column[at] for column in self)


class Verdict(NamedTuple):
    """What TRIAGE tells DETECT about a series in the same step.

    ``freeze``: an incident is open, do not learn. ``thaw``: back to normal, learn on. ``relearn``: the new level
    is the new normal, start its baseline anew.
    """

    action: Literal["freeze", "thaw", "relearn"]
    segment: SegmentKey
    signal: str


class Stateful(Protocol):
    """What a checkpoint holds a part of."""

    def to_state(self) -> State: ...

    def from_state(self, state: State) -> None:
        """Take over what ``to_state`` of an equal configuration gave."""


class Bank(Stateful, Protocol):
    """State of all series."""

    def grow(self, size: int) -> None:
        """Make room for series ``0 … size-1``; new ones start empty."""

    def reset(self, index: Ints) -> None:
        """Forget the series in ``index``."""


class Detector(Bank, Protocol):
    """A bank of one method for all series.

    Deterministic, no clock, memory bounded by the number of series. ``update`` is only given finite values.
    """

    name: ClassVar[str]
    family: ClassVar[Literal["drift", "outlier"]]

    @property
    def params(self) -> Params: ...

    def update(self, batch: Batch) -> Hits:
        """Score one new pane of each series of the batch, then learn it where ``batch.learn``."""


class Columns:
    """Named arrays with one entry per series that grow, reset and serialise together."""

    def __init__(self, **fills: tuple[type[np.generic], float]) -> None:
        self._fills = fills
        self._size = 0
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.empty(0, dtype) for name, (dtype, _) in fills.items()
        }

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def grow(self, size: int) -> None:
        if size <= self._size:
            return
        for name, (dtype, fill) in self._fills.items():
            tail = np.full(size - self._size, fill, dtype)
            self._arrays[name] = np.concatenate([self._arrays[name], tail])
        self._size = size

    def reset(self, index: Ints) -> None:
        for name, (_, fill) in self._fills.items():
            self._arrays[name][index] = fill

    def to_state(self) -> State:
        return {
            "size": self._size,
            "arrays": {
                name: array.astype(array.dtype.newbyteorder("<")).tobytes()
                for name, array in self._arrays.items()
            },
        }

    def from_state(self, state: State, since: Container[str] = ()) -> None:
        """Take over a stored state; the columns ``since`` are as in new entries where an older state lacks them.

        Raises:
            ValueError: the state has other columns than this object.
        """
        missing = {name for name in self._fills if name in since and name not in state["arrays"]}
        if set(state["arrays"]) | missing != set(self._fills):
            raise ValueError(f"state has columns {sorted(state['arrays'])}, expected {sorted(self._fills)}")
        self._size = int(state["size"])
        for name, (dtype, fill) in self._fills.items():
            if name in missing:
                self._arrays[name] = np.full(self._size, fill, dtype)
                continue
            little = np.dtype(dtype).newbyteorder("<")
            array = np.frombuffer(state["arrays"][name], little).astype(dtype)
            if len(array) != self._size:
                raise ValueError(f"column {name!r} has {len(array)} entries, expected {self._size}")
            self._arrays[name] = array


def without_nan(values: Floats) -> Floats:
    """What is no number says nothing: 0, the middle of standardised values. One NaN would blind a sum for ever."""
    return np.where(np.isnan(values), 0.0, values)


class Grid:
    """A row of ``width`` numbers per series; grows, resets and serialises the rows that differ from new."""

    def __init__(self, width: int, dtype: type[np.generic] = np.float64, fill: float = 0.0) -> None:
        self._fill = fill
        self._dtype = np.dtype(dtype)
        self.rows: NDArray[Any] = np.empty((0, width), dtype)

    def grow(self, size: int) -> None:
        more = size - len(self.rows)
        if more > 0:
            tail = np.full((more, self.rows.shape[1]), self._fill, self._dtype)
            self.rows = np.concatenate([self.rows, tail])

    def reset(self, index: Ints) -> None:
        self.rows[index] = self._fill

    def to_state(self) -> State:
        used = np.flatnonzero((self.rows != self._fill).any(axis=1))
        return {
            "size": len(self.rows),
            "index": used.astype("<i8").tobytes(),
            "rows": self.rows[used].astype(self._dtype.newbyteorder("<")).tobytes(),
        }

    def from_state(self, state: State) -> None:
        """Raises ValueError when the state has another width."""
        width = self.rows.shape[1]
        used = np.frombuffer(state["index"], "<i8").astype(np.int64)
        stored = np.frombuffer(state["rows"], self._dtype.newbyteorder("<")).astype(self._dtype)
        self.rows = np.full((int(state["size"]), width), self._fill, self._dtype)
        self.rows[used] = stored.reshape(len(used), width)
