"""The exposition in Prometheus' text format, from the last sample and the table of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from streams.operate.table import METRICS
from streams.operate.vitals import DELAY_BUCKETS_SECS, Delays

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Value(NamedTuple):
    """One number of one metric."""

    metric: str
    labels: tuple[str, ...]
    value: float


class Sample(NamedTuple):
    """All numbers of a worker at one moment."""

    values: tuple[Value, ...] = ()
    alert_delays: tuple[tuple[int, ...], float] | None = None
    """Counts by bucket and the sum."""


def sample_of(values: Iterable[Value], delays: Delays | None) -> Sample:
    """A sample that does not change any more."""
    frozen = None if delays is None else (tuple(delays.counts), delays.sum_secs)
    return Sample(tuple(values), frozen)


class Exposition:
    """Renders samples; a registry of its own, with memory, descriptors and CPU of the process."""

    def __init__(self, sample: Callable[[], Sample]) -> None:
        self._sample = sample
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def text(self) -> bytes:
        """What ``/metrics`` answers."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Family]:
        """For the registry."""
        sample = self._sample()
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for name, labels, value in sample.values:
            metric = METRICS[name]
            if name not in families:
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                families[name] = kind(name, metric.help, labels=metric.labels)
            families[name].add_metric(labels, value)
        yield from families.values()
        if sample.alert_delays is not None:
            yield _histogram("tidewatch_alert_delay_seconds", *sample.alert_delays)


def _histogram(name: str, counts: tuple[int, ...], sum_secs: float) -> HistogramMetricFamily:
    buckets, total = [], 0
    for bound, count in zip([*map(str, DELAY_BUCKETS_SECS), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    family = HistogramMetricFamily(name, METRICS[name].help)
    family.add_metric((), buckets, sum_secs)
    return family


def reference() -> Iterator[str]:
    """The table of docs/operations.md."""
    yield "| metric | type | unit | labels | worker | meaning |"
    yield "|---|---|---|---|---|---|"
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.role} | {metric.help} |"
