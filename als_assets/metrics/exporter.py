"""Serving the metrics: what the last look found, as Prometheus reads it.

Belongs here: the collector, the HTTP server, and looking again and again.
Does not: any value (looking), or which metrics there are (catalogue).
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from als_assets.metrics.catalogue import BUCKETS_S, FAILED_LOOKS, METRICS, STAGE_SECONDS, Kind, Metric
from als_assets.metrics.counting import BUCKET, INFINITE, SUM
from resources.clock import Clock
from resources.tallies import Series

_LOG = logging.getLogger(__name__)
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


@dataclass(slots=True, eq=False)  # the registry keeps it by itself, not by its values
class LastLook(Collector):
    """What a scrape is answered with: the last look, whole; a scrape asks nobody, and takes milliseconds."""

    values: Mapping[Series, float] = field(default_factory=dict)
    failed: int = 0

    def collect(self) -> Iterator[Family]:
        """Every metric, also those of which there is no sample yet."""
        values = {**self.values, (FAILED_LOOKS.name, ()): float(self.failed)}
        for metric in METRICS:
            yield _histogram(values) if metric is STAGE_SECONDS else _plain(metric, values)


def serve(last: LastLook, *, address: str, port: int) -> tuple[int, Callable[[], None]]:
    """Answer scrapes at ``/metrics`` from now on; the port, a free one where 0 was asked for, and how to end."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(last)
    server, thread = start_http_server(port, addr=address, registry=registry)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, end


def look_again(last: LastLook, look: Callable[[], Mapping[Series, float]], clock: Clock, every_s: float) -> None:
    """Look once, and wait. A look that fails is logged and counted, and the values of before stay, with their time."""
    try:
        last.values = look()
    except Exception:
        # Each kind of storage has errors of its own; the next look asks again. What is served says how old it is.
        _LOG.exception("the look failed")
        last.failed += 1
    clock.sleep(every_s)


def _plain(metric: Metric, values: Mapping[Series, float]) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family: CounterMetricFamily | GaugeMetricFamily = kind(metric.name, metric.meaning, labels=metric.labels)
    for (name, labels), value in sorted(values.items()):
        if name == metric.name:
            known = dict(labels)
            family.add_metric([known[label] for label in metric.labels], value)
    return family


def _histogram(values: Mapping[Series, float]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(STAGE_SECONDS.name, STAGE_SECONDS.meaning, labels=STAGE_SECONDS.labels)
    for (name, labels), total in sorted(values.items()):
        if name == SUM:
            which, below = dict(labels), 0.0
            buckets: list[tuple[str, float]] = []
            for bound in (*map(str, BUCKETS_S), INFINITE):
                series = BUCKET, tuple(sorted({**which, "le": bound}.items()))
                below += values.get(series, 0.0)
                buckets.append((bound, below))
            family.add_metric([which[label] for label in STAGE_SECONDS.labels], buckets, sum_value=total)
    return family
