"""A bound on the labels of a category: what a segment counts by name, and what it counts together."""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np

from detectors.records import OVERFLOW_VALUE
from detectors.sketches.block import Block
from detectors.sketches.entries import changes, sum_entries

MAX_LABELS: Final = 100
"""Labels of one category and segment. With the longest names all categories take a third of a record of the log."""
MAX_LABEL_CHARS: Final = 64
"""Longer labels are cut, and told apart by a checksum."""


def short_label(text: str) -> str:
    """The text as a label of at most ``MAX_LABEL_CHARS``."""
    if len(text) <= MAX_LABEL_CHARS:
        return text
    checksum = f"~{zlib.crc32(text.encode(errors='surrogatepass')):08x}"
    return text[: MAX_LABEL_CHARS - len(checksum)] + checksum


def cap_labels(block: Block, max_labels: int = MAX_LABELS) -> Block:
    """At most ``max_labels`` labels of each category and segment; the rest are counted as ``__other__``.

    Those of missing attributes (``name=``) stay, then those with the smallest checksum. A label that stays in a
    whole stays in every part of it, so capping parts before merging gives the same block as capping the whole.
    """
    row, slot, item, _ = block.categories
    begins = np.flatnonzero(changes(row, slot))
    sizes = np.diff(begins, append=len(row))
    if not len(begins) or sizes.max() <= max_labels:
        return block
    labels = sorted({*block.labels, OVERFLOW_VALUE})
    other = labels.index(OVERFLOW_VALUE)
    place = {label: at for at, label in enumerate(labels)}
    items = np.fromiter(map(place.__getitem__, block.labels), np.int32, len(block.labels))[item]
    order = sorted(range(len(labels)), key=lambda at: (at != other, *_standing(labels[at])))
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels))
    group = np.repeat(np.arange(len(begins)), sizes)
    sorted_by_rank = np.lexsort((rank[items], group))
    standing = np.empty(len(items), np.int64)
    standing[sorted_by_rank] = np.arange(len(items)) - begins[group]
    # What was counted together before is the first of its group, and takes no place.
    standing -= np.isin(group, group[items == other])
    used, kept = np.unique(np.where(standing < max_labels, items, other), return_inverse=True)
    categories = sum_entries([block.categories._replace(item=kept.astype(np.int32))])
    return Block(
        block.segments,
        block.counters,
        block.histograms,
        categories,
        [labels[at] for at in used.tolist()],
        block.exemplars,
    )


def _standing(label: str) -> tuple[bool, int, str]:
    """A sort key that favours no name but that of an attribute's absence; the same in every process."""
    return not label.endswith("="), zlib.crc32(label.encode()), label
