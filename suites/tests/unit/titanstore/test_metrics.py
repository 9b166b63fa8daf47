"""Counters count what happened, once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from titanstore import EmbeddingStore, NotFoundError, StoreConfig
from titanstore.metrics import Counters


def test_a_snapshot_is_a_copy_of_all_counters() -> None:
    counters = Counters()
    before = counters.snapshot()
    assert before.keys() == set(Counters.__slots__)
    assert set(before.values()) == {0}
    counters.hot_hits += 2
    assert before["hot_hits"] == 0
    assert counters.snapshot()["hot_hits"] == 2


def test_each_call_counts_once(tmp_path: Path) -> None:
    config = StoreConfig(durability="power_cut_may_lose_store", prefetch=False, bloom=True)
    row = np.ones(64, np.float32)
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put_many(["a", "b", "c"], [row, row, row], "doc")
        store.put("a", row)
        store.put("a", -row)
        store.delete(["b", "absent"])
        store.update_document("doc", [("a", -row), ("d", row)])
        store.get("a")
        store._cascade.clear()
        store.get("a")
        store.get_many(["a", "d"])
        for ask in (store.get, lambda key: store.get_many([key])):
            with suppress(NotFoundError):
                ask("absent")
        counters = store.stats().counters
    wanted = {
        "written": 5,
        "unchanged": 2,
        "replaced": 1,
        "deleted": 2,
        "hot_hits": 2,
        "cold_hits": 2,
        "warm_hits": 0,
        "absent": 2,
        "prefetches": 0,
    }
    assert {name: counters[name] for name in wanted} == wanted
