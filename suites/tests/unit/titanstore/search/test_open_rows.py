"""What no block of a scan has ruled out is kept of all blocks: it must stay small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fixtures.vectors import gaussians
from titanstore import EmbeddingStore, StoreConfig
from titanstore.search import flat, open_rows
from titanstore.search.open_rows import OpenRows
from titanstore.sums import Wide

CONFIG = StoreConfig(durability="power_cut_may_lose_store", result_cache_entries=0)


def test_what_blocks_leave_open_is_joined_and_ruled_out_again(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it is kept of every block there is: 32 kB each at least."""
    joined: list[int] = []
    left: list[int] = []

    def join(parts: Sequence[OpenRows], limits: Wide) -> OpenRows:
        found = open_rows.joined(parts, limits)
        joined.append(len(parts))
        within = found.lower <= limits[found.places]
        assert within.tolist() == (~np.isnan(found.lower)).tolist()
        left.append(int(within.sum()))
        return found

    rows, queries = gaussians(rng, 300, 64), gaussians(rng, 3, 64)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many([f"{place:03d}" for place in range(len(rows))], rows)
        wanted = store.search_many(queries, 2)
        monkeypatch.setattr(flat, "joined", join)
        monkeypatch.setattr(flat, "_BLOCK_CELLS", 24)
        monkeypatch.setattr(flat, "_BLOCK_ROWS_MIN", 8)
        assert store.search_many(queries, 2) == wanted
    # 38 blocks of 8 rows: the first four, then three more each time, and what came last
    assert joined == [4] * 12 + [2]
    assert max(left) < 60
