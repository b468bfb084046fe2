"""The three programs that are compared, each in a process of its own; prints one JSON line.

``python -m tests.benchmarks.readers bare|faust|tidewatch CONFIG RECORDS``
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from streams.client import client_settings
from streams.config import Config, load_config
from streams.events import Interaction
from streams.topics import INTERACTIONS, TOPICS, partitions_of

WARM_UP_SHARE: Final = 0.1
"""The first tenth is not measured: joining, fetching metadata, growing caches."""


class Meter:
    """Wall and processor time from the end of the warm-up to the last record."""

    def __init__(self, records: int) -> None:
        self.records = records
        self.first = int(records * WARM_UP_SHARE)
        self.start: tuple[int, float, float] | None = None
        self.seen = 0

    def count(self, records: int) -> bool:
        """Whether all records have been seen."""
        self.seen = records
        if self.start is None and records >= self.first:
            self.start = (records, time.perf_counter(), time.process_time())
        return records >= self.records

    def report(self) -> None:
        assert self.start is not None
        records = self.seen - self.start[0]
        wall_secs, cpu_secs = time.perf_counter() - self.start[1], time.process_time() - self.start[2]
        report = {
            "records_per_sec": records / wall_secs,
            "cpu_us_per_record": cpu_secs / records * 1e6,
            "rss_mb": _rss_mb(),
        }
        print(orjson.dumps(report).decode(), flush=True)


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def bare(config: Config, records: int) -> None:
    """aiokafka and msgspec: fetch and decode, nothing else."""
    consumer = AIOKafkaConsumer(**client_settings(config.kafka), auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign(
        [TopicPartition(INTERACTIONS, p) for p in range(partitions_of(TOPICS[INTERACTIONS], config))]
    )
    decode = msgspec.json.Decoder(Interaction).decode
    meter, seen = Meter(records), 0
    try:
        done = False
        while not done:
            for chunk in (await consumer.getmany(timeout_ms=200, max_records=1000)).values():
                for record in chunk:
                    decode(record.value)
                seen += len(chunk)
            done = meter.count(seen)
        meter.report()
    finally:
        await consumer.stop()


async def plain_faust(config: Config, records: int) -> None:
    """A Faust agent as its documentation shows it, doing the same job: ten signals, three segmentations, 10 s."""
    import faust

    data = tempfile.mkdtemp()
    app = faust.App(
        f"plain-{os.getpid()}",
        datadir=data,
        broker=f"kafka://{config.kafka.bootstrap}",
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
    )
    decode = msgspec.json.Decoder(Interaction).decode
    windows: dict[tuple[int, str, str], dict[str, Any]] = {}
    meter, seen = Meter(records), 0
    done = asyncio.Event()

    async def observe(stream: Any) -> None:
        nonlocal seen
        async for value in stream:
            event = decode(value)
            window = int(event.occurred_at) // 10_000
            for name, segment in (
                ("all", ""),
                ("model", f"{event.provider}/{event.model_requested}"),
                ("tenant", event.tenant or ""),
            ):
                _observe(windows.setdefault((window, name, segment), {}), event)
            seen += 1
            if meter.count(seen):
                done.set()

    app.agent(app.topic(INTERACTIONS, value_serializer="raw"))(observe)
    await app.start()
    await done.wait()
    meter.report()
    shutil.rmtree(data, ignore_errors=True)
    os._exit(0)


def _observe(window: dict[str, Any], event: Interaction) -> None:
    window["events"] = window.get("events", 0) + 1
    for name, held in (
        ("error", event.status == "error"),
        ("refusal", event.refusal),
        ("schema_valid", event.schema_valid),
        ("cache_hit", event.cache_hit),
    ):
        window[name] = window.get(name, 0) + bool(held)
    for name, value in (
        ("tokens_in", event.tokens_in),
        ("tokens_out", event.tokens_out),
        ("cost", event.cost),
    ):
        window[name] = window.get(name, 0) + (value or 0)
    for name, value in (("duration_ms", event.duration_ms), ("ttft_ms", event.ttft_ms)):
        histogram = window.setdefault(name, {})
        bucket = int(value or 0).bit_length()
        histogram[bucket] = histogram.get(bucket, 0) + 1


async def tidewatch(config: Config, records: int) -> None:
    """The detect worker: AGGREGATE, and DECIDE on what it makes."""
    from streams.agents import DetectWorker
    from streams.worker import spare_the_collector

    spare_the_collector()
    worker = DetectWorker(config)
    meter = Meter(records)

    async def watch() -> None:
        while not meter.count(worker.status().get("records", 0)):  # noqa: ASYNC110 - a meter samples
            await asyncio.sleep(0.02)
        meter.report()
        worker.request_stop()

    watching = asyncio.create_task(watch())
    await worker.run()
    await watching
    os._exit(0)


PROGRAMS = {"bare": bare, "faust": plain_faust, "tidewatch": tidewatch}

if __name__ == "__main__":
    asyncio.run(PROGRAMS[sys.argv[1]](load_config(Path(sys.argv[2])), int(sys.argv[3])))
