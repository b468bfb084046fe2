"""``python -m tests.benchmarks.newcomers``: what siblings' loans find in new segments, and what they falsely raise.

Into a fleet of tenants with learned baselines come hundreds of new ones at once. Each comes twice, with the same
values: as a tenant, to which the others lend, and as the only segment of a dimension of its own, to which nobody
does. Tenants differ from each other in every signal by a draw from some distribution; newcomers by one from the
same or by twice as much. They stay as they are, or turn bad at their first minute or later: latency doubles,
refusals become four times as many. Traffic is a few interactions a minute, in bursts, and wanders by itself.

A finding is a newcomer's signal with more evidence than the fleet's budget of warnings asked for when it came.
"""

from __future__ import annotations

import argparse
import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from detectors.incidents.docket import Docket
from detectors.incidents.triage import TriageParams
from detectors.monitor import Detect, DetectParams
from detectors.records import Evidence, SegmentKey, Severity
from streams.backtest.figures import rate
from streams.signals import SIGNALS
from tests.unit.detectors.builders import MatrixWindow

Floats = NDArray[np.float64]

BASE_MS: Final = 60_000
START_MS: Final = 1_790_000_040_000
WARM_UP: Final = 300
"""Minutes in which the fleet learns."""
SHARES: Final = {"refusal_ratio": (0.02, 0.3), "schema_valid_ratio": (0.99, 0.4)}
"""Signal -> what is usual, and by which logarithm of its odds tenants differ for a draw of one."""
SCORES: Final = {"judge_score_mean": (0.88, 0.01)}
LOGARITHMS: Final = {
    "latency_typical_ms": (6.3, 0.06), "tokens_out_typical": (5.0, 0.06), "cost_per_request_usd": (-5.8, 0.05)
}  # fmt: skip
PLAIN: Final = SHARES | SCORES | LOGARITHMS
NAMES: Final = ("request_rate", *PLAIN)
JUDGED: Final = 0.3
"""Share of the interactions that have a score."""
PER_MINUTE: Final = (0.3, 12.0)
"""Interactions of a tenant; the logarithm is uniform between these."""
DISTRIBUTIONS: Final = ("normal", "bimodal", "t3", "t2")
WIDER: Final = (1.0, 2.0)
DAY: Final = 1440
A_DAY: Final = 20
"""Newcomers: a realistic churn."""
SHIFT_MINUTES: Final = (0, 30, 60)


class Shift(NamedTuple):
    """What a bad newcomer does."""

    signal: str
    by: float
    """Added to the logarithm of a latency, or of the odds of a ratio."""


SHIFTS: Final = (Shift("latency_typical_ms", float(np.log(2))), Shift("refusal_ratio", float(np.log(4.26))))
"""Twice the latency; refusals from 2 % to 8 %."""


class Found(NamedTuple):
    """What newcomers showed; pairs are [lent, alone]."""

    false: tuple[int, int]
    """Findings in signals that did not change."""
    minutes: tuple[list[int], list[int]]
    """Findings in the signal that turned bad: when, since it did."""


def draws(distribution: str, rng: np.random.Generator, size: int) -> Floats:
    """How far tenants lie from what is usual, [tenant, signal]; about one is usual."""
    shape = (size, len(PLAIN))
    if distribution == "bimodal":  # one in twenty is of another kind
        return np.where(rng.random(shape) < 0.05, rng.choice([-6.0, 6.0], shape), rng.normal(size=shape))
    if distribution == "normal":
        return rng.normal(size=shape)
    return rng.standard_t(int(distribution[1:]), shape)


class Tenants:
    """Some segments and what is usual of each."""

    def __init__(self, distribution: str, wider: float, size: int, rng: np.random.Generator) -> None:
        off = wider * draws(distribution, rng, size).T
        self.levels = {name: off[at] * each for at, (name, (_, each)) in enumerate(PLAIN.items())}
        self.per_minute = np.exp(rng.uniform(*np.log(PER_MINUTE), size))

    def minute(self, rng: np.random.Generator, shift: Shift | None) -> tuple[Floats, NDArray[np.int64]]:
        """(values, counts) of one minute, [tenant, signal]; ``shift`` is what all of them do."""
        size = len(self.per_minute)
        n = rng.poisson(self.per_minute * rng.gamma(2.0, 0.5, size))
        columns, counts = [n.astype(float)], [n]
        for name, (usual, _) in PLAIN.items():
            level = self.levels[name] + (shift.by if shift is not None and shift.signal == name else 0.0)
            seen = rng.binomial(n, JUDGED) if name in SCORES else n
            some = np.maximum(seen, 1)
            if name in SHARES:
                odds = usual / (1.0 - usual) * np.exp(level)
                share = np.clip(odds / (1.0 + odds), 1e-6, 1.0 - 1e-6)
                columns.append(rng.binomial(some, rng.beta(share * 30.0, (1.0 - share) * 30.0)) / some)
            elif name in SCORES:
                columns.append(
                    np.clip(usual + level, 0.0, 1.0) + 0.11 * rng.normal(size=size) / np.sqrt(some)
                )
            else:
                noise = 0.9 * rng.normal(size=size) / np.sqrt(some) + 0.05 * rng.normal(size=size)
                columns.append(np.exp(usual + level + noise))
            counts.append(seen)
        values = np.stack(columns, axis=1)
        values[:, 1:] = np.where(np.stack(counts[1:], axis=1) > 0, values[:, 1:], np.nan)
        return values, np.stack(counts, axis=1)


def measure(
    distribution: str, wider: float, *, fleet: int, newcomers: int, minutes: int, seed: int,
    shift: Shift | None = None, shift_minute: int = 0,
) -> Found:  # fmt: skip
    """Newcomers of ``wider`` times the distribution's spread, watched for some minutes."""
    rng = np.random.default_rng(seed)
    old, new = Tenants(distribution, 1.0, fleet, rng), Tenants(distribution, wider, newcomers, rng)
    tenants = [SegmentKey(("tenant",), (f"t{k:04d}",)) for k in range(fleet)]
    lent = [SegmentKey(("tenant",), (f"z{k:04d}",)) for k in range(newcomers)]
    alone = [SegmentKey((f"dimension-{k:04d}",), ("z",)) for k in range(newcomers)]
    detect = Detect(DetectParams(), (), {name: SIGNALS[name] for name in NAMES}, BASE_MS)
    for number in range(WARM_UP):
        close(detect, number, tenants, *old.minute(rng, None))
    now_ms = START_MS + WARM_UP * BASE_MS
    budget = Docket(TriageParams(), "fleet").budget(Severity.WARNING, SIGNALS)
    told = detect.explainer(now_ms).explain(tenants[:1], list(PLAIN), budget, now_ms)
    needed = {one.signal: one.nats_needed for one in told}
    first: dict[tuple[SegmentKey, str], int] = {}
    for number in range(minutes):
        mine, theirs = old.minute(rng, None), new.minute(rng, shift if number >= shift_minute else None)
        values, counts = (np.concatenate([a, b, b]) for a, b in zip(mine, theirs, strict=True))
        for found in close(detect, WARM_UP + number, [*tenants, *lent, *alone], values, counts):
            if found.statistic >= needed.get(found.signal, math.inf):
                first.setdefault((found.segment, found.signal), number - shift_minute)
    bad = None if shift is None else shift.signal

    def of(side: list[SegmentKey]) -> tuple[int, list[int]]:
        mine = [(name == bad, at) for (segment, name), at in first.items() if segment in side]
        return sum(not is_bad for is_bad, _ in mine), sorted(at for is_bad, at in mine if is_bad and at >= 0)

    (false, minutes_lent), (false_alone, minutes_alone) = of(lent), of(alone)
    return Found((false, false_alone), (minutes_lent, minutes_alone))


def close(
    detect: Detect, number: int, segments: list[SegmentKey], values: Floats, counts: NDArray[np.int64]
) -> list[Evidence]:
    """The evidence of one minute."""
    block = MatrixWindow(START_MS + number * BASE_MS, segments, values, counts, BASE_MS)
    block.signals = NAMES
    return detect.close(block).evidence


def main() -> int:
    arguments = _arguments()
    size = {"newcomers": arguments.newcomers, "fleet": arguments.fleet}
    console = Console()
    quiet = Table("differ as", "times", "newcomers", "findings, lent", "alone", title="First day, unchanged")
    total = [0, 0]
    cases = [(distribution, wider) for distribution in DISTRIBUTIONS for wider in WIDER]
    for seed, (distribution, wider) in enumerate(cases):
        found = measure(distribution, wider, minutes=DAY, seed=arguments.seed + seed, **size)
        quiet.add_row(distribution, f"{wider:g}", str(arguments.newcomers), *map(str, found.false))
        total = [a + b for a, b in zip(total, found.false, strict=True)]
    console.print(quiet)
    weeks = len(cases) * arguments.newcomers / (7 * A_DAY)
    for side, count in zip(("lent", "alone"), total, strict=True):
        often = rate(count, weeks)
        console.print(
            f"{side}: {often.per_week:.2f} findings a week where {A_DAY} newcomers come a day "
            f"({often.lower:.2f} to {often.upper:.2f})", highlight=False,
        )  # fmt: skip
    bad = Table(
        "turns bad", "at minute", "newcomers", "in an hour, lent", "alone", "in three, lent", "alone",
        title="Findings of what turned bad",
    )  # fmt: skip
    for seed, (shift, at) in enumerate((shift, at) for shift in SHIFTS for at in SHIFT_MINUTES):
        found = measure(
            "normal", 1.0, minutes=at + 180, seed=arguments.seed + seed, shift=shift, shift_minute=at, **size
        )
        counts = [sum(m < within for m in side) for within in (60, 180) for side in found.minutes]
        bad.add_row(shift.signal, str(at), str(arguments.newcomers), *map(str, counts))
    console.print(bad)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.newcomers", description=__doc__)
    parser.add_argument("--newcomers", type=int, default=300, help="In every row.")
    parser.add_argument("--fleet", type=int, default=20, help="Tenants with a history.")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
