"""A file that somebody removes under a writer: an error, the rest readable, then on as before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import EmbeddingStore, StoreConfig, StoreError

CONFIG = StoreConfig(prefetch=False)
FILES = [
    "STORE",
    "LOCK",
    "GENERATION",
    "catalog/data.mdb",
    "catalog/lock.mdb",
    "segments/00001.seg",
    "segments/00001-16.plane",
    "segments/00001-16.marks",
]
SILENT = {  # nothing is written through these, or it can be made anew
    "STORE",
    "catalog/lock.mdb",
    "segments/00001-16.marks",
}

NAMED = {  # what the message says of it
    "catalog/data.mdb": "data.mdb",
    "segments/00001.seg": "segment 1",
    "segments/00001-16.plane": "00001-16.plane",
}


def rows(seed: int, count: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path / "store", CONFIG) as opened:
        opened.put_many(["a", "b"], rows(0, 2), "doc")
        assert opened.get("a").tobytes() == rows(0, 2)[0].tobytes()
        yield opened


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("is_copy", [False, True], ids=["put back", "restored from a copy"])
def test_a_file_that_vanishes(
    store: EmbeddingStore, tmp_path: Path, name: str, *, is_copy: bool
) -> None:
    file, away = tmp_path / "store" / name, tmp_path / "away"
    content = file.read_bytes()
    file.rename(away)
    if name in SILENT:
        store.put("new", rows(1, 1)[0], "doc")
    else:
        with pytest.raises(StoreError, match=re.escape(NAMED.get(name, name))):
            store.put("new", rows(1, 1)[0], "doc")
        assert "new" not in store
    if name == "segments/00001.seg":
        with pytest.raises(StoreError, match="segment 1 is missing"):
            store.get_many(["a", "b"])
    else:
        assert store.get_many(["a", "b"]).tobytes() == rows(0, 2).tobytes()
    if is_copy:
        away.unlink()
        if name not in SILENT:
            file.write_bytes(content)
    elif not file.exists():
        away.rename(file)
    if is_copy and name in ("LOCK", "GENERATION"):
        with pytest.raises(StoreError):  # another process may have taken it: only a new open tells
            store.put("new", rows(1, 1)[0], "doc")
    else:
        try:
            store.put("new", rows(1, 1)[0], "doc")
        except StoreError:
            assert is_copy  # the file that was open had to be noticed first
            store.put("new", rows(1, 1)[0], "doc")
        assert store.get("new").tobytes() == rows(1, 1)[0].tobytes()
    if is_copy and name == "STORE":
        file.write_bytes(content)
    store.close()
    with EmbeddingStore.open(tmp_path / "store", CONFIG) as again:
        assert again.check().problems == ()
        assert again.get_many(["a", "b"]).tobytes() == rows(0, 2).tobytes()
        again.put("new", rows(1, 1)[0], "doc")
        assert [hit.key for hit in again.search(rows(1, 1)[0], k=1)] == ["new"]
        assert again.document_keys("doc") == ["a", "b", "new"]


def test_without_its_lock_file_a_writer_stops_for_the_next_one(
    store: EmbeddingStore, tmp_path: Path
) -> None:
    (tmp_path / "store" / "LOCK").unlink()
    with pytest.raises(StoreError, match="LOCK was removed") as caught:
        store.put("new", rows(1, 1)[0])
    assert caught.value.kind == "already-open"
