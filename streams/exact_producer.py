"""Faust's producer with settings under which an acknowledged record exists."""

from __future__ import annotations

import aiokafka
from faust.transport.drivers import aiokafka as driver

from streams.client import producer_settings
from streams.operate.clients import producer_failure


class ExactProducer(driver.Producer):  # type: ignore[misc]
    """Faust's producer with our settings; ``app.producer.client`` is the one aiokafka producer of the process."""

    def _new_producer(self, transactional_id: str | None = None) -> aiokafka.AIOKafkaProducer:
        return aiokafka.AIOKafkaProducer(**producer_settings(self.transport.kafka), client_id=self.client_id)

    @property
    def client(self) -> aiokafka.AIOKafkaProducer:
        return self._ensure_producer()

    def failure(self) -> BaseException | None:
        """What ended the producer's background task, if it did."""
        return producer_failure(self._producer)
