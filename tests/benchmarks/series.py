"""``python -m tests.benchmarks.series``: the series detector against its marks and against River's detectors.

Real model updates (LLMDrift prime): March's answers in random order, then June's, 20 seeds; delay is events from
the switch to the first alarm, false is alarms per 10,000 events of March alone, drawn with replacement in
streams of 10,000. NAB: its files, its formula, one threshold. Real traces and synthetic streams: alarms on what
does not change.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import statistics
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from river import drift

from detectors.series.detector import Kind, SeriesDetector
from tests.benchmarks import nab
from tests.support.real_data import AZURE, MOONCAKE, NAB, PRIME, UPDATES, answers

SEEDS = 20
QUIET_ROWS = 10_000
MARKS = {"bad answers: mean of the median delays": 48.0, "NAB standard": 68.0, "us per row": 20.0}
Alarm = Callable[[float], bool]
"""One value in; true on an alarm, after which it starts anew."""


def tidewatch(kind: Kind, arl: float) -> Alarm:
    detector, row = SeriesDetector(kind, arl), 0

    def alarm(value: float) -> bool:
        nonlocal row
        row += 1
        return detector.update(float(row), value).rows_since_onset > 0

    return alarm


def river(make: Callable[[], Any], *, binary: bool = False) -> Alarm:
    detector = make()

    def alarm(value: float) -> bool:
        nonlocal detector
        detector.update(bool(value) if binary else value)
        found = bool(detector.drift_detected)
        if found:
            detector = make()
        return found

    return alarm


def contenders(column: str) -> dict[str, Callable[[], Alarm]]:
    kind: Kind = "ratio" if column == "bad" else "mean"
    found: dict[str, Callable[[], Alarm]] = {
        "tidewatch, ARL 100,000": lambda: tidewatch(kind, 100_000),
        "tidewatch, ARL 10,000": lambda: tidewatch(kind, 10_000),
        "ADWIN 0.002": lambda: river(lambda: drift.ADWIN(delta=0.002)),
        "Page-Hinkley 15, 0.1": lambda: river(lambda: drift.PageHinkley(threshold=15, delta=0.1)),
    }
    if column == "bad":
        found["HDDM_A"] = lambda: river(lambda: drift.binary.HDDMA(two_sided_test=True), binary=True)
        found["HDDM_W"] = lambda: river(lambda: drift.binary.HDDMW(two_sided_test=True), binary=True)
    return found


def delays(make: Callable[[], Alarm], model: str, column: str) -> list[float]:
    """Events from the switch to the first alarm after it, per seed; infinite where there is none."""
    march, june = ([getattr(answer, column) for answer in month] for month in answers(model))
    found = []
    for seed in range(SEEDS):
        rng, alarm = random.Random(seed), make()
        for value in rng.sample(march, len(march)):
            alarm(value)
        after = (n for n, value in enumerate(rng.sample(june, len(june)), 1) if alarm(value))
        found.append(float(next(after, math.inf)))
    return found


def false_alarms(make: Callable[[], Alarm], streams: Iterable[Iterable[float]]) -> tuple[int, int]:
    """(alarms, rows) of streams in which nothing changes, each with a fresh detector."""
    alarms = rows = 0
    for stream in streams:
        alarm = make()
        for value in stream:
            rows += 1
            alarms += alarm(value)
    return alarms, rows


def march_alone(model: str, column: str, streams: int) -> Iterator[list[float]]:
    march = [getattr(answer, column) for answer in answers(model)[0]]
    for seed in range(streams):
        yield random.Random(1_000 + seed).choices(march, k=QUIET_ROWS)


def updates_of_models(streams: int, console: Console) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for column in ("bad", "tokens", "latency_secs"):
        table = Table(title=f"LLMDrift prime, {column}: median delay in events (found of {SEEDS})")
        for name in ("detector", *UPDATES, "mean", "false per 10,000"):
            table.add_column(name, justify="left" if name == "detector" else "right")
        for name, make in contenders(column).items():
            found = {model: delays(make, model, column) for model in UPDATES}
            medians = {model: statistics.median(values) for model, values in found.items()}
            quiet = [false_alarms(make, march_alone(model, column, streams)) for model in UPDATES]
            per_10k = 1e4 * sum(a for a, _ in quiet) / sum(r for _, r in quiet)
            mean = statistics.fmean(medians.values())
            hits = {model: sum(map(math.isfinite, values)) for model, values in found.items()}
            cells = [f"{medians[model]:.1f} ({hits[model]})" for model in UPDATES]
            table.add_row(name, *cells, f"{mean:.1f}", f"{per_10k:.2f}")
            results[f"{column}: {name}"] = {"medians": medians, "found": hits, "false_per_10k": per_10k}
        console.print(table)
    return results


def benchmark_of_numenta(console: Console) -> dict[str, Any]:
    series = nab.read_series(NAB)
    scores, alarms, rows = {}, 0, 0
    begin = time.process_time()
    for name, one in series.items():
        detector = SeriesDetector("mean")
        verdicts = [detector.update(at, value) for at, value in zip(one.at_secs, one.values, strict=True)]
        scores[name] = [verdict.score for verdict in verdicts]
        alarms += sum(verdict.rows_since_onset > 0 for verdict in verdicts)
        rows += len(verdicts)
    us_per_row = (time.process_time() - begin) / rows * 1e6
    table = Table(title="NAB, one threshold for all files")
    for column in ("files", "standard", "low FP", "low FN", "standard at 0.5"):
        table.add_column(column, justify="left" if column == "files" else "right")
    results: dict[str, Any] = {"us_per_row": us_per_row, "alarms": alarms}
    halves = {"all": (0, 1), "half A": (0,), "half B": (1,)}
    for name, parts in halves.items():
        chosen = {file: one for file, one in series.items() if zlib.crc32(file.encode()) % 2 in parts}
        found, windows = nab.detections(chosen, scores), sum(len(one.windows) for one in chosen.values())
        best = {profile: nab.points(found, windows, nab.PROFILES[profile])[0] for profile in nab.PROFILES}
        best["at 0.5"] = nab.points(found, windows, nab.PROFILES["standard"], 0.5)[0]
        table.add_row(f"{name}, {len(chosen)}", *(f"{value:.1f}" for value in best.values()))
        results[name] = best
    console.print(table)
    console.print(f"{us_per_row:.1f} us a row; {alarms} alarms in {rows:,} rows")
    return results


def quiet_streams(streams: int, console: Console) -> dict[str, Any]:
    table = Table(title=f"Streams in which nothing changes, {streams} x {QUIET_ROWS:,} rows, ARL 100,000")
    for column in ("kind", "stream", "false per 10,000"):
        table.add_column(column, justify="right" if column.startswith("false") else "left")
    results = {}
    for kind, name, make in SYNTHETIC:
        made = (make(np.random.default_rng(seed)).tolist() for seed in range(streams))
        alarms, rows = false_alarms(lambda kind=kind: tidewatch(kind, 100_000), made)  # type: ignore[misc]
        results[f"{kind}: {name}"] = 1e4 * alarms / rows
        table.add_row(kind, name, f"{1e4 * alarms / rows:.3f}")
    console.print(table)
    return results


def real_traces(console: Console) -> dict[str, Any]:
    results = {}
    for name, (kind, values) in _traces().items():
        alarm = tidewatch(kind, 100_000)
        in_order = [row for row, value in enumerate(values) if alarm(value)]
        shuffled = [random.Random(seed).sample(values, len(values)) for seed in range(5)]
        alarms, rows = false_alarms(lambda kind=kind: tidewatch(kind, 100_000), shuffled)  # type: ignore[misc]
        results[name] = {"alarms": in_order, "rows": len(values), "shuffled_per_10k": 1e4 * alarms / rows}
        console.print(
            f"{name}: {len(values):,} rows, alarms at {in_order}; shuffled {1e4 * alarms / rows:.2f} per 10,000"
        )
    return results


def _traces() -> dict[str, tuple[Kind, list[float]]]:
    found: dict[str, tuple[Kind, list[float]]] = {}
    with AZURE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    found["Azure tokens in"] = ("mean", [float(row[1]) for row in rows])
    found["Azure tokens out"] = ("mean", [float(row[2]) for row in rows])
    minutes = [row[0][11:18] for row in rows]  # ten seconds
    found["Azure requests in 10 s"] = ("count", [float(minutes.count(m)) for m in dict.fromkeys(minutes)])
    chats = [json.loads(line) for line in MOONCAKE.read_text("utf-8").splitlines()]
    found["Mooncake tokens in"] = ("mean", [float(chat["input_length"]) for chat in chats])
    found["Mooncake tokens out"] = ("mean", [float(chat["output_length"]) for chat in chats])
    counts = np.bincount([chat["timestamp"] // 10_000 for chat in chats])
    found["Mooncake requests in 10 s"] = ("count", counts.astype(float).tolist())
    return found


def _autoregressive(rng: np.random.Generator, phi: float) -> np.ndarray:
    noise, level, made = rng.normal(size=QUIET_ROWS) * math.sqrt(1 - phi * phi), 0.0, []
    for shock in noise:
        level = phi * level + shock
        made.append(level)
    return np.array(made)


Maker = Callable[[np.random.Generator], np.ndarray]
SYNTHETIC: list[tuple[Kind, str, Maker]] = [
    ("mean", "normal", lambda rng: rng.normal(size=QUIET_ROWS)),
    ("mean", "Pareto, exponent 1", lambda rng: rng.pareto(1.0, QUIET_ROWS)),
    ("mean", "log-normal, sigma 2", lambda rng: rng.lognormal(0.0, 2.0, QUIET_ROWS)),
    ("mean", "autoregressive 0.5", lambda rng: _autoregressive(rng, 0.5)),
    ("mean", "autoregressive 0.9", lambda rng: _autoregressive(rng, 0.9)),
    ("mean", "autoregressive 0.99", lambda rng: _autoregressive(rng, 0.99)),
    ("ratio", "p 0.02", lambda rng: rng.binomial(1, 0.02, QUIET_ROWS).astype(float)),
    ("ratio", "p 0.16", lambda rng: rng.binomial(1, 0.16, QUIET_ROWS).astype(float)),
    ("ratio", "p 0.5", lambda rng: rng.binomial(1, 0.5, QUIET_ROWS).astype(float)),
    ("count", "Poisson 1", lambda rng: rng.poisson(1.0, QUIET_ROWS).astype(float)),
    ("count", "Poisson 100", lambda rng: rng.poisson(100.0, QUIET_ROWS).astype(float)),
    ("count", "negative binomial, variance 26 means",
     lambda rng: rng.negative_binomial(4, 4 / 104, QUIET_ROWS).astype(float)),
    ("count", "bursts lasting 10 rows",
     lambda rng: rng.poisson(20 * np.exp(0.5 * _autoregressive(rng, 0.9))).astype(float)),
    ("count", "bursts lasting 50 rows",
     lambda rng: rng.poisson(20 * np.exp(_autoregressive(rng, 0.98))).astype(float)),
    ("rate", "bursts lasting 10 rows",
     lambda rng: rng.gamma(2.0, 5.0, QUIET_ROWS) * np.exp(0.5 * _autoregressive(rng, 0.9))),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.series", description=__doc__)
    parser.add_argument("--streams", type=int, default=50, help="Quiet streams of 10,000 rows of each sort.")
    parser.add_argument("--json", type=Path, help="Also write the results here.")
    arguments = parser.parse_args()
    console, results = Console(width=110), {}
    if NAB.exists():
        results["nab"] = benchmark_of_numenta(console)
    if PRIME.exists():
        results["llmdrift"] = updates_of_models(arguments.streams, console)
    if AZURE.exists() and MOONCAKE.exists():
        results["traces"] = real_traces(console)
    results["quiet"] = quiet_streams(arguments.streams, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
