"""Collectors for the library prometheus_client (`pip install titanstore[metrics]`)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from titanstore.errors import StoreError
from titanstore.events import store_name
from titanstore.exporter.families import FAMILIES, STORE_LABEL, Family, Type
from titanstore.exporter.samples import Samples, put_tiers
from titanstore.exporter.totals import Totals
from titanstore.exporter.watcher import Watcher
from titanstore.figures.folder import pid_namespace, published
from titanstore.folder import open_folder
from titanstore.store import EmbeddingStore


class WatcherCollector(Collector):
    """Everything that a `Watcher` knows: one store, all its processes."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering looks at nothing."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The families of now."""
        samples, _ = self._watcher.look()
        return families_of(samples, self._watcher.label)


class StoreCollector(Collector):
    """A store that this process has open: `REGISTRY.register(StoreCollector(store, path))`.

    Counters and latencies are this process's own since it opened the store, as those of every
    other library in its `/metrics`; other processes export theirs. Not for prometheus_client's
    multiprocess mode, which has no collectors: `titanstore serve-metrics` adds processes up.

    Parameters
    ----------
    store
        Whoever made it closes it; from then on only `titanstore_up 0` is exported.
    path
        Its folder.

    Raises
    ------
    StoreError
        As `EmbeddingStore.open`, of the folder.
    """

    def __init__(self, store: EmbeddingStore, path: str | os.PathLike[str]) -> None:
        folder, _ = open_folder(Path(path), read_only=True, create=False)
        self._store = store
        self._store_id = folder.store_id

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering looks at nothing."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The families of now; never raises for a store that is closed or cannot be read."""
        samples = Samples()
        try:
            stats = self._store.stats()
            versions = len(self._store.versions())
        except StoreError:
            samples.put("up", 0)
            return families_of(samples, store_name(self._store_id))
        samples.put("up", 1)
        samples.put_stats(stats)
        samples.put("versions", versions)
        samples.put_counters(stats.counters)
        own = {
            name: figures
            for name, figures in published(self._store_id)[0].items()
            if (figures.pid, figures.namespace) == (os.getpid(), pid_namespace())
        }
        totals = Totals()
        totals.take({})  # so that what comes now counts from its beginning
        totals.take(own)
        samples.put_latencies(totals.latencies())
        put_tiers(samples, own.values())
        return families_of(samples, store_name(self._store_id))


def families_of(samples: Samples, store: str) -> list[Metric]:
    """Samples as families of prometheus_client; those without a value are left out."""
    found: list[Metric] = []
    for family in FAMILIES.values():
        if family.type is Type.HISTOGRAM:
            found += _histogram(family, samples, store)
        elif family.name in samples.numbers:
            make = CounterMetricFamily if family.type is Type.COUNTER else GaugeMetricFamily
            metric = make(family.name, family.meaning, labels=[STORE_LABEL, *family.labels])
            for labels, value in samples.numbers[family.name].items():
                metric.add_metric([store, *labels], value)
            found.append(metric)
    return found


def _histogram(family: Family, samples: Samples, store: str) -> list[Metric]:
    if not samples.histograms:
        return []
    metric = HistogramMetricFamily(
        family.name, family.meaning, labels=[STORE_LABEL, *family.labels]
    )
    for labels, found in samples.histograms.items():
        buckets = [
            ("+Inf" if math.isinf(bound) else repr(bound), float(count))
            for bound, count in found.below
        ]
        metric.add_metric([store, *labels], buckets, found.sum_s)
    return [metric]
