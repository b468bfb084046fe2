"""How the segment that an alert names relates to the one that a label names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal

from streams.segments import field_of
from streams.simulate import reference as ref

Relation = Literal["equal", "parent", "child", "other"]
Segment = Mapping[str, str]
_USUAL_VERSION: Final = {feature.version: feature.name for feature in ref.FEATURES}


def plain(segment: Segment) -> dict[str, str]:
    """The segment under the events' own field names: ``model`` becomes ``model_requested``."""
    return {field_of(dimension): value for dimension, value in segment.items()}


def in_reference(segment: Segment) -> dict[str, str]:
    """A segment of the reference product with everything that its dimensions imply there.

    A model has one provider and acme-ai has one model; a prompt belongs to one feature, and a feature in its usual
    prompt version is all of the feature. Segments with the same events become equal.
    """
    found = plain(segment)
    usual = _USUAL_VERSION.get(found.get("prompt_version", ""))
    if usual is not None:
        del found["prompt_version"]
        found["feature"] = usual
    implied = dict(found)
    for dimension, value in found.items():
        implied |= _implied().get((dimension, value), {})
    return implied


@lru_cache(maxsize=1)
def _implied() -> dict[tuple[str, str], dict[str, str]]:
    implied: dict[tuple[str, str], dict[str, str]] = {}
    for model in ref.MODELS:
        implied["model_requested", model.name] = {"provider": model.provider}
        if sum(other.provider == model.provider for other in ref.MODELS) == 1:
            implied["provider", model.provider] = {"model_requested": model.name}
    for feature in ref.FEATURES:
        implied["feature", feature.name] = {"prompt_name": feature.prompt}
        implied["prompt_name", feature.prompt] = {"feature": feature.name}
    return implied


def relation(label: Segment, said: Segment) -> Relation:
    """What ``said`` is to ``label``: the same events, more of them, some of them, or others."""
    ours, theirs = set(label.items()), set(said.items())
    if ours == theirs:
        return "equal"
    if theirs < ours:
        return "parent"
    return "child" if ours < theirs else "other"


def is_named(label: Segment, said: Segment, watched: Iterable[frozenset[str]]) -> bool:
    """Whether ``said`` names the labelled segment as well as the watched segmentations allow.

    That is the same segment, or a parent between which and the label nothing is watched.
    """
    found = relation(label, said)
    if found == "equal":
        return True
    here, wanted = frozenset(said), frozenset(label)
    return found == "parent" and not any(here < dimensions <= wanted for dimensions in watched)
