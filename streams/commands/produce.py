"""`tidewatch produce`: files of events onto the input topics."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import click
import orjson
from aiokafka.errors import KafkaError
from pydantic import ValidationError

from streams.client import BrokerUnreachable
from streams.commands.common import BAD_USAGE, config_option, fail, load_or_exit, progress_bar
from streams.files import FileRecord, UnreadableFile, read_events, total_bytes
from streams.kafka_config import KafkaConfig
from streams.producing import Pace, Produced, Sendable, produce, simulated
from streams.simulate import SCENARIOS, TrafficSpec
from streams.supervisor import with_running_stack

DEFAULT_SIMULATED_RATE: Final = 50.0


@click.command("produce")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--simulate",
    "simulate_secs",
    type=click.FloatRange(min=1),
    metavar="SECS",
    help="Instead of files: synthetic traffic, live, for so many seconds; --rate is its mean rate [default: 50].",
)
@click.option(
    "--scenario",
    type=click.Choice(sorted(SCENARIOS)),
    help="With --simulate: an incident that begins after half of the time.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, help="With --simulate: other traffic of the same kind."
)
@click.option(
    "--bootstrap",
    help="Brokers as host:port [default: those of a running `tidewatch up`, else the configuration's].",
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Records a second.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    help="Times the events' own speed: 1 is as they happened, 60 plays an hour in a minute.",
)
@click.option(
    "--no-idempotence", is_flag=True, help="For brokers without idempotent producers (the embedded one)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
@config_option
def command(
    files: tuple[Path, ...],
    simulate_secs: float | None,
    scenario: str | None,
    seed: int,
    bootstrap: str | None,
    rate: float | None,
    speed: float | None,
    no_idempotence: bool,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Send the events of FILES (JSON lines or Parquet, plain, .gz or .zst; - is standard input) to Kafka.

    Each record goes to the topic of its kind: llm.interactions, llm.feedback or llm.changes. Without --rate or
    --speed they go as fast as the brokers take them.

    \b
    Examples:
      tidewatch produce events.jsonl.zst
      tidewatch produce events.jsonl --rate 500
      tidewatch produce incident.jsonl --speed 60 --bootstrap 127.0.0.1:9092
      tidewatch produce --simulate 600 --rate 200 --scenario silent-model-change
    """
    if rate is not None and speed is not None:
        fail("--rate and --speed exclude each other: give one of them", BAD_USAGE)
    if bool(files) == (simulate_secs is not None):
        fail("expected either FILES or --simulate SECS; see `tidewatch produce --help`", BAD_USAGE)
    if simulate_secs is not None and speed is not None:
        fail("simulated traffic happens now, at its own speed: leave out --speed", BAD_USAGE)
    if scenario is not None and simulate_secs is None:
        fail("--scenario belongs to --simulate", BAD_USAGE)
    config = load_or_exit(config_path)
    if bootstrap is None:
        config = with_running_stack(config)
    kafka = _kafka(config.kafka, bootstrap, no_idempotence)
    try:
        if simulate_secs is not None:
            traffic = _traffic(simulate_secs, rate or DEFAULT_SIMULATED_RATE, scenario, seed)
            done = _send_simulated(traffic, kafka, quiet=as_json)
        else:
            done = _send(files, kafka, Pace(rate, speed), quiet=as_json)
    except (UnreadableFile, BrokerUnreachable) as error:
        fail(str(error))
    except (KafkaError, OSError) as error:
        fail(
            f"sending to {kafka.bootstrap} failed ({type(error).__name__}: {error}); records before this one may "
            "have arrived. Check the brokers with `tidewatch check --connect`, then send again"
        )
    if as_json:
        click.echo(orjson.dumps(done._asdict() | {"rate_per_sec": done.rate_per_sec}))
        return
    topics = ", ".join(f"{count:,} to {topic}" for topic, count in sorted(done.by_topic.items())) or "nothing"
    click.echo(
        f"sent {done.sent:,} records in {done.elapsed_secs:.1f} s ({done.rate_per_sec:,.0f}/s): {topics}"
    )


def _kafka(kafka: KafkaConfig, bootstrap: str | None, no_idempotence: bool) -> KafkaConfig:
    changed: dict[str, object] = {} if bootstrap is None else {"bootstrap": bootstrap}
    if no_idempotence:
        changed["enable_idempotence"] = False
    try:
        return KafkaConfig.model_validate(kafka.model_dump() | changed)
    except ValidationError as error:
        fail(f"--bootstrap {bootstrap}: {error.errors()[0]['msg']}", BAD_USAGE)


def _send(files: tuple[Path, ...], kafka: KafkaConfig, pace: Pace, quiet: bool) -> Produced:
    with progress_bar(quiet) as progress:
        task = progress.add_task("sending", total=total_bytes(files))
        shown = 0

        def advance(record: Sendable) -> None:
            nonlocal shown
            # Positions move a block at a time; drawing is not free.
            if isinstance(record, FileRecord) and record.position_bytes != shown:
                shown = record.position_bytes
                progress.update(task, completed=shown)

        return asyncio.run(produce(read_events(files), kafka, pace=pace, on_sent=advance))


def _traffic(duration_secs: float, rate_per_sec: float, scenario: str | None, seed: int) -> TrafficSpec:
    start_ms = int(time.time() * 1_000)
    half_secs = duration_secs / 2
    incident = SCENARIOS[scenario](start_ms + round(half_secs * 1_000), half_secs) if scenario else None
    return TrafficSpec(
        start_ms,
        duration_secs,
        rate_per_sec,
        seed=seed,
        effects=incident.effects if incident else (),
        # A short run should have the rate that was asked for, whatever the hour and the day.
        peak_trough=1.0,
        weekend=1.0,
    )


def _send_simulated(traffic: TrafficSpec, kafka: KafkaConfig, quiet: bool) -> Produced:
    with progress_bar(quiet) as progress:
        task = progress.add_task("sending", total=traffic.duration_secs * traffic.rate_per_sec)
        records = simulated(traffic)
        return asyncio.run(
            produce(records, kafka, pace=Pace(speed=1.0), on_sent=lambda _: progress.advance(task))
        )
