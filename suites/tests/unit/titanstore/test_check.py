"""check() lists every damage with its place, raises for none, and blames no writer for writing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from titanstore import EmbeddingStore, StoreConfig
from titanstore import check as module
from titanstore.catalog.layout import Run
from titanstore.catalog.views import CatalogWriter
from titanstore.keys import stored_key
from titanstore.segments.layout import Address

CONFIG = StoreConfig(durability="power_cut_may_lose_store")
KEYS = [f"k{number}" for number in range(12)]


def rows(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((len(KEYS), 32)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    config = StoreConfig(durability="power_cut_may_lose_store")
    object.__setattr__(config, "segment_bytes_max", 4_000)  # a few vectors fill many
    opened = EmbeddingStore.open(tmp_path, config)
    opened.put_many(KEYS, rows(0), "doc")
    return opened


def address_of(store: EmbeddingStore, key: str) -> Address:
    (address,) = store._catalog.lookup(stored_key(key).fingerprint())
    return address


def test_a_whole_store(store: EmbeddingStore) -> None:
    told: list[tuple[int, int]] = []
    report = store.check(lambda done, total: told.append((done, total)))
    assert (report.vectors, report.documents, report.segments) == (12, 1, 1)
    assert report.is_clean
    assert told == [(12, 12)]
    store.close()


def test_pages_of_a_walk(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE_ENTRIES", 5)
    told: list[int] = []
    assert store.check(lambda done, _: told.append(done)).vectors == 12
    assert told == [5, 10, 12]
    store.close()


def test_documents_beyond_the_first_page(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are little-endian in the catalog: 256 comes before 1 there."""
    for number in range(300):
        store.put_many(["k1"], rows(0)[1:2], f"more {number}")
    monkeypatch.setattr(module, "_PAGE_ENTRIES", 7)
    assert store.check().documents == 301
    with store._catalog.writing() as view:
        view.move_document(260, "more 258", [Run(address_of(store, "k3"), 1)])
    problems = store.check().problems
    assert [problem.place for problem in problems] == ["document 'more 258'"]
    store.close()


def test_the_entry_that_follows_the_very_last() -> None:
    assert module._after(b"\xff" * 6, Address(2**16 - 1, 2**32 - 1)) is None
    assert module._after(bytes(4), Address(0, 2**32 - 1)) == bytes(5) + b"\1" + bytes(4)


DAMAGES: dict[str, tuple[Callable[[EmbeddingStore, CatalogWriter], object], str, str]] = {
    "an entry that leads to another key": (
        lambda store, view: view.add(b"zzzz", address_of(store, "k3")),
        "bad-catalog",
        "leads to another key",
    ),
    "an entry that leads nowhere": (
        lambda _, view: view.add(b"zzzz", Address(1, 2**31)),
        "short-segment",
        "catalog knows of",
    ),
    "an entry of a segment that is not there": (
        lambda _, view: view.add(b"zzzz", Address(9, 32)),
        "missing-segment",
        "00009.seg",
    ),
    "a segment that is not there": (
        lambda _, view: view.set_segment(7, view.segment(1)),
        "missing-segment",
        "segment 7",
    ),
    "a document of an old record": (
        lambda store, view: view.remove(stored_key("k5").fingerprint(), address_of(store, "k5")),
        "bad-catalog",
        "old record of 'k5'",
    ),
    "a document that its key does not know of": (
        lambda store, view: view.set_document(
            view.new_document("thief"), "thief", [Run(address_of(store, "k5"), 1)]
        ),
        "bad-catalog",
        "does not know of it",
    ),
    "a document that runs too far": (
        lambda store, view: view.set_document(1, "doc", [Run(address_of(store, "k0"), 99)]),
        "short-segment",
        "segment 1",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_of_the_catalog(store: EmbeddingStore, name: str) -> None:
    damage, kind, message = DAMAGES[name]
    with store._catalog.writing() as view:
        damage(store, view)
    problems = store.check().problems
    assert [str(problem.kind) for problem in problems] == [kind]
    assert message in problems[0].message
    assert problems[0].place
    store.close()


def test_noise_for_a_document(store: EmbeddingStore) -> None:
    with store._catalog.writing() as view:
        view._transaction.put(b"\1\0\0\0", b"noise", db=view._databases["documents"])
    (problem,) = store.check().problems
    assert (problem.kind, problem.place) == ("bad-catalog", "catalog, documents")
    store.close()


def test_a_walk_beside_a_writer_finds_nothing(store: EmbeddingStore, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            store.update_document("doc", list(zip(KEYS, rows(turn), strict=True)))
            store.put_many([f"more {turn % 7}"], rows(turn)[:1])
            if turn % 5 == 0:
                store.maintain()

    writer = threading.Thread(target=write)
    writer.start()
    with EmbeddingStore.open(tmp_path, CONFIG, read_only=True) as reader:
        for _ in range(40):
            assert reader.check().problems == ()
    stop.set()
    writer.join()
    assert store.check().is_clean
    store.close()
