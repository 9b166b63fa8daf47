"""Stores of small segments, most of whose vectors were replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import EmbeddingStore, StoreConfig

Vectors = NDArray[np.float32]
RNG = np.random.default_rng(1)


def small_segments(size: int = 3_000, **settings: object) -> StoreConfig:
    config = StoreConfig(durability="power_cut_may_lose_store", **settings)  # type: ignore[arg-type]
    object.__setattr__(config, "segment_bytes_max", size)
    return config


def rows(count: int, dimension: int = 64) -> Vectors:
    return RNG.standard_normal((count, dimension)).astype(np.float32)


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted((folder / "segments").iterdir())}


class Filled:
    """A store of some documents, most of whose vectors were replaced, and what it must hold."""

    def __init__(self, folder: Path, config: StoreConfig) -> None:
        self.folder = folder
        self.wanted: dict[str, bytes] = {}
        self.store = EmbeddingStore.open(folder, config)
        for turn in range(3):
            for document in range(4):
                # stays where it is, so that every segment has something to move
                self.put([f"stays {turn} {document}"], rows(1), None)
                keys = [f"{document}/{chunk}" for chunk in range(10)]
                self.put(keys, rows(10), f"doc {document}")
        self.put(["shared"], rows(1), "doc 0")
        self.put(["shared"], np.frombuffer(self.wanted["shared"], np.float32)[None, :], "doc 1")
        self.put(["alone"], rows(1), None)

    def put(self, keys: list[str], vectors: Vectors, document: str | None) -> None:
        self.store.put_many(keys, vectors, document)
        self.wanted |= {key: row.tobytes() for key, row in zip(keys, vectors, strict=True)}

    def is_whole(self, store: EmbeddingStore) -> bool:
        return (
            {key: store.get(key).tobytes() for key in self.wanted} == self.wanted
            and len(store) == len(self.wanted)
            and store.check().is_clean
            and store.documents() == [f"doc {number}" for number in range(4)]
            and store.document_keys("doc 1") == [f"1/{chunk}" for chunk in range(10)] + ["shared"]
        )


@pytest.fixture(params=[True, False], ids=["compressed", "raw"])
def filled(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Filled]:
    found = Filled(tmp_path, small_segments(compression=request.param))
    yield found
    found.store.close()
