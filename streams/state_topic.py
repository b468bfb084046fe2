"""Checkpoints in the compacted topic ``tidewatch.state``: for a cluster of hosts.

A save is one Kafka transaction: the sealed snapshot in pieces, then a head that names them. The producer's
``transactional.id`` is the fleet's, so that a claim (``init_transactions``) fences the owner before; its open
transaction is aborted. Readers take committed records only: a half-written snapshot is never visible.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced
from aiokafka.structs import TopicPartition

from streams.client import MAX_REQUEST_BYTES, client_settings
from streams.kafka_config import KafkaConfig
from streams.state import Checkpoint, OwnerReplaced, StateError, decode, encode
from streams.topics import STATE

PIECE_BYTES = 512 * 1024
TRANSACTION_TIMEOUT_MS = 30_000
READ_TIMEOUT_SECS = 90.0
"""Longer than a transaction of another fleet can hold the readable end back."""


class _Head(msgspec.Struct, array_like=True):
    save_id: str
    pieces: int
    size: int


class TopicStateStore:
    """See the module; ``topic`` has one partition."""

    def __init__(
        self,
        kafka: KafkaConfig,
        fleet: str,
        key: bytes,
        *,
        topic: str = STATE,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._kafka = kafka
        self._fleet = fleet
        self._key = key
        self._partition = TopicPartition(topic, 0)
        self._piece_bytes = piece_bytes
        self._producer: AIOKafkaProducer | None = None
        self._pieces_before = 0

    async def claim(self) -> None:
        producer = AIOKafkaProducer(
            **client_settings(self._kafka),
            transactional_id=f"{self._kafka.group_prefix}-{self._fleet}-state",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            max_request_size=MAX_REQUEST_BYTES,
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await producer.stop()
            raise StateError(
                f"cannot write checkpoints to {self._partition.topic}: {error!r}; the brokers must support "
                'transactions (the embedded one does not: set checkpoint.store to "sqlite")'
            ) from error
        self._producer = producer

    async def load(self) -> Checkpoint | None:
        async with asyncio.timeout(READ_TIMEOUT_SECS):
            found = await self._read()
        head_bytes = found.get(self._head_key)
        if head_bytes is None:
            return None
        try:
            head = msgspec.msgpack.decode(head_bytes, type=_Head)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateError(
                f"the head of fleet {self._fleet!r} in {self._partition.topic}: {error}"
            ) from error
        self._pieces_before = head.pieces
        prefix = head.save_id.encode()
        pieces = [found.get(self._piece_key(index), b"") for index in range(head.pieces)]
        if any(not piece.startswith(prefix) for piece in pieces):
            raise StateError(
                f"the checkpoint of fleet {self._fleet!r} in {self._partition.topic} misses a piece"
            )
        sealed = b"".join(piece[len(prefix) :] for piece in pieces)
        if len(sealed) != head.size:
            raise StateError(
                f"the checkpoint of fleet {self._fleet!r} has {len(sealed)} of {head.size} bytes"
            )
        return decode(sealed, self._fleet, self._key)

    async def save(self, checkpoint: Checkpoint) -> None:
        producer = self._producer
        if producer is None:
            raise StateError("save before claim")
        sealed = encode(checkpoint, self._fleet, self._key)
        save_id = secrets.token_hex(8)
        pieces = [sealed[i : i + self._piece_bytes] for i in range(0, len(sealed), self._piece_bytes)]
        records: list[tuple[bytes, bytes | None]] = [
            (self._piece_key(i), save_id.encode() + piece) for i, piece in enumerate(pieces)
        ]
        records += [(self._piece_key(i), None) for i in range(len(pieces), self._pieces_before)]
        records.append((self._head_key, msgspec.msgpack.encode(_Head(save_id, len(pieces), len(sealed)))))
        try:
            async with producer.transaction():
                await self._produce(producer, records)
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise OwnerReplaced(f"another process has taken fleet {self._fleet!r} over") from error
        except (KafkaError, OSError) as error:
            raise StateError(f"the checkpoint is not saved: {error!r}") from error
        self._pieces_before = len(pieces)

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _produce(self, producer: AIOKafkaProducer, records: list[tuple[bytes, bytes | None]]) -> None:
        futures = [
            await producer.send(self._partition.topic, value, key=key, partition=self._partition.partition)
            for key, value in records
        ]
        results: list[Any] = await asyncio.gather(*futures, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _read(self) -> dict[bytes, bytes]:
        """The newest committed value of each of this fleet's keys."""
        target = await self._end()
        consumer = AIOKafkaConsumer(
            **client_settings(self._kafka),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        found: dict[bytes, bytes] = {}
        prefix = self._fleet.encode() + b"/"
        try:
            consumer.assign([self._partition])
            await consumer.seek_to_beginning(self._partition)
            while await consumer.position(self._partition) < target:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        if record.key is None or not record.key.startswith(prefix):
                            continue
                        if record.value is None:
                            found.pop(record.key, None)
                        else:
                            found[record.key] = record.value
        finally:
            await consumer.stop()
        return found

    async def _end(self) -> int:
        """The end of the log, open transactions of other fleets included: what must be readable first."""
        consumer = AIOKafkaConsumer(**client_settings(self._kafka), enable_auto_commit=False)
        await consumer.start()
        try:
            ends: dict[TopicPartition, int] = await consumer.end_offsets([self._partition])
            return ends[self._partition]
        finally:
            await consumer.stop()

    @property
    def _head_key(self) -> bytes:
        return f"{self._fleet}/head".encode()

    def _piece_key(self, index: int) -> bytes:
        return f"{self._fleet}/{index:06d}".encode()
