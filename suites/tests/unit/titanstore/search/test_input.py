"""Each question that cannot be answered says why, and a store that is empty answers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from titanstore import ClosedError, EmbeddingStore, ErrorKind, InvalidInputError, StoreConfig

FAST = StoreConfig(durability="power_cut_may_lose_store")
ONE = np.array([1, 2, 3], np.float32)
TWO = np.array([[1, 2, 3], [3, 2, 1]], np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many(["a", "b"], TWO, "doc")
        yield store


def holed(value: float) -> Any:
    row = ONE.copy()
    row[1] = value
    return row


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda s: s.search(ONE, 0), ErrorKind.BAD_K),
        (lambda s: s.search(ONE, -1), ErrorKind.BAD_K),
        (lambda s: s.search(ONE, True), ErrorKind.BAD_K),
        (lambda s: s.search(ONE, np.bool_(True)), ErrorKind.BAD_K),
        (lambda s: s.search(ONE, 1.5), ErrorKind.BAD_K),
        (lambda s: s.search(ONE, np.float32(1)), ErrorKind.BAD_K),
        (lambda s: s.search(ONE, "1"), ErrorKind.BAD_K),
        (lambda s: s.search(ONE, None), ErrorKind.BAD_K),
        (lambda s: s.search_many(TWO, 0), ErrorKind.BAD_K),
        (lambda s: s.search_many([], 0), ErrorKind.BAD_K),
        (lambda s: s.search(ONE, metric="hamming"), ErrorKind.BAD_METRIC),
        (lambda s: s.search(ONE, metric="Cosine"), ErrorKind.BAD_METRIC),
        (lambda s: s.search(ONE, metric=None), ErrorKind.BAD_METRIC),
        (lambda s: s.search(ONE, metric=["l2"]), ErrorKind.BAD_METRIC),
        (lambda s: s.search_many([], metric=""), ErrorKind.BAD_METRIC),
        (lambda s: s.search(ONE[:2]), ErrorKind.WRONG_DIMENSION),
        (lambda s: s.search_many(TWO[:, :2]), ErrorKind.WRONG_DIMENSION),
        (lambda s: s.search(ONE[:2], document_prefix="nobody"), ErrorKind.WRONG_DIMENSION),
        (lambda s: s.search(ONE.astype(np.float64)), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search(ONE.astype(np.float16)), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search(ONE.astype(np.int64)), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search(ONE.astype(">f4")), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search(ONE.astype(object)), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search([1.0, 2.0, 3.0]), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search(b"\0" * 12), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search(None), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search_many([1.0, 2.0, 3.0]), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search_many([[1.0, 2.0, 3.0]]), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search_many([ONE, [1.0, 2.0, 3.0]]), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search_many([ONE, ONE.astype(np.float16)]), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search_many([ONE.astype(">f4"), ONE]), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search_many("abc"), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search_many(None), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search(TWO), ErrorKind.WRONG_SHAPE),
        (lambda s: s.search(np.float32(1)), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search(np.array(1, np.float32)), ErrorKind.WRONG_SHAPE),
        (lambda s: s.search(ONE[:0]), ErrorKind.WRONG_SHAPE),
        (lambda s: s.search(np.zeros(16_384, np.float32)), ErrorKind.WRONG_SHAPE),
        (lambda s: s.search_many(ONE), ErrorKind.WRONG_SHAPE),
        (lambda s: s.search_many(TWO[None]), ErrorKind.WRONG_SHAPE),
        (lambda s: s.search_many(list(ONE)), ErrorKind.WRONG_DTYPE),
        (lambda s: s.search_many([ONE, ONE[:2]]), ErrorKind.WRONG_SHAPE),
        (lambda s: s.search_many([TWO, TWO]), ErrorKind.WRONG_SHAPE),
        (lambda s: s.search(holed(np.nan)), ErrorKind.NON_FINITE),
        (lambda s: s.search(holed(-np.inf)), ErrorKind.NON_FINITE),
        (lambda s: s.search_many([ONE, holed(np.nan)]), ErrorKind.NON_FINITE),
        (lambda s: s.search(ONE, document_prefix=5), ErrorKind.KEY_NOT_TEXT),
        (lambda s: s.search(ONE, document_prefix=b"d"), ErrorKind.KEY_NOT_TEXT),
        (lambda s: s.search(ONE, document_prefix="\ud800"), ErrorKind.KEY_NOT_TEXT),
        (lambda s: s.search_many([], document_prefix=5), ErrorKind.KEY_NOT_TEXT),
    ],
)
def test_what_cannot_be_answered(
    store: EmbeddingStore, call: Callable[[Any], object], kind: ErrorKind
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        call(store)
    assert caught.value.kind is kind
    assert store.stats().counters["result_hits"] == 0
    assert [hit.key for hit in store.search(ONE, 1)] == ["a"]


def test_what_is_unusual_and_right(store: EmbeddingStore) -> None:
    assert store.search_many([]) == store.search_many(TWO[:0]) == store.search_many(()) == []
    assert [hit.key for hit in store.search(ONE, 2**80)] == ["a", "b"]
    assert store.search(np.repeat(ONE, 2)[::2]) == store.search(ONE)
    assert store.search_many(np.asfortranarray(TWO)) == store.search_many(TWO)
    assert store.search_many((ONE, ONE)) == [store.search(ONE)] * 2
    read_only = ONE.copy()
    read_only.flags.writeable = False
    assert store.search(read_only) == store.search(ONE)
    for prefix in ("", "d", "doc"):
        assert len(store.search(ONE, document_prefix=prefix)) == 2
    for prefix in ("x", "docs", "\0", "é" * 241, "x" * 5000):
        assert store.search(ONE, document_prefix=prefix) == []


def test_a_hit_is_plain(store: EmbeddingStore) -> None:
    hit = store.search(ONE, 1, metric="l2")[0]
    assert hit == ("a", 0.0)
    assert [type(value) for value in hit] == [str, float]


@pytest.mark.parametrize("k", [1, 10])
def test_an_empty_store_has_no_results(tmp_path: Path, k: int) -> None:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        assert store.search(ONE, k) == []
        assert store.search_many(TWO, k, metric="l2", document_prefix="") == [[], []]
        store.put("a", ONE)
        store.delete(["a"])
        assert store.search(ONE, k) == []
        assert store.search(ONE[:2], k) == []
    with EmbeddingStore.open(tmp_path, FAST, read_only=True) as store:
        assert store.search(ONE, k) == []


def test_the_dimension_is_that_of_vectors_that_are_there(tmp_path: Path) -> None:
    """Not of what was removed, of what another document holds, or of what has no codes yet."""
    with EmbeddingStore.open(tmp_path, StoreConfig(search=False)) as store:
        store.put("old", ONE, "doc")
    with EmbeddingStore.open(tmp_path, FAST) as store:
        assert store.search(ONE, document_prefix="x") == []
        with pytest.raises(InvalidInputError, match=r"dimension 2; vectors of the store have 3$"):
            store.search(ONE[:2])
        store.put("two", ONE[:2])
        store.put("nan", np.full(5, np.nan, np.float32))
        assert [hit.key for hit in store.search(ONE[:2])] == ["two"]
        assert store.search(np.ones(5, np.float32)) == []
        store.delete(["two"])
        with pytest.raises(InvalidInputError, match=r"dimension 2; vectors of the store have 3, 5"):
            store.search(ONE[:2])


def test_the_setting_dimension_counts_for_queries(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, StoreConfig(dimension=3)) as store:
        assert store.search(ONE) == []
        assert store.search_many([]) == []
        with pytest.raises(InvalidInputError) as caught:
            store.search(ONE[:2])
        assert caught.value.kind is ErrorKind.WRONG_DIMENSION


def test_search_switched_off(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, StoreConfig(search=False)) as store:
        store.put("a", ONE)
        for call in (lambda: store.search(ONE), lambda: store.search_many([])):
            with pytest.raises(InvalidInputError) as caught:
                call()
            assert caught.value.kind is ErrorKind.SEARCH_OFF
        assert not list((tmp_path / "segments").glob("*.plane"))


def test_a_closed_store(store: EmbeddingStore) -> None:
    store.search(ONE)
    store.close()
    for call in (lambda: store.search(ONE), lambda: store.search_many([])):
        with pytest.raises(ClosedError) as caught:
            call()
        assert caught.value.kind is ErrorKind.CLOSED


def test_a_forked_child_searches(store: EmbeddingStore) -> None:
    wanted = store.search(ONE)
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            os.write(writing, b"same" if store.search(ONE) == wanted else b"other")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 9) == b"same"
    assert store.search(ONE) == wanted
    for descriptor in (reading, writing):
        os.close(descriptor)
