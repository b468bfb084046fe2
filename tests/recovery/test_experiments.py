"""The short versions of the fault experiments: nothing lost, nothing doubled, no goal missed.

Every test run does one of each kind; the marker ``faults`` selects the rest (``pytest -m faults tests/recovery``).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recovery.discovery import all_experiments
from tests.recovery.experiment import Experiment, Scale
from tests.recovery.rig.brokers import Missing, require, shared_kafka

SEED = 1
EVERY_RUN = {
    "bad-numbers",
    "decoder-fuzz",
    "kill-points-sqlite",
    "zombie-tansu",
    "sigterm",
    "state-round-trip",
}
_MARKS = {"tansu": pytest.mark.broker, "kafka": pytest.mark.kafka}


def _parameter(experiment: Experiment) -> object:
    marks = [_MARKS[component] for component in experiment.needs if component in _MARKS]
    # Other work on the machine may make it slower; a stuck one must still end.
    if experiment.name not in EVERY_RUN:
        marks.append(pytest.mark.faults)
    marks.append(pytest.mark.timeout(120 + 4 * experiment.short_secs))
    return pytest.param(experiment, id=experiment.name, marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [_parameter(e) for e in all_experiments().values()])
def test_nothing_is_lost_or_doubled(
    experiment: Experiment, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    try:
        for component in experiment.needs:
            require(component)
    except Missing as missing:
        pytest.skip(str(missing))
    if "kafka" in experiment.needs:
        with shared_kafka(request.getfixturevalue("kafka")):
            outcome = experiment.run(Scale(True, SEED, tmp_path))
    else:
        outcome = experiment.run(Scale(True, SEED, tmp_path))
    assert outcome.failures == ()
    assert (outcome.lost, outcome.doubled) == (0, 0), outcome.notes
    assert outcome.runs > 0
