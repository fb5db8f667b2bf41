"""A histogram that takes many values at a time, at a tenth of the CPU that prometheus_client's own takes for each."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import repeat
from math import inf

from prometheus_client import REGISTRY
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Distribution(Collector):
    """A histogram without labels, with buckets up to each of `bounds`; values are added in one thread."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = sorted(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        """Of all values."""
        REGISTRY.register(self)

    def observe(self, values: Sequence[float]) -> None:
        """Add values."""
        for bucket, count in Counter(map(bisect_left, repeat(self._bounds), values)).items():
            self._counts[bucket] += count
        self.sum += sum(values)

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._documentation)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The histogram, with the sum of the buckets up to each bound."""
        buckets, total = [], 0
        for bound, count in zip([*self._bounds, inf], self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound == inf else f"{float(bound)}", float(total)))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self.sum)
