"""Numbers that are none, or impossible, before and during a real shift: it is found in the same window."""

from __future__ import annotations

import random
from typing import Final

from streams.topics import ANOMALIES, DEADLETTERS
from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.run import Event, offline, traffic
from tests.recovery.rig.verdict import compare, total

NUMBERS: Final = (b"NaN", b"Infinity", b"-Infinity", b"1e308", b"1e400", b"-5")
FIELDS: Final = (b"duration_ms", b"ttft_ms", b"tokens_in", b"tokens_out", b"cost", b"retrieval_score")
SHARE: Final = 0.1


def bad_numbers(scale: Scale) -> Outcome:
    """Replays of the same traffic, with and without one record in ten that holds such a number."""
    events = traffic()
    clean = offline(events)
    failures: list[str] = []
    verdicts = []
    faults = 0
    if not clean.count(ANOMALIES):
        failures.append("the traffic has no shift to be found")
    for round_number in range(scale.pick(1, 5)):
        rng = random.Random(scale.seed + round_number)
        poisoned: list[Event] = []
        for number, event in enumerate(events):
            if event.stream == "interaction" and rng.random() < SHARE:
                poisoned.append(_bad(number, event.at_ms, rng))
            poisoned.append(event)
        faults += (bad := len(poisoned) - len(events))
        found = offline(poisoned, limits={"dead_letters_per_1000": 1000})
        letters = found.rows[DEADLETTERS].copy()
        found.rows[DEADLETTERS] = clean.rows[DEADLETTERS]  # the only difference that there should be
        verdicts.append(compare(found, clean))
        if len(letters) < bad:
            failures.append(f"{bad} bad records, {len(letters)} dead letters")
    verdict = total(verdicts)
    return Outcome(
        runs=len(verdicts),
        faults=faults,
        lost=verdict.lost,
        doubled=verdict.doubled,
        notes=f"{clean.count(ANOMALIES)} anomalies, the same with and without",
        failures=tuple(failures),
    )


def _bad(number: int, at_ms: int, rng: random.Random) -> Event:
    given = (number, at_ms, rng.choice(FIELDS), rng.choice(NUMBERS))
    value = b'{"event_id":"bad%d","occurred_at":%d,"model_requested":"m","%b":%b}' % given
    return Event("interaction", b"bad", at_ms, value)


EXPERIMENTS = (
    Experiment(
        "bad-numbers",
        "NaN, infinities, 1e308 and negative numbers before and during a real shift",
        "the same summaries, anomalies and incidents, in the same windows",
        (),
        bad_numbers,
        short_secs=30,
    ),
)
