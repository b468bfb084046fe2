"""A proxy that understands enough of Kafka's protocol to stand before a broker and to refuse produces.

Brokers tell their clients where to connect; the proxy puts its own port there, so that the brokers need not know
of it, and each worker can have a proxy of its own.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Collection
from typing import Any, NamedTuple

from aiokafka.protocol import produce

from tests.recovery.rig.proxy import Connection, Proxy, Stream

_PRODUCE, _METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER = 0, 3, 10, 60
_TELLS_ADDRESSES = (_METADATA, _FIND_COORDINATOR, _DESCRIBE_CLUSTER)
_REQUESTS = {
    cls.API_VERSION: cls for name, cls in vars(produce).items() if name.startswith("ProduceRequest_v")
}


class _Refusal(NamedTuple):
    code: int
    topics: Collection[str]
    share: float
    appended: bool


class _Pending(NamedTuple):
    """A request whose answer is awaited."""

    api_key: int
    answer: bytes | None
    """What the client gets instead of the broker's answer."""
    asked: bool
    """Whether the broker has it and will answer."""


class KafkaProxy(Proxy):
    """Before one broker at ``target``; give clients ``address`` as their bootstrap."""

    def __init__(self, target: int, *, seed: int = 0) -> None:
        super().__init__(target)
        self.refusal: _Refusal | None = None
        self.rng = random.Random(seed)

    def refuse_produces(
        self, code: int, topics: Collection[str], *, share: float = 1.0, appended: bool = False
    ) -> None:
        """Answer produce requests for ``topics`` with Kafka's error ``code``, a ``share`` of them at random.

        The broker does not get them; if ``appended`` it does, and only its answer is replaced.
        """
        self._set(refusal=_Refusal(code, topics, share, appended))

    def _restore(self) -> None:
        self.refusal = None
        super()._restore()

    def new_connection(self, near: Stream, far: Stream) -> Connection:
        return _KafkaConnection(self, near, far)


class _KafkaConnection(Connection):
    proxy: KafkaProxy

    def __init__(self, proxy: KafkaProxy, near: Stream, far: Stream) -> None:
        super().__init__(proxy, near, far)
        self._request_bytes = b""
        self._answer_bytes = b""
        self._pending: deque[_Pending] = deque()
        port = struct.Struct(">i")
        self._theirs = b"127.0.0.1" + port.pack(proxy.target)
        self._ours = b"127.0.0.1" + port.pack(proxy.port)

    def requests(self, data: bytes) -> bytes:
        frames, self._request_bytes = _frames(self._request_bytes + data)
        return b"".join(frame for frame in frames if self._request(frame))

    def answers(self, data: bytes) -> bytes:
        frames, self._answer_bytes = _frames(self._answer_bytes + data)
        return b"".join(self._answer(frame) for frame in frames)

    def _request(self, frame: bytes) -> bool:
        """Note the request; whether the broker gets it."""
        api_key, version = struct.unpack_from(">hh", frame, 4)
        refusal = self.proxy.refusal
        answer, asked = None, True
        if api_key == _PRODUCE:
            request = _read_produce(frame, version)
            if request.required_acks == 0:
                return True
            if refusal is not None and self.proxy.rng.random() < refusal.share:
                answer = _refused(frame, version, request, refusal)
                asked = answer is None or refusal.appended
                self.proxy.hits += answer is not None
        self._pending.append(_Pending(api_key, answer, asked))
        if not asked:
            self._flush()
        return asked

    def _answer(self, frame: bytes) -> bytes:
        pending = self._pending.popleft()
        if pending.answer is not None:
            frame = pending.answer
        elif pending.api_key in _TELLS_ADDRESSES:
            frame = frame.replace(self._theirs, self._ours)
        return frame + self._made_up()

    def _flush(self) -> None:
        if made_up := self._made_up():
            self.to_near.put_nowait(self.due(made_up))

    def _made_up(self) -> bytes:
        """Answers that the broker has no part in, if it is their turn: clients expect the order of requests."""
        found = b""
        while self._pending and not self._pending[0].asked:
            found += self._pending.popleft().answer or b""
        return found


def _frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Whole messages with their length in front, and the rest."""
    found = []
    at = 0
    while len(data) - at >= 4:
        size = 4 + int.from_bytes(data[at : at + 4])
        if len(data) - at < size:
            break
        found.append(data[at : at + size])
        at += size
    return found, data[at:]


def _read_produce(frame: bytes, version: int) -> Any:
    # Request header 1: key, version, correlation id, client id.
    client_id = struct.unpack_from(">h", frame, 12)[0]
    return _REQUESTS[version].decode(frame[14 + max(0, client_id) :])


def _refused(frame: bytes, version: int, request: Any, refusal: _Refusal) -> bytes | None:
    """The answer to a produce request that touches one of the topics; None if it does not."""
    if not any(topic in refusal.topics for topic, _ in request.topics):
        return None
    response: Any = _REQUESTS[version].RESPONSE_TYPE
    schema = response.SCHEMA
    partition_fields = schema.fields[schema.names.index("topics")].array_of.fields[1].array_of.names
    values = {"error_code": refusal.code, "offset": -1, "timestamp": -1, "log_start_offset": -1}
    topics = [
        (
            topic,
            [
                tuple((values | {"partition": number})[name] for name in partition_fields)
                for number, _ in parts
            ],
        )
        for topic, parts in request.topics
    ]
    body = response(**({"topics": topics} | ({"throttle_time_ms": 0} if version else {}))).encode()
    answer = frame[8:12] + body
    return len(answer).to_bytes(4) + answer
