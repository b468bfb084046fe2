"""Checkpoints in the compacted topic ``tidewatch.state``: for a cluster of hosts.

A save is one Kafka transaction: the sealed snapshot in pieces, then a head that names them. The producer's
``transactional.id`` is the fleet's, so that a claim (``init_transactions``) fences the owner before; its open
transaction is aborted. Readers take committed records only: a half-written snapshot is never visible. Two snapshots
are kept under keys of their own, ``FLEET/…`` and ``FLEET/b/…``; of two heads the later in the log is the newer.
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
from streams.faultpoints import faultpoint
from streams.kafka_config import KafkaConfig
from streams.state import (
    SLOTS,
    Checkpoint,
    Loaded,
    OwnerReplaced,
    StateError,
    StateTampered,
    decode,
    encode,
)
from streams.topics import STATE

PIECE_BYTES = 512 * 1024
TRANSACTION_TIMEOUT_MS = 20_000
READ_TIMEOUT_SECS = 45.0
"""Longer than a transaction of another fleet can hold the readable end back: its time-out, and the ten seconds
between the broker's looks for timed-out transactions."""
_SLOT_NAMES = ("", "b/")


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
        self.steps = 0
        self._slot = SLOTS[0]
        """Where the next save goes."""
        self._pieces_in = [0 for _ in SLOTS]
        """How many pieces each slot has on the topic."""

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

    async def load(self) -> Loaded:
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECS):
                found = await self._read()
        except TimeoutError:
            raise StateError(
                f"{self._partition.topic} cannot be read to its end within {READ_TIMEOUT_SECS:.0f} s"
            ) from None
        self._pieces_in = [
            sum(key.removeprefix(self._prefix(slot)).isdigit() for key in found) for slot in SLOTS
        ]
        heads = [slot for slot in SLOTS if self._head_key(slot) in found]
        refused = []
        for slot in sorted(heads, key=lambda slot: found[self._head_key(slot)][0], reverse=True):
            try:
                checkpoint = decode(self._join(slot, found), self._fleet, self._key)
            except StateTampered as error:
                refused.append(str(error))
                continue
            self._slot = next(other for other in SLOTS if other != slot)
            return Loaded(checkpoint, tuple(refused))
        return Loaded(None, tuple(refused))

    def _join(self, slot: int, found: dict[bytes, tuple[int, bytes]]) -> bytes:
        """The sealed snapshot of a slot. Raises StateTampered."""
        where = f"the checkpoint of fleet {self._fleet!r} in {self._partition.topic}"
        try:
            head = msgspec.msgpack.decode(found[self._head_key(slot)][1], type=_Head)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StateTampered(f"{where} has a damaged head: {error}") from None
        if not 0 < head.pieces <= self._pieces_in[slot]:
            raise StateTampered(f"{where} has {self._pieces_in[slot]} of {head.pieces} pieces")
        prefix = head.save_id.encode()
        pieces = [found.get(self._piece_key(slot, index), (0, b""))[1] for index in range(head.pieces)]
        if any(not piece.startswith(prefix) for piece in pieces):
            raise StateTampered(f"{where} misses a piece, or has one of another save")
        sealed = b"".join(piece[len(prefix) :] for piece in pieces)
        if len(sealed) != head.size:
            raise StateTampered(f"{where} has {len(sealed)} of {head.size} bytes")
        return sealed

    async def save(self, checkpoint: Checkpoint) -> None:
        producer = self._producer
        if producer is None:
            raise StateError("save before claim")
        sealed = encode(checkpoint, self._fleet, self._key)
        save_id = secrets.token_hex(8)
        pieces = [sealed[i : i + self._piece_bytes] for i in range(0, len(sealed), self._piece_bytes)]
        slot = self._slot
        records: list[tuple[bytes, bytes | None]] = [
            (self._piece_key(slot, i), save_id.encode() + piece) for i, piece in enumerate(pieces)
        ]
        records += [(self._piece_key(slot, i), None) for i in range(len(pieces), self._pieces_in[slot])]
        records.append(
            (self._head_key(slot), msgspec.msgpack.encode(_Head(save_id, len(pieces), len(sealed))))
        )
        try:
            async with producer.transaction():
                await self._produce(producer, records)
                faultpoint("topic.in-transaction")
            faultpoint("topic.committed")
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise OwnerReplaced(f"another process has taken fleet {self._fleet!r} over") from error
        except (KafkaError, OSError) as error:
            raise StateError(f"the checkpoint is not saved: {error!r}") from error
        self._pieces_in[slot] = len(pieces)
        self._slot = next(other for other in SLOTS if other != slot)

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

    async def _read(self) -> dict[bytes, tuple[int, bytes]]:
        """Offset and newest committed value of each of this fleet's keys."""
        target = await self._end()
        consumer = AIOKafkaConsumer(
            **client_settings(self._kafka),
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        found: dict[bytes, tuple[int, bytes]] = {}
        prefix = self._fleet.encode() + b"/"
        try:
            consumer.assign([self._partition])
            await consumer.seek_to_beginning(self._partition)
            while await consumer.position(self._partition) < target:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    self.steps += len(records)
                    for record in records:
                        if record.key is None or not record.key.startswith(prefix):
                            continue
                        if record.value is None:
                            found.pop(record.key, None)
                        else:
                            found[record.key] = record.offset, record.value
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

    def _prefix(self, slot: int) -> bytes:
        return f"{self._fleet}/{_SLOT_NAMES[slot]}".encode()

    def _head_key(self, slot: int) -> bytes:
        return self._prefix(slot) + b"head"

    def _piece_key(self, slot: int, index: int) -> bytes:
        return self._prefix(slot) + b"%06d" % index
