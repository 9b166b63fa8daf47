"""How many reads does the hot tier serve, and how near is that to what anyone could do?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from fixtures.documents import document_rows
from harness.benchmarks import note_limit
from harness.simulate import capacity_rows, document_bound, lru_chunk
from harness.workload.editing import EditingSession, editing_session
from harness.workload.trace import Operation
from suites.bench.checked import same_bits
from titanstore import EmbeddingStore, StoreConfig
from titanstore.config import PolicyName

READS = {"smoke": 1_000, "full": 20_000}
DOCUMENTS = {"smoke": 20, "full": 100}
HOT_BYTES = 2_000_000  # the gate's capacity: SPEC section 2


@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_bench_hit_ratio(
    benchmark: Any, told: dict[str, Any], size: str, tmp_path: Path, policy: PolicyName
) -> None:
    """An editing session replayed; each read waits for the prefetch before it, so counts are exact.

    What is timed is the whole replay. The gate `hit_ratio.hot` replays at a caller's pace.
    """
    session = EditingSession(documents=DOCUMENTS[size], reads=READS[size])
    trace = editing_session(20_261_125, session)
    chunks = trace.chunks_per_document
    rows = document_rows(3, trace.documents, chunks, session.dimension)
    config = StoreConfig(
        hot_bytes_max=HOT_BYTES,
        memory_bytes_max=HOT_BYTES,
        policy=policy,
        durability="power_cut_may_lose_store",
    )

    def row(key: int) -> Any:
        return rows[key % len(rows)]

    keys = np.arange(trace.documents * chunks).reshape(-1, chunks)

    def save(store: EmbeddingStore, document: int) -> None:
        content = [(f"{key:032x}", row(key)) for key in keys[document].tolist()]
        store.update_document(f"document {document}", content)

    with EmbeddingStore.open(tmp_path / "store", config) as store:
        for document in range(trace.documents):
            save(store, document)
    with EmbeddingStore.open(tmp_path / "store", config) as store:  # tiers empty, as a trace begins
        hits: list[float] = []
        wrong: list[int] = []

        def replay() -> None:
            changed = -1
            last = 0
            seen = store.stats().counters["hot_hits"]
            for access in trace:
                if access.visit != last and changed >= 0:
                    save(store, changed)
                    changed = -1
                last = access.visit
                if access.operation == Operation.WRITE:
                    keys[access.document, access.chunk] = access.key
                    changed = access.document
                    continue
                vector = store.get(f"{keys[access.document, access.chunk]:032x}")
                store.wait_for_prefetch()
                if not same_bits(vector, row(access.key)):
                    wrong.append(access.key)
                now = store.stats().counters["hot_hits"]
                hits.append(float(now - seen))
                seen = now

        benchmark.pedantic(replay, rounds=1, iterations=1)
    assert not wrong
    assert len(hits) == trace.reads
    capacity = capacity_rows(trace, HOT_BYTES)
    told |= {
        "reads": trace.reads,
        "hit_ratio": sum(hits) / len(hits),
        "lru_per_chunk": lru_chunk(trace, capacity).ratio,
        "best_possible": document_bound(trace, capacity).ratio,
    }
    assert told["hit_ratio"] <= told["best_possible"] + 1e-9
    if policy == StoreConfig().policy:
        note_limit(told, target="hit_ratio.hot.editing", what="hits", values=hits)
