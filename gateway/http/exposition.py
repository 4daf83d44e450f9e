"""Measures in the formats of Prometheus; all of it runs in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from gateway.measures import COUNTER, GAUGE, HISTOGRAM, PREFIX, Buckets, Measure, Sample


def encode(accept: str, samples: Sequence[Sample]) -> tuple[bytes, str]:
    """
    Args:
        accept: the header of that name.

    Returns:
        The exposition, and what to call it: OpenMetrics for those that take
        it, else the text format 0.0.4.
    """
    encoder: Callable[[Any], bytes]
    encoder, kind = choose_encoder(accept)
    return encoder(_Collected(samples)), kind


class _Collected:
    """What an encoder takes for a registry."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        by_measure: dict[Measure, list[Sample]] = {}
        for sample in self._samples:
            by_measure.setdefault(sample.measure, []).append(sample)
        for measure, samples in by_measure.items():
            yield _family(measure, samples)


def _family(measure: Measure, samples: Iterable[Sample]) -> Metric:
    name, labels = f"{PREFIX}{measure.name}", measure.labels
    if measure.kind == HISTOGRAM:
        histogram = HistogramMetricFamily(name, measure.help, labels=labels)
        for sample in samples:
            assert isinstance(sample.value, Buckets), measure.name
            histogram.add_metric(sample.labels, _cumulative(sample.value), sample.value.sum)
        return histogram
    if measure.kind in (COUNTER, GAUGE):
        made = CounterMetricFamily if measure.kind == COUNTER else GaugeMetricFamily
        plain: Any = made(name, measure.help, labels=labels)
        for sample in samples:
            plain.add_metric(sample.labels, sample.value)
        return plain  # type: ignore[no-any-return]
    info = InfoMetricFamily(name, measure.help)
    for sample in samples:
        info.add_metric((), dict(zip(labels, sample.labels, strict=True)))
    return info


def _cumulative(value: Buckets) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip((*value.bounds, float("inf")), value.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), total))
    return buckets
