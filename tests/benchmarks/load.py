"""The events that are measured with, and putting them on a topic fast."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import orjson
from aiokafka import AIOKafkaProducer

from streams.client import producer_settings
from streams.config import Config

EVENT_BYTES: Final = 1200
SEGMENTATIONS: Final = [["provider", "model"], ["tenant"]]
"""With the whole fleet these are three."""
TEMPLATES: Final = 2000


def templates(seed: int = 1) -> list[bytes]:
    """Events of 1.2 KB without id and time; ten signals can be read from each.

    Request rate, errors, latency, time to first token, tokens in, tokens out, cost, refusals, valid schemas and
    cache hits.
    """
    rng = random.Random(seed)
    made = []
    for _ in range(TEMPLATES):
        body = {
            "tenant": f"tenant-{min(int(rng.paretovariate(0.9)), 40):02d}",
            "service": "assistant",
            "environment": "production",
            "provider": "acme-ai",
            "model_requested": f"acme-chat-{rng.randrange(3)}",
            "trace_id": f"{rng.getrandbits(128):032x}",
            "conversation_id": f"{rng.getrandbits(64):016x}",
            "duration_ms": round(rng.lognormvariate(6.5, 0.5), 1),
            "ttft_ms": round(rng.lognormvariate(5.0, 0.5), 1),
            "tokens_in": int(rng.lognormvariate(6.5, 1.0)),
            "tokens_out": int(rng.lognormvariate(5.0, 0.9)),
            "cost": round(rng.lognormvariate(-6.5, 0.8), 6),
            "status": "error" if rng.random() < 0.005 else "ok",
            "refusal": rng.random() < 0.02,
            "schema_valid": rng.random() < 0.99,
            "cache_hit": rng.random() < 0.4,
        }
        fill = EVENT_BYTES - len(orjson.dumps(body)) - 80
        made.append(orjson.dumps(body | {"input": "x" * fill})[1:])
    return made


def events(count: int, start_ms: int, per_second: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of ``count`` events, evenly spread in time."""
    bodies = templates()
    for number in range(count):
        key = b"e%012d" % number
        head = b'{"event_id":"%b","occurred_at":%d,' % (key, start_ms + number * 1000 // per_second)
        yield key, head + bodies[number % TEMPLATES]


async def fill(config: Config, topic: str, items: Iterator[tuple[bytes, bytes]], partitions: int) -> None:
    """Put them on the topic round the partitions, as fast as it goes."""
    producer = AIOKafkaProducer(**producer_settings(config.kafka), linger_ms=20)
    await producer.start()
    try:
        last = None
        for number, (key, value) in enumerate(items):
            last = await producer.send(topic, value, key=key, partition=number % partitions)
        await producer.flush()
        if last is not None:
            await last
    finally:
        await producer.stop()
