"""What is known of an incident when it is to be named, and the conditions that the tables of types are made of.

A condition is data: it can be asked whether it holds, and it says in words what it found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol

from detectors.incidents.effects import Effect
from detectors.incidents.places import relative_size
from detectors.records import AnnouncedChange, SegmentKey, Signal

Direction = Literal["up", "down", "any"]
_SIGN: Final = {"up": 1, "down": -1}
NEW_SHARE: Final = 0.005
"""A category with a smaller share than this is as good as new."""


class Scene(NamedTuple):
    """An incident as the tables see it: what moved where it happens, what did not, what was announced."""

    segment: SegmentKey
    moved: Mapping[str, Effect]
    """Signal -> its change in the segment, where it is clear and began with the incident."""
    flat: frozenset[str]
    """Signals that are known in the segment and show no change."""
    changes: tuple[AnnouncedChange, ...]
    """Announced changes that fit in place and time, best first."""
    taken_over: float
    """Share of a model's or segment's traffic that siblings have taken over since the onset, in [0, 1]."""
    signals: Mapping[str, Signal]
    clear: frozenset[str]
    """Signals that moved so clearly that they can show what happened, not only bear it out."""
    ahead: Mapping[str, Effect] = MappingProxyType({})
    """What moved as it will be if it goes on as it did, for as long again; of what does not grow as it is."""

    def size(self, signal: str) -> float:
        """Signed size of a signal's change, 0 for none: a difference of ratios and scores, else a logarithm."""
        return self._size(self.moved, signal)

    def size_ahead(self, signal: str) -> float:
        """The same as it will be."""
        return self._size(self.ahead, signal)

    def _size(self, effects: Mapping[str, Effect], signal: str) -> float:
        effect = effects.get(signal)
        return 0.0 if effect is None else relative_size(self.signals[signal], effect)


class Condition(Protocol):
    def holds(self, scene: Scene) -> bool: ...

    def words(self, scene: Scene) -> str:
        """What was found, when it holds; without a scene's values in general."""
        ...

    @property
    def reference(self) -> str:
        """The condition itself, for the documentation."""
        ...


class Moved(NamedTuple):
    """One of the signals moved this way, by at least ``least`` (a difference of ratios, or a logarithm)."""

    names: tuple[str, ...]
    direction: Direction = "up"
    least: float = 0.0

    def holds(self, scene: Scene) -> bool:
        return self.first(scene) is not None

    def first(self, scene: Scene) -> str | None:
        """The clearest of the signals that moved so."""
        found = [name for name in self.names if self._moved(scene, name)]
        return max(found, key=lambda name: scene.moved[name].nats, default=None)

    def lead(self, scene: Scene) -> str | None:
        """The same among those that are clear enough to show a type."""
        found = [name for name in self.names if name in scene.clear and self._moved(scene, name)]
        return max(found, key=lambda name: scene.moved[name].nats, default=None)

    def _moved(self, scene: Scene, name: str) -> bool:
        size = scene.size(name)
        if name not in scene.moved or abs(size) < self.least:
            return False
        return self.direction == "any" or size * _SIGN[self.direction] > 0

    def words(self, scene: Scene) -> str:
        name = self.first(scene)
        if name is None:
            return ""
        how = "rose" if scene.size(name) > 0 else "fell"
        if scene.signals[name].kind == "mix":
            how = "moved"
        return f"{name} {how}{by_how_much(scene, name)}"

    @property
    def reference(self) -> str:
        how = {"up": "rises", "down": "falls", "any": "moves"}[self.direction]
        least = f" by {self.least:g} or more" if self.least else ""
        return f"{_any_of(self.names)} {how}{least}"


class Still(NamedTuple):
    """None of the signals moved this way by ``least`` or more; ``known``: one of them is known to be as usual."""

    names: tuple[str, ...]
    direction: Direction = "any"
    least: float = 0.0
    known: bool = False

    def holds(self, scene: Scene) -> bool:
        if Moved(self.names, self.direction, self.least).holds(scene):
            return False
        return not self.known or any(self._usual(scene, name) for name in self.names)

    def _usual(self, scene: Scene, name: str) -> bool:
        return name in scene.flat or (name in scene.moved and abs(scene.size(name)) < self.least)

    def words(self, scene: Scene) -> str:
        usual = [name for name in self.names if self._usual(scene, name)]
        return f"{', '.join(usual)} as usual" if usual else ""

    @property
    def reference(self) -> str:
        how = {"up": "up", "down": "down", "any": "moved"}[self.direction]
        least = f" by {self.least:g}" if self.least else ""
        known = " and known" if self.known else ""
        return f"{_any_of(self.names)} not {how}{least}{known}"


class Confined(NamedTuple):
    """The incident is confined to a value of one of these dimensions."""

    dimensions: tuple[str, ...]

    def holds(self, scene: Scene) -> bool:
        return any(dimension in self.dimensions for dimension in scene.segment.dimensions)

    def words(self, scene: Scene) -> str:
        return f"confined to {scene.segment.label}"

    @property
    def reference(self) -> str:
        return f"confined to one {_any_of(self.dimensions)}"


class Everywhere(NamedTuple):
    """The whole fleet alike."""

    def holds(self, scene: Scene) -> bool:
        return not scene.segment.dimensions

    def words(self, scene: Scene) -> str:
        return "all segments alike"

    @property
    def reference(self) -> str:
        return "the whole fleet alike"


class Announced(NamedTuple):
    """A change of one of these kinds was announced for it, shortly before."""

    kinds: tuple[str, ...]

    def holds(self, scene: Scene) -> bool:
        return self.find(scene) is not None

    def find(self, scene: Scene) -> AnnouncedChange | None:
        return next((change for change in scene.changes if change.kind in self.kinds), None)

    def words(self, scene: Scene) -> str:
        change = self.find(scene)
        return "" if change is None else f"announced: {change.kind} change {change.summary or change.id}"

    @property
    def reference(self) -> str:
        return f"{_any_of(self.kinds)} change announced"


class NotAnnounced(NamedTuple):
    """No change of these kinds was announced for it."""

    kinds: tuple[str, ...]

    def holds(self, scene: Scene) -> bool:
        return not Announced(self.kinds).holds(scene)

    def words(self, scene: Scene) -> str:
        return f"no {_any_of(self.kinds)} change announced"

    @property
    def reference(self) -> str:
        return f"no {_any_of(self.kinds)} change announced"


class Compensated(NamedTuple):
    """At least this share of the traffic only went elsewhere."""

    least: float

    def holds(self, scene: Scene) -> bool:
        return scene.taken_over >= self.least

    def words(self, scene: Scene) -> str:
        return f"siblings took over {scene.taken_over:.0%} of the traffic"

    @property
    def reference(self) -> str:
        return f"siblings took over {self.least:.0%} or more of the traffic"


class LabelledAs(NamedTuple):
    """The category of a mix that moved most begins with one of these names."""

    signal: str
    names: tuple[str, ...]

    def holds(self, scene: Scene) -> bool:
        effect = scene.moved.get(self.signal)
        return effect is not None and effect.label is not None and effect.label.startswith(self.names)

    def words(self, scene: Scene) -> str:
        effect = scene.moved[self.signal]
        return f"{effect.label} went from {effect.expected:.1%} to {effect.observed:.1%}"

    @property
    def reference(self) -> str:
        return f"{self.signal} moves in {_any_of(self.names)}"


class Missing(NamedTuple):
    """The category of a mix that moved most stands for an attribute that is not there (``name=``)."""

    signal: str

    def holds(self, scene: Scene) -> bool:
        effect = scene.moved.get(self.signal)
        return effect is not None and effect.label is not None and effect.label.endswith("=")

    def words(self, scene: Scene) -> str:
        effect = scene.moved[self.signal]
        return f"{effect.label} went from {effect.expected:.1%} to {effect.observed:.1%}"

    @property
    def reference(self) -> str:
        return f"{self.signal} moves in what is missing"


class Usual(NamedTuple):
    """The category of a mix that moved most is one that there always was: neither missing (``name=``) nor new."""

    signal: str

    def holds(self, scene: Scene) -> bool:
        effect = scene.moved.get(self.signal)
        if effect is None or effect.label is None or Missing(self.signal).holds(scene):
            return False
        return effect.expected >= NEW_SHARE

    def words(self, scene: Scene) -> str:
        effect = scene.moved[self.signal]
        return f"{effect.label} went from {effect.expected:.1%} to {effect.observed:.1%}"

    @property
    def reference(self) -> str:
        return f"{self.signal} moves in a value that is neither missing nor new"


class Not(NamedTuple):
    """The opposite of a condition."""

    condition: Condition

    def holds(self, scene: Scene) -> bool:
        return not self.condition.holds(scene)

    def words(self, scene: Scene) -> str:
        return ""

    @property
    def reference(self) -> str:
        return f"not: {self.condition.reference}"


def by_how_much(scene: Scene, name: str) -> str:
    """`` from 2.1% to 31%`` or `` x1.6``."""
    effect, signal = scene.moved[name], scene.signals[name]
    if signal.kind in ("ratio", "mix"):
        what = "" if effect.label is None else f" ({effect.label})"
        return f"{what} from {effect.expected:.2%} to {effect.observed:.2%}"
    if signal.unit == "score":
        return f" from {effect.expected:.3g} to {effect.observed:.3g}"
    return f" to {math.exp(scene.size(name)):.2g} times"


def _any_of(names: tuple[str, ...]) -> str:
    return " or ".join(names)
