"""What every registered detector owes: each check runs for each of them, without exceptions."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import Detector, Hits, Params
from detectors.drift.glr import GlrParams
from detectors.registry import DETECTORS, DetectorsParams, make
from tests.support.batches import fitting

ROOT = Path(__file__).parents[2]
MAX_DELAY = {
    "glr": 6, "adwin": 60, "page_hinkley": 10, "ddm": 30, "hddm": 20, "kswin": 25, "robust_z": 5,
}  # fmt: skip
"""Values from a shift of eight sigmas to the alarm."""
MAX_FALSE_PER_MILLION = {name: 10.0 if name == "glr" else 1.0 for name in DETECTORS}
MAX_STATE_BYTES = 2500
"""Of one series, after any number of values."""


def new(name: str, size: int = 1) -> Detector:
    detector = DETECTORS[name](params_of(name))
    detector.grow(size)
    return detector


def params_of(name: str) -> Params:
    """The defaults; of the GLR at about the evidence that TRIAGE's budget asks for, not at what it reports."""
    return GlrParams(report_nats=20.0) if name == "glr" else getattr(DetectorsParams(), name)


def feed(detector: Detector, z: np.ndarray, first: int = 0) -> list[tuple[int, bool, bool]]:
    """(value number, fired up, fired down) of every alarm of series 0."""
    index = np.zeros(1, np.int64)
    fired = []
    for at, value in enumerate(np.asarray(z, float), first):
        hits = detector.update(fitting(detector.name, index, [value], at))
        if hits.fired_up[0] or hits.fired_down[0]:
            fired.append((at, bool(hits.fired_up[0]), bool(hits.fired_down[0])))
    return fired


def round_trip(name: str, detector: Detector, size: int = 1) -> Detector:
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(detector.to_state()))
    restored = DETECTORS[name](params_of(name))
    restored.from_state(state)
    restored.grow(size)
    return restored


def test_the_registry_and_its_params_have_the_same_names() -> None:
    fields = set(DetectorsParams.model_fields) - {"beside"}
    assert fields == set(DETECTORS)
    assert [detector.name for detector in make(DetectorsParams())] == ["glr"]


def test_only_enabled_detectors_are_made() -> None:
    made = make(DetectorsParams(beside=("robust_z", "adwin")))
    assert [detector.name for detector in made] == ["glr", "adwin", "robust_z"]


@pytest.mark.parametrize("name", DETECTORS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_snapshot_and_restore_at_any_cut_is_invisible(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1), label="seed")
    cut = data.draw(st.integers(0, 299), label="cut")
    shift = data.draw(st.sampled_from([0.0, 1.0, -3.0, 8.0]), label="shift")
    z = np.random.default_rng(seed).normal(size=300)
    z[150:] += shift
    whole = new(name)
    expected = feed(whole, z)
    first = new(name)
    alarms = feed(first, z[:cut])
    second = round_trip(name, first)
    alarms += feed(second, z[cut:], cut)
    assert alarms == expected
    assert msgspec.msgpack.encode(second.to_state()) == msgspec.msgpack.encode(whole.to_state())


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(10))
def test_a_big_shift_is_found_within_the_stated_delay_on_the_right_side(
    name: str, sign: int, seed: int
) -> None:
    z = np.random.default_rng(seed).normal(size=400)
    z[200:] += 8.0 * sign
    alarms = feed(new(name), z)
    assert alarms, "never fired"
    at, up, down = alarms[0]
    assert (up, down) == (sign > 0, sign < 0)
    assert 200 <= at < 200 + MAX_DELAY[name]


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize(
    "strange",
    [
        [0.0] * 200,
        [3.0] * 200,
        [1e300, -1e300] * 100,
        [1e15] + [0.0] * 199,
        [5e-324] * 200,
        [np.nan] * 3,
        [np.inf, -np.inf],
    ],
    ids=["zeros", "constant", "huge both ways", "one huge", "tiny", "no numbers", "infinities"],
)
def test_strange_values_neither_raise_nor_blind(name: str, strange: list[float]) -> None:
    detector = new(name)
    feed(detector, np.array(strange))
    rng = np.random.default_rng(3)
    feed(detector, rng.normal(size=2000))
    assert feed(detector, rng.normal(size=200) + 10.0), "blind after strange values"


@pytest.mark.parametrize("name", DETECTORS)
def test_a_window_without_values_changes_nothing(name: str) -> None:
    detector = new(name)
    feed(detector, np.random.default_rng(4).normal(size=100))
    before = msgspec.msgpack.encode(detector.to_state())
    nothing = np.empty(0)
    hits = detector.update(fitting(detector.name, np.empty(0, np.int64), nothing))
    assert not len(hits.up)
    assert msgspec.msgpack.encode(detector.to_state()) == before


@pytest.mark.parametrize("name", DETECTORS)
def test_series_do_not_touch_each_other(name: str) -> None:
    rng = np.random.default_rng(11)
    z = rng.normal(size=(300, 3))
    z[100:, 1] += 6.0
    together = new(name, 3)
    index = np.arange(3)
    fired: list[list[int]] = [[], [], []]
    for at, row in enumerate(z):
        hits = together.update(fitting(together.name, index, row))
        for series in np.flatnonzero(hits.fired_up | hits.fired_down):
            fired[series].append(at)
    alone = [[at for at, _, _ in feed(new(name), z[:, series])] for series in range(3)]
    assert fired == alone
    assert fired[1]
    assert not fired[0]


@pytest.mark.parametrize("name", DETECTORS)
def test_reset_forgets_one_series_only(name: str) -> None:
    rng = np.random.default_rng(12)
    detector = new(name, 2)
    index = np.arange(2)
    for row in rng.normal(size=(100, 2)):
        detector.update(fitting(detector.name, index, row))
    detector.reset(np.array([0]))
    fresh = new(name, 1)
    tail = rng.normal(size=200)
    both = []
    for value in tail:
        row = np.array([value, value])
        hits = detector.update(fitting(detector.name, index, row))
        both.append(hits.up[0])
    one = np.array([0])
    expected = [fresh.update(fitting(fresh.name, one, [v])).up[0] for v in tail]
    assert both == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("tail", ["normal", "student 4", "skewed"])
def test_false_alarms_on_a_million_stationary_values(name: str, tail: str) -> None:
    """Independent values of unit variance; 200 series of 5,000 values."""
    rng = np.random.default_rng(5)
    size, length = 200, 5000
    if tail == "normal":
        z = rng.normal(size=(length, size))
    elif tail == "student 4":
        z = rng.standard_t(4, size=(length, size)) / np.sqrt(2.0)
    else:
        z = rng.exponential(size=(length, size)) - 1.0
    detector = new(name, size)
    index = np.arange(size)
    alarms = 0
    for row in z:
        hits: Hits = detector.update(fitting(detector.name, index, row))
        alarms += int((hits.fired_up | hits.fired_down).sum())
    assert alarms <= MAX_FALSE_PER_MILLION[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_memory_is_bounded_over_many_values(name: str) -> None:
    detector = new(name, 20)
    index = np.arange(20)
    rng = np.random.default_rng(9)
    for row in rng.normal(size=(20_000, 20)):
        detector.update(fitting(detector.name, index, row))
    per_series = len(msgspec.msgpack.encode(detector.to_state())) / 20
    assert per_series <= MAX_STATE_BYTES


SCRIPT = """
import hashlib, msgspec, numpy as np
from tests.support.batches import fitting
from detectors.registry import DETECTORS, DetectorsParams, make
rng = np.random.default_rng(2)
digest = hashlib.sha256()
for detector in make(DetectorsParams(beside=tuple(DETECTORS))):
    detector.grow(5)
    for row in rng.normal(size=(300, 5)) + np.linspace(0, 4, 5):
        hits = detector.update(fitting(detector.name, np.arange(5), row))
        digest.update(hits.up.tobytes())
    digest.update(msgspec.msgpack.encode(detector.to_state()))
print(digest.hexdigest())
"""


def test_the_hash_seed_changes_nothing() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(outputs) == 1
    assert len(outputs.pop().strip()) == hashlib.sha256().digest_size * 2
