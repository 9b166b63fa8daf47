"""How much of the raw bytes does each way of serving vectors save, and what do others save?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures import vectors as synthetic
from fixtures.titan.recorded import load_recorded, usual_folder
from harness.benchmarks import note_limit
from harness.general_codecs import measure_codecs
from suites.bench.checked import same_bits
from titanstore import EmbeddingStore, StoreConfig

COUNT = {"smoke": 30, "full": 60}
COMPARED = 20  # vectors that the rivals compress, a slow one at some milliseconds each
# kind -> recorded set, dimension, stand-in, row of targets.toml that decides on recorded vectors
KINDS: dict[str, tuple[str, int, synthetic.Generator, str | None]] = {
    "v1": ("v1_chunks", 1536, synthetic.bfloat16, "compression.saving.v1"),
    "v2-2024": (
        "v2_scaled_bf16",
        1024,
        synthetic.bfloat16_divided,
        "compression.saving.v2_2024",
    ),
    "v2": ("v2_token_mean", 1024, synthetic.token_mean, None),  # no lossless codec can save half
}


def _vectors(kind: str, count: int) -> tuple[Any, str]:
    name, dimension, imitate, _ = KINDS[kind]
    folder = usual_folder()
    if folder is not None:
        for found in load_recorded(folder):
            if found.name == name:
                return np.ascontiguousarray(found.vectors[:count]), "recorded"
    return imitate(np.random.default_rng(17), count, dimension), "synthetic"


@pytest.mark.parametrize("kind", KINDS)
def test_bench_saving(
    benchmark: Any, told: dict[str, Any], size: str, tmp_path: Path, kind: str
) -> None:
    """Timed is `put_many` of the set into a new store, nothing synced."""
    vectors, source = _vectors(kind, COUNT[size])
    keys = [f"{row:032x}" for row in range(len(vectors))]
    config = StoreConfig(durability="power_cut_may_lose_store")
    paths = (tmp_path / str(number) for number in range(1_000))
    opened: list[EmbeddingStore] = []

    def fresh() -> tuple[tuple[EmbeddingStore], dict[str, Any]]:
        opened.append(EmbeddingStore.open(next(paths), config))
        return (opened[-1],), {}

    put: Callable[[EmbeddingStore], None] = lambda store: store.put_many(keys, vectors)  # noqa: E731
    benchmark.pedantic(put, setup=fresh, rounds=3)
    shares = set()
    for store in opened:
        assert same_bits(store.get_many(keys), vectors)
        stats = store.stats()
        shares.add(1 - (stats.segment_bytes + stats.plane_bytes) / vectors.nbytes)
        store.close()
    (share,) = shares  # the same bytes each time
    told |= {"source": source, "vectors": len(vectors), "saved": share}
    told["rivals"] = {
        rival.name: round(1 - rival.bytes_per_vector / (4 * vectors.shape[1]), 4)
        for rival in measure_codecs(vectors[:COMPARED], whole_set=False)
    }
    target = KINDS[kind][3]
    if target is not None and source == "recorded":
        note_limit(told, target=target, what="saved share", values=[share])
