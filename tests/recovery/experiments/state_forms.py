"""The state exported and imported: every detector and the whole DECIDE go on as if nothing had been."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np

from detectors.base import Detector, Hits
from detectors.registry import DETECTORS, DetectorsParams
from streams.config import Config
from streams.decide import Decide
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.outcomes import together
from tests.support.batches import fitting
from tests.support.make_fixtures import SECTIONS, partials

SERIES: Final = 8
"""Updated together, each with traffic of its own."""


def _detector(name: str, scale: Scale) -> Outcome:
    """Many updates, export, import, more updates: every score of the copy is that of the original, bit for bit."""
    before, after = scale.pick(4_000, 100_000), scale.pick(2_000, 20_000)
    rng = np.random.default_rng(scale.seed)
    z = rng.normal(size=(before + after, SERIES)) * rng.choice([1.0, 1.0, 3.0], size=(before + after, 1))
    z += np.where(np.arange(before + after)[:, None] % 5_000 < 200, np.linspace(0.0, 5.0, SERIES), 0.0)
    original = DETECTORS[name](getattr(DetectorsParams(), name))
    original.grow(SERIES)
    for row in z[:before]:
        _update(original, row)
    copy = DETECTORS[name](getattr(DetectorsParams(), name))
    copy.from_state(_through_bytes(original.to_state()))
    copy.grow(SERIES)
    different = sum(_update(original, row) != _update(copy, row) for row in z[before:])
    different += _encoded(original) != _encoded(copy)
    return Outcome(
        runs=1,
        faults=1,
        lost=different,
        doubled=0,
        notes=f"{name}: {before + after:,} updates of {SERIES} series",
        failures=(f"{name}: {different} scores differ",) * (different > 0),
    )


def _update(detector: Detector, row: np.ndarray[Any, np.dtype[np.float64]]) -> bytes:
    hits: Hits = detector.update(fitting(detector.name, np.arange(SERIES), row))
    return b"".join(b"-" if array is None else array.tobytes() for array in hits)


def _through_bytes(state: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state))


def _encoded(detector: Detector) -> bytes:
    return msgspec.msgpack.encode(detector.to_state())


def _decide(scale: Scale) -> Outcome:
    """DECIDE restored at many places of a log with an incident: what it says and stores is the same bytes."""
    log, config, rng = partials(scale.pick(12, 240)), Config.model_validate(SECTIONS), scale.random()
    cuts = sorted(rng.sample(range(1, len(log)), scale.pick(3, 25)))
    straight, restored = Decide(config), Decide(config)
    different = said = 0
    problems = []
    for record in log:
        if record.offset in cuts:
            restored, anew = Decide.restore(config, restored.snapshot())
            problems += anew
        expected, found = straight.step(record), restored.step(record)
        said += len(expected)
        different += expected != found
    different += straight.snapshot() != restored.snapshot()
    return Outcome(
        runs=1,
        faults=len(cuts),
        lost=different,
        doubled=0,
        notes=f"DECIDE: restored {len(cuts)} times over {len(log):,} records and {said:,} messages",
        failures=(*problems, *[f"{different} steps differ"] * (different > 0)),
    )


def round_trip(scale: Scale) -> Outcome:
    return together([*(_detector(name, scale) for name in DETECTORS), _decide(scale)])


EXPERIMENTS = (
    Experiment(
        name="state-round-trip",
        what="the state of every detector (100,000 updates) and of the whole DECIDE exported and imported",
        goal="20,000 further updates and everything DECIDE says are bit-identical",
        needs=(),
        run=round_trip,
        short_secs=30.0,
    ),
)
