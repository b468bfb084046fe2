"""The interaction that shows each measure worst in each segment, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.sketches.entries import Int32s, Int64s, changes


class Exemplar(NamedTuple):
    """The interaction that shows a measure worst in a segment: the largest (rank, check, event_id)."""

    rank: int
    check: int
    """A stable checksum of the id, so that ties are not decided by the alphabet."""
    event_id: str


class Exemplars(NamedTuple):
    """At most one exemplar of each (row, measure), sorted by that pair."""

    row: Int32s
    measure: Int32s
    rank: Int32s
    check: Int64s
    item: Int32s
    """Index into ``event_ids``."""
    event_ids: list[str]
    """Ascending, no repeats, every one used."""

    def find(self, row: int, measure: int) -> Exemplar | None:
        """The exemplar of a measure in a row."""
        lo, hi = np.searchsorted(self.row, [row, row + 1])
        at = int(lo + np.searchsorted(self.measure[lo:hi], measure))
        if at == hi or self.measure[at] != measure:
            return None
        return Exemplar(int(self.rank[at]), int(self.check[at]), self.event_ids[self.item[at]])


NO_EXEMPLARS: Final = Exemplars(
    np.empty(0, np.int32),
    np.empty(0, np.int32),
    np.empty(0, np.int32),
    np.empty(0, np.int64),
    np.empty(0, np.int32),
    [],
)


def worst(parts: Sequence[Exemplars]) -> Exemplars:
    """The worst of all parts for each (row, measure), whatever their order."""
    parts = [part for part in parts if len(part.row)]
    if not parts:
        return NO_EXEMPLARS
    event_ids = parts[0].event_ids
    items = [parts[0].item]
    if len(parts) > 1:
        event_ids = sorted(set().union(*(part.event_ids for part in parts)))
        at = {event_id: i for i, event_id in enumerate(event_ids)}
        items = [
            np.fromiter(map(at.__getitem__, part.event_ids), np.int32, len(part.event_ids))[part.item]
            for part in parts
        ]
    row, measure, rank, check = (np.concatenate([part[column] for part in parts]) for column in range(4))
    item = np.concatenate(items)
    order = np.lexsort((item, check, rank, measure, row))
    first = changes(row[order], measure[order])
    order = order[np.append(first[1:], True)]
    found = Exemplars(row[order], measure[order], rank[order], check[order], item[order], event_ids)
    return used_only(found)


def select_exemplars(exemplars: Exemplars, new_row: Int32s) -> Exemplars:
    """Those of the rows that have a new row (none: -1), which must ascend with the old one."""
    row = new_row[exemplars.row]
    keep = row >= 0
    _, measure, rank, check, item, event_ids = exemplars
    return used_only(Exemplars(row[keep], measure[keep], rank[keep], check[keep], item[keep], event_ids))


def used_only(exemplars: Exemplars) -> Exemplars:
    """The same without event ids that no exemplar uses."""
    needed = np.zeros(len(exemplars.event_ids), np.bool_)
    needed[exemplars.item] = True
    if needed.all():
        return exemplars
    place = np.cumsum(needed, dtype=np.int32) - 1
    used = np.flatnonzero(needed).tolist()
    return exemplars._replace(
        item=place[exemplars.item].astype(np.int32), event_ids=[exemplars.event_ids[at] for at in used]
    )
