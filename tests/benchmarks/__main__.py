"""``make bench``: throughput side by side on a real Kafka, delay from window close to alert, memory.

Prints a table with ratios and writes ``bench-results.json``. Ratios are of medians in one run; absolute figures
are those of the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.delay import measure_delay
from tests.benchmarks.load import EVENT_BYTES, SEGMENTATIONS, events, fill
from tests.support.brokers import Broker, make_topics
from tests.support.kafka import NoKafka, real_kafka

PARTITIONS = 4
START_MS = 1_790_000_000_000
MARKS = {"tidewatch / bare": 0.6, "tidewatch / plain faust": 15.0}
DELAY_MARK_SECS = 2.0


def main() -> int:
    arguments = _arguments()
    console = Console()
    try:
        with tempfile.TemporaryDirectory() as name, real_kafka(Path(name)) as kafka:
            results = _measure(Broker(kafka.bootstrap, real=True), Path(name), arguments, console)
    except NoKafka as reason:
        console.print(f"cannot measure: {reason}")
        return 1
    _print(results, console)
    Path(arguments.output).write_text(json.dumps(results, indent=2) + "\n")
    console.print(f"written to {arguments.output}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay-secs", type=int, default=90)
    parser.add_argument("--output", default="bench-results.json")
    return parser.parse_args()


def _measure(broker: Broker, folder: Path, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    sections = {
        "topics": {"partitions": PARTITIONS, "log_append_time": False},
        "segments": {"by": SEGMENTATIONS},
        "kafka": {"chunk_records": 1000},
    }
    config = broker.config(folder / "filled", **sections)
    asyncio.run(make_topics(config))
    console.print(f"filling a topic with {arguments.records:,} events of {EVENT_BYTES} bytes ...")
    asyncio.run(fill(config, "llm.interactions", events(arguments.records, START_MS, 20_000), PARTITIONS))
    runs: dict[str, list[dict[str, float]]] = {"bare": [], "tidewatch": [], "faust": []}
    for round_ in range(arguments.rounds):
        for program in runs:
            records = arguments.records // 8 if program == "faust" else arguments.records
            state_dir = folder / f"{program}-{round_}"
            path = broker.write_config(folder / f"{program}-{round_}.toml", state_dir, **sections)
            runs[program].append(_run(program, path, records))
            console.print(f"  {program:<10} {runs[program][-1]['records_per_sec']:>10,.0f} records/s")
    medians = {
        program: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for program, found in runs.items()
    }
    speed = {program: found["records_per_sec"] for program, found in medians.items()}
    ratios = {
        "tidewatch / bare": speed["tidewatch"] / speed["bare"],
        "tidewatch / plain faust": speed["tidewatch"] / speed["faust"],
    }
    console.print("measuring the delay from window close to alert at 20,000 events/s ...")
    delay = measure_delay(broker, folder / "delay", arguments.delay_secs)
    machine = {
        "python": platform.python_version(),
        "processors": _processors(),
        "machine": platform.machine(),
    }
    return {"machine": machine, "runs": runs, "medians": medians, "ratios": ratios, "delay": delay}


def _processors() -> int:
    import os

    return len(os.sched_getaffinity(0))


def _run(program: str, config: Path, records: int) -> dict[str, float]:
    run = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.readers", program, str(config), str(records)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = run.stdout.strip().splitlines()
    if not lines:
        raise SystemExit(f"{program} printed nothing: {run.stderr[-2000:]}")
    found: dict[str, float] = json.loads(lines[-1])
    return found


def _print(results: dict[str, Any], console: Console) -> None:
    table = Table(title="AGGREGATE through real Kafka: 10 signals x 3 segmentations")
    for column in ("program", "records/s", "processor us/record", "RSS MB"):
        table.add_column(column, justify="left" if column == "program" else "right")
    for program, found in results["medians"].items():
        table.add_row(
            program,
            f"{found['records_per_sec']:,.0f}",
            f"{found['cpu_us_per_record']:.2f}",
            f"{found['rss_mb']:.0f}",
        )
    console.print(table)
    for name, ratio in results["ratios"].items():
        verdict = "met" if ratio >= MARKS[name] else "missed"
        console.print(f"{name}: {ratio:.2f} (mark {MARKS[name]:g}: {verdict})")
    delay = results["delay"]
    verdict = "met" if delay["p99_secs"] <= DELAY_MARK_SECS else "missed"
    console.print(
        f"window close to alert at {delay['events_per_sec']:,.0f} events/s, {delay['alerts']} alerts: "
        f"p50 {delay['p50_secs']:.2f} s, p99 {delay['p99_secs']:.2f} s (mark {DELAY_MARK_SECS:g} s: {verdict}); "
        f"worker RSS {delay['rss_mb']:.0f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
