"""Interleavings of threads and processes, provoked step by step instead of hoped for."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from titanstore import EmbeddingStore, ErrorKind, StorageError, StoreConfig
from titanstore.metrics import Counters
from titanstore.tiers.hot import HotTier
from titanstore.tiers.warm import WarmTier

OLD = np.arange(8, dtype=np.float32)


class _Meddling:
    """A lock; whoever takes it lets `first` happen just before."""

    def __init__(self, lock: Any, first: Callable[[], object]) -> None:
        self._lock = lock
        self._first: Callable[[], object] | None = first

    def __enter__(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            first()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_clear_drops_a_row_admitted_while_it_begins() -> None:
    tier = HotTier(100_000, "probation", Counters())
    epoch = tier.epoch
    lock = tier._lock
    tier._lock = _Meddling(lock, lambda: _admit_hot(tier, lock, epoch))  # type: ignore[assignment]
    tier.clear()
    tier._lock = lock
    assert tier.lookup("key") is None
    assert tier.admit("key", OLD, epoch) == []
    assert tier.lookup("key") is None, "a row looked up before the clear was admitted after it"
    assert tier.nbytes == 0


def _admit_hot(tier: HotTier, lock: Any, epoch: int) -> None:
    tier._lock = lock
    tier.admit("key", OLD, epoch)


def test_clear_drops_a_frame_admitted_while_it_begins() -> None:
    tier = WarmTier(lambda: 100_000, "probation", Counters())
    epoch = tier.epoch
    lock = tier._lock

    def admit() -> None:
        tier._lock = lock
        tier.admit("key", b"frame", epoch)

    tier._lock = _Meddling(lock, admit)  # type: ignore[assignment]
    tier.clear()
    tier._lock = lock
    assert tier.take("key") is None
    assert not tier.admit("key", b"frame", epoch)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    with EmbeddingStore.open(tmp_path / "store") as made:
        made.update_document("d", [(f"k{n}", OLD + n) for n in range(20)])
    return EmbeddingStore.open(
        tmp_path / "store", StoreConfig(prefetch=False), read_only=True, create=False
    )


def test_another_reader_may_empty_the_queue_of_evicted_rows(store: EmbeddingStore) -> None:
    with store:
        cascade = store._cascade
        cascade._evicted.append("k1")

        def somebody_else_tidies() -> bool:
            cascade._evicted.clear()
            return True

        cascade._tidy(somebody_else_tidies)
        assert np.array_equal(store.get("k1"), OLD + 1)


def test_a_segment_that_cannot_be_opened_is_a_storage_error(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if str(path).endswith(".seg"):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *rest, **more)

    with store:
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(StorageError, match="Too many open files") as caught:
            store.get("k1")
        assert caught.value.kind is ErrorKind.IO_FAILED
        monkeypatch.setattr(os, "open", real)
        assert np.array_equal(store.get("k1"), OLD + 1)


def test_refused_advice_to_the_kernel_changes_nothing(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unadvised(mmap.mmap):
        def madvise(self, option: int, *rest: int) -> None:
            if option == mmap.MADV_WILLNEED:
                raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(mmap, "PAGESIZE", 64)  # so that every record seems to cross a page
    monkeypatch.setattr(mmap, "mmap", Unadvised)
    with store:
        assert all(np.array_equal(store.get(f"k{n}"), OLD + n) for n in range(20))
