"""A broker that is away, comes and goes, or is slow; the workers reach it through a proxy, the traffic does not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.recovery.experiment import Experiment, Outcome, Scale
from tests.recovery.rig.brokers import port_of, tansu
from tests.recovery.rig.kafka_proxy import KafkaProxy
from tests.recovery.rig.outcomes import together
from tests.recovery.rig.trial import Trial, trial

RESUME_SECS: Final = 10.0
GROWTH_MB: Final = 50.0


def _away(folder: Path, minutes: int, outages_secs: Sequence[float], between_secs: float) -> Outcome:
    feed_secs = sum(outages_secs) + (between_secs + RESUME_SECS) * len(outages_secs) + 15.0
    with (
        tansu() as broker,
        KafkaProxy(port_of(broker)) as proxy,
        trial(broker, folder, minutes=minutes, feed_secs=feed_secs, through=proxy.address) as (run, outcome),
    ):
        run.await_progress()
        for secs in outages_secs:
            time.sleep(between_secs)
            began = time.monotonic()
            proxy.refuse()
            run.faults += 1
            time.sleep(secs)
            proxy.restore()
            resumed_secs = run.await_recovery()
            _judge(run, secs, began, resumed_secs)
    return outcome[0]


def _judge(run: Trial, outage_secs: float, began: float, resumed_secs: float) -> None:
    if resumed_secs > RESUME_SECS:
        run.failures.append(f"resumed {resumed_secs:.1f} s after an outage of {outage_secs:.0f} s")
    grown_mb = max(_growth(run, began), default=0.0)
    if grown_mb > GROWTH_MB:
        run.failures.append(f"{grown_mb:.0f} MB more memory in an outage of {outage_secs:.0f} s")
    if outage_secs >= RESUME_SECS:
        run.notes.append(
            f"{outage_secs:.0f} s: resumed after {resumed_secs:.1f} s, {grown_mb:.0f} MB more memory"
        )


def _growth(run: Trial, began: float) -> list[float]:
    """By how much each worker has grown since then."""
    grown = []
    for pid in {pid for _, pid, _ in run.usage.rss_mb}:
        before = [rss for at, sampled, rss in run.usage.rss_mb if sampled == pid and at <= began]
        since = [rss for at, sampled, rss in run.usage.rss_mb if sampled == pid and at > began]
        if before and since:
            grown.append(max(since) - before[-1])
    return grown


def down(scale: Scale) -> Outcome:
    if scale.short:
        return _away(scale.folder / "run", 8, [5.0], 1.0)
    lengths = (5.0, 60.0, 600.0)
    return together([_away(scale.folder / f"{secs:.0f}", 24, [secs], 5.0) for secs in lengths])


def flapping(scale: Scale) -> Outcome:
    rng = scale.random()
    times = scale.pick(3, 20)
    return _away(scale.folder / "run", scale.pick(8, 24), [rng.uniform(0.2, 4.0) for _ in range(times)], 2.0)


def _slow(folder: Path, scale: Scale, rtt_secs: float, kills: int) -> Outcome:
    rng = scale.random()
    # Joining takes four round trips and a pause of the embedded broker's, which counts as silence there.
    session_secs = max(6.0, 8 * rtt_secs)
    between_secs = 6.0 + session_secs + 8 * rtt_secs
    with (
        tansu() as broker,
        KafkaProxy(port_of(broker)) as proxy,
        trial(
            broker,
            folder,
            minutes=scale.pick(8, 24),
            feed_secs=kills * between_secs + 10.0,
            through=proxy.address,
            # A chunk takes a round trip: small ones would only show that it is long.
            kafka={"session_timeout_secs": session_secs, "chunk_records": round(750 * max(0.4, rtt_secs))},
        ) as (run, outcome),
    ):
        proxy.slow(rtt_secs)
        run.faults += 1
        run.await_progress()
        for _ in range(kills):
            time.sleep(rng.uniform(0.0, between_secs / 2))
            run.kill()
            run.await_recovery()
    return outcome[0]


def slow(scale: Scale) -> Outcome:
    if scale.short:
        return _slow(scale.folder / "run", scale, 0.4, 1)
    return together([_slow(scale.folder / f"{rtt}", scale, rtt, 10) for rtt in (0.4, 2.0)])


EXPERIMENTS = (
    Experiment(
        "broker-down",
        "broker refusing connections for 5 s, 60 s, 10 min",
        "equality; another window closed 10 s after its return; memory grows by less than 50 MB",
        ("tansu",),
        down,
    ),
    Experiment(
        "broker-flapping",
        "broker away and back 20 times",
        "equality; another window closed 10 s after each return",
        ("tansu",),
        flapping,
    ),
    Experiment(
        "broker-slow",
        "round trips of 400 ms and 2 s, kill -9 on top",
        "equality",
        ("tansu",),
        slow,
    ),
)
