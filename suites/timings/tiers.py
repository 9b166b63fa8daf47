"""Reads through the tiers: hot rows, warm frames, and what the tiers do not hold."""

from __future__ import annotations

from typing import Any, ClassVar

from titanstore import EmbeddingStore

from . import prepared
from .prepared import Vectors

repeat = prepared.REPEAT  # asv reads it here
_HOT = 128
_BELOW = 32
_OFF: dict[str, Any] = {"hot_bytes_max": 0, "warm_bytes_max": 0, "prefetch": False}


class _Gets:
    """Gets of single keys that one tier serves; the store's own count says so."""

    version = prepared.version(1)
    count: int
    tier: str
    settings: ClassVar[dict[str, Any]]

    def setup(self) -> None:
        self.keys = prepared.document_keys()[: self.count]
        self.store: EmbeddingStore = prepared.readable(**self.settings)
        for key in self.keys:
            self.store.get(key)
        self.served = self._served()
        self.calls = 0
        self.answer: Vectors | None = None

    def _served(self) -> int:
        return self.store.stats().counters[f"{self.tier}_hits"]

    def _get_all(self) -> None:
        get = self.store.get
        for key in self.keys:
            row = get(key)
        self.answer = row
        self.calls += 1

    def teardown(self) -> None:
        prepared.check_bits(self.answer, prepared.document_vectors()[self.count - 1])
        seen, wanted = self._served() - self.served, self.calls * self.count
        if seen != wanted:
            raise AssertionError(f"{seen} of {wanted} gets were {self.tier}")


class HotGet(_Gets):
    """`store.get` of 128 rows that the hot tier holds decoded."""

    core = True
    count = _HOT
    tier = "hot"
    settings: ClassVar = {
        "hot_bytes_max": 2_000_000,
        "memory_bytes_max": 3_000_000,
        "prefetch": False,
    }

    def time_get_128(self) -> None:
        self._get_all()


class WarmGet(_Gets):
    """`store.get` of 32 rows whose frames the warm tier holds.

    The hot tier holds some 8 rows under LRU, so that each get promotes a row and demotes another.
    """

    core = True
    count = _BELOW
    tier = "warm"
    settings: ClassVar = {"hot_bytes_max": 40_000, "policy": "lru", "prefetch": False}

    def time_get_32(self) -> None:
        self._get_all()


class ColdGet(_Gets):
    """`store.get` of 32 rows through catalog and mapped files; both tiers are off."""

    core = True
    count = _BELOW
    tier = "cold"
    settings = _OFF

    def time_get_32(self) -> None:
        self._get_all()


class GetMany:
    """`store.get_many` of 66 keys, three documents, that no tier holds."""

    core = True
    version = prepared.version(1)

    def setup(self) -> None:
        self.keys = prepared.document_keys()[: 3 * prepared.CHUNKS]
        self.store: EmbeddingStore = prepared.readable(**_OFF)
        self.answer: Vectors | None = None

    def time_get_66(self) -> None:
        self.answer = self.store.get_many(self.keys)

    def teardown(self) -> None:
        prepared.check_bits(self.answer, prepared.document_vectors()[: len(self.keys)])
