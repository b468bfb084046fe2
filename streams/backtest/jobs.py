"""What the suite runs: every incident in three strengths, its benign twin, the traps, quiet weeks; per seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from streams.simulate import reference as ref
from streams.simulate.catalogue import DURATIONS_MS, QUIET, STRENGTHS, TRAPS
from streams.simulate.incidents import DAY_MS, INCIDENTS
from streams.simulate.twins import TWINS

BENIGN: Final = "benign"
Kind = Literal["incident", "benign", "trap", "quiet"]
_WEEK_DAYS: Final = 7.0
_REFERENCE_PER_DAY: Final = 100_000
LONG_DAYS: Final = 2.5


class UnknownJob(ValueError):
    """No job has this name; says what there is."""


class Job(NamedTuple):
    """One branch from the warmed-up fleet."""

    scenario: str
    """``S01`` to ``S22``, ``T1`` to ``T8``, or ``quiet``."""
    variant: str
    """A strength, or ``benign``; traps come in medium."""
    seed: int
    """Of the traffic after the warm-up."""

    @property
    def name(self) -> str:
        """``S02/medium``, ``S08/benign``, ``T3``, ``quiet``."""
        plain = self.kind in ("trap", "quiet")
        return self.scenario if plain else f"{self.scenario}/{self.variant}"

    @property
    def kind(self) -> Kind:
        if self.scenario == QUIET:
            return "quiet"
        if self.scenario in TRAPS:
            return "trap"
        return "benign" if self.variant == BENIGN else "incident"

    @property
    def longest_days(self) -> float:
        """About how long the branch lasts if nothing is noticed; the order of jobs follows it."""
        if self.kind == "quiet":
            return _WEEK_DAYS
        if self.kind == "benign":
            row = TWINS[self.scenario]
            return 0.5 + row.duration_ms / DAY_MS + (_WEEK_DAYS if row.weekly else 0.0)
        if self.kind == "trap":
            return 8.0 if self.scenario == "T3" else 1.0
        return 0.3 + _incident_days(self.scenario, STRENGTHS.index(self.variant))


def _incident_days(scenario: str, k: int) -> float:
    """How long an incident lasts until it is given up, at the reference rate."""
    row = INCIDENTS[scenario]
    target_days = row.targets[k] / (_REFERENCE_PER_DAY * ref.share_of(ref.independent(row.segment)))
    full_days = row.ramps_ms[k] / DAY_MS + max(DURATIONS_MS[k] / DAY_MS, 2 * target_days)
    return min(full_days, row.ramps_ms[k] / DAY_MS / 2 + max(0.25, min(1.5 * target_days, target_days + 1.0)))


def expand(
    only: Sequence[str], seeds: int, seed_offset: int, quiet_weeks: int, long_seeds: int | None = None
) -> list[Job]:
    """The jobs of all seeds, the longest first; those of more than ``LONG_DAYS`` have ``long_seeds``.

    ``only`` names some (``S02/medium``, ``S04``, ``S08/benign``, ``T3``, ``quiet``); empty means all.

    Raises:
        UnknownJob: a name that nothing has.
    """
    wanted = list(dict.fromkeys(pair for name in only for pair in _named(name))) if only else list(_all())
    jobs = []
    for scenario, variant in wanted:
        long = scenario != QUIET and Job(scenario, variant, 0).longest_days > LONG_DAYS
        for number in range(min(seeds, long_seeds) if long and long_seeds is not None else seeds):
            weeks = quiet_weeks if scenario == QUIET else 1
            # Quiet weeks of one seed have different traffic: their seeds lie beyond those of the others.
            jobs += [Job(scenario, variant, seed_offset + number + week * seeds) for week in range(weeks)]
    return sorted(jobs, key=lambda job: (-job.longest_days, job))


def _all() -> Iterator[tuple[str, str]]:
    for scenario in INCIDENTS:
        yield from ((scenario, variant) for variant in (*STRENGTHS, BENIGN))
    yield from ((trap, "medium") for trap in TRAPS)
    yield QUIET, QUIET


def _named(name: str) -> list[tuple[str, str]]:
    scenario, _, variant = name.strip().partition("/")
    found = [
        pair
        for pair in _all()
        if pair[0].lower() == scenario.lower() and (not variant or pair[1] == variant.lower())
    ]
    if not found:
        raise UnknownJob(
            f"got {name!r}; expected S01 to S22, alone or with /mild, /medium, /severe or "
            "/benign, T1 to T8, or quiet"
        )
    return found
