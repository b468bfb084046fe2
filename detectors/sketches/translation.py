"""Blocks that another version wrote: the same measures, found by name.

A block's columns have no names; whoever stores blocks stores the ``signature`` of their layout beside them.
Measures that only one of two layouts has are left out, or were not observed.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from detectors.sketches.block import Block, decode, encode
from detectors.sketches.entries import sum_entries
from detectors.sketches.exemplars import Exemplars, worst
from detectors.sketches.layout import Category, Flag, Layout, Log, Spread, Value

_HISTOGRAM: Final = "histogram"


class UnknownMeasure(ValueError):
    """A signature names a kind of measure that this program does not know."""


@cache
def signature(layout: Layout) -> str:
    """The measures of a layout in their order, one a line: what decides how its blocks are read."""
    lines = [f"flag {flag.name}" for flag in layout.flags]
    for value in layout.values:
        lines.append(f"value {value.name} {value.quantum!r}" + f" {_HISTOGRAM}" * value.histogram)
    lines += [f"log {log.name}" for log in layout.logs]
    lines += [f"category {category.name}" for category in layout.categories]
    lines += [f"spread {spread.name} {spread.value} {spread.cells}" for spread in layout.spreads.values()]
    return "\n".join(lines)


@cache
def layout_of(text: str) -> Layout:
    """A layout by which blocks with this signature can be decoded. Raises UnknownMeasure if it is none of ours."""
    flags: list[Flag] = []
    values: list[Value] = []
    categories: list[Category] = []
    logs: list[Log] = []
    spreads: list[Spread] = []
    for line in text.splitlines():
        match line.split(" "):
            case ["flag", name]:
                flags.append(Flag(name))
            case ["value", name, quantum, *rest]:
                values.append(Value(name, float(quantum), 0.0, histogram=rest == [_HISTOGRAM]))
            case ["log", name]:
                logs.append(Log(name))
            case ["category", name]:
                categories.append(Category(name))
            case ["spread", name, value, cells]:
                spreads.append(Spread(name, value, int(cells)))
            case _:
                raise UnknownMeasure(f"a layout cannot have {line!r}")
    return Layout(flags, values, categories, {}, logs, spreads)


def recode(data: bytes, written: str, layout: Layout) -> bytes:
    """The encoded block, written under the layout of signature ``written``, as one of ``layout``."""
    if written == signature(layout):
        return data
    old = layout_of(written)
    return encode(translate(decode(data, old), old, layout))


def translate(block: Block, old: Layout, new: Layout) -> Block:
    """The block's measures that ``new`` has, too; a value in another quantum is another measure."""
    counters = np.zeros((len(block), new.width), np.int64)
    for name, at in new.column.items():
        before = old.column.get(name)
        if before is not None and old.unit_of(name) == new.unit_of(name):
            counters[:, at] = block.counters[:, before]
    same = {name for name, quantum in new.quantum.items() if old.quantum.get(name) == quantum}
    kept_spreads = {
        name: at
        for name, at in new.spread.items()
        if old.spreads.get(name) == new.spreads[name] and new.spreads[name].value in same
    }
    histogram = np.concatenate(
        [
            _places(old.histogram, {name: at for name, at in new.histogram.items() if name in same}),
            _places(old.spread, kept_spreads),
        ]
    )
    category = _places(old.category, new.category)
    histograms, categories = block.histograms, block.categories
    moved = []
    for entries, places in ((histograms, histogram), (categories, category)):
        slot = places[entries.slot]
        keep = slot >= 0
        kept = entries._replace(
            row=entries.row[keep], slot=slot[keep], item=entries.item[keep], count=entries.count[keep]
        )
        moved.append(sum_entries([kept]))
    exemplars = _moved_exemplars(block.exemplars, _places(old.exemplar, new.exemplar))
    return Block(block.segments, counters, moved[0], moved[1], block.labels, exemplars)


def exemplar_places(written: str, layout: Layout) -> list[int]:
    """For each exemplar measure of the layout of signature ``written`` its place in ``layout``, -1 without one.

    Raises UnknownMeasure if it is the signature of none.
    """
    return _places(layout_of(written).exemplar, layout.exemplar).tolist()


def _moved_exemplars(exemplars: Exemplars, places: np.ndarray[tuple[int], np.dtype[np.int32]]) -> Exemplars:
    row, _, rank, check, item, event_ids = exemplars
    measure = places[exemplars.measure]
    keep = measure >= 0
    return worst([Exemplars(row[keep], measure[keep], rank[keep], check[keep], item[keep], event_ids)])


def _places(old: dict[str, int], new: dict[str, int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """For each name in the old order its place in the new, -1 where there is none."""
    return np.fromiter((new.get(name, -1) for name in old), np.int32, len(old))
