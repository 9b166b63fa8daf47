"""A kept result is returned only while it is the present one, and not forgotten for nothing."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import EmbeddingStore, Hit, InvalidInputError, StoreConfig
from titanstore.search import results

FAST = StoreConfig(durability="power_cut_may_lose_store", result_cache_entries=4)
QUERY = np.array([1, 0, 0, 0], np.float32)
NEAR, FAR = 0.1, 2.0  # as the second value: the squared distance from QUERY is its square


def at(distance: float) -> NDArray[np.float32]:
    return np.array([1, distance, 0, 0], np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many(["c", "d", "e"], [at(0.25), at(0.5), at(0.75)], "doc")
        yield store


def keys(store: EmbeddingStore, k: int = 3) -> str:
    return "".join(hit.key for hit in store.search(QUERY, k, metric="l2"))


def kept(store: EmbeddingStore) -> int:
    return store.stats().counters["result_hits"]


def test_a_result_is_kept_and_cannot_be_spoilt(store: EmbeddingStore) -> None:
    first = store.search(QUERY, 2, metric="l2")
    assert first == [Hit("c", 0.0625), Hit("d", 0.25)]
    first.clear()
    assert keys(store, 2) == "cd"
    assert kept(store) == 1
    assert store.stats().counters["searches"] == 2


def test_other_questions_have_other_results(store: EmbeddingStore) -> None:
    store.put("f", -QUERY)
    store.search(QUERY, 2)
    store.search(QUERY, 1)
    store.search(QUERY, 2, metric="dot")
    store.search(QUERY, 2, document_prefix="")
    store.search(-QUERY, 2)
    store.search(QUERY, 2, document_prefix="None")
    assert kept(store) == 0


def test_a_query_that_holds_the_words_of_another_question_is_another(store: EmbeddingStore) -> None:
    """Each of these was told from the other by nothing but where the query ends."""
    words = b"3 l2 4 True docs"
    longer = np.frombuffer(QUERY.tobytes() + words, np.float32)
    store.put("long", longer, "a document")
    found = store.search(longer, 3, metric="l2", document_prefix="a")
    assert found == [Hit("long", 0.0)]
    assert store.search(QUERY, 3, metric="l2", document_prefix="docs3 l2 8 True a") == []
    assert kept(store) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.put("z", at(FAR)),
        lambda store: store.put("more", at(FAR), "doc"),
        lambda store: store.delete(["x"]),
        lambda store: store.put("x", at(FAR + 1)),
        lambda store: store.put("c", at(0.25)),
        lambda store: store.put("other", np.ones(7, np.float32)),
        lambda store: store.put("nan", np.full(4, np.nan, np.float32)),
        lambda store: store.snapshot(),
        lambda store: store.update_document("new", [("n", at(FAR))]),
        lambda store: store.maintain(),
    ],
)
def test_a_change_of_no_consequence_lets_it_live(
    store: EmbeddingStore, change: Callable[[EmbeddingStore], None]
) -> None:
    store.put("x", at(FAR))
    assert keys(store) == "cde"
    for turn in range(1, 4):
        change(store)
        assert keys(store) == "cde"
        assert kept(store) == turn


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda store: store.put("z", at(NEAR)), "zcd"),
        (lambda store: store.put("a", at(0.75)), "cda"),
        (lambda store: store.put("dd", at(0.75)), "cddd"),
        (lambda store: store.put("f", at(0.75)), "cde"),
        (lambda store: store.put("e", at(0.7)), "cde"),
        (lambda store: store.put("x", at(NEAR)), "xcd"),
        (lambda store: store.put("c", at(FAR + 1)), "dex"),
        (lambda store: store.delete(["d"]), "cex"),
        (lambda store: store.update_document("doc", [("d", at(0.5))]), "dx"),
        (lambda store: store.update_document("doc", []), "x"),
    ],
)
def test_a_change_that_matters_is_seen(
    store: EmbeddingStore, change: Callable[[EmbeddingStore], None], wanted: str
) -> None:
    store.put("x", at(FAR))
    assert keys(store) == "cde"
    change(store)
    assert keys(store) == wanted
    assert keys(store) == wanted
    assert kept(store) == 1


def test_a_result_with_fewer_than_k_grows(store: EmbeddingStore) -> None:
    assert keys(store, 9) == "cde"
    store.put("z", at(FAR))
    assert keys(store, 9) == "cdez"
    assert keys(store, 9) == "cdez"
    assert kept(store) == 1


def test_a_rollback_brings_results_back(store: EmbeddingStore) -> None:
    version = store.snapshot()
    store.delete(["c"])
    assert keys(store) == "de"
    store.rollback(version.number)
    assert keys(store) == "cde"
    assert kept(store) == 0


def test_documents_count_in_results_that_are_narrowed(store: EmbeddingStore) -> None:
    assert store.search(QUERY, 9, document_prefix="n") == []
    assert store.search(QUERY, 9, document_prefix="n") == []
    assert kept(store) == 1
    store.put("c", at(0.25), "new")  # the same vector, in one more document
    assert [hit.key for hit in store.search(QUERY, 9, document_prefix="n")] == ["c"]


def test_the_least_used_result_goes_first(store: EmbeddingStore) -> None:
    queries = [np.array([1, value, 0, 0], np.float32) for value in range(5)]
    for query in (*queries[:4], queries[0], queries[4], queries[0]):
        store.search(query)
    assert kept(store) == 2
    store.search(queries[1])
    assert kept(store) == 2


def test_a_query_of_an_empty_store_is_refused_once_it_has_another_dimension(
    store: EmbeddingStore,
) -> None:
    store.delete(["c", "d", "e"])
    assert keys(store) == keys(store) == ""
    store.put("other", np.ones(3, np.float32))
    with pytest.raises(InvalidInputError, match="dimension 4"):
        keys(store)


def test_large_results_are_kept_in_bounded_number(store: EmbeddingStore) -> None:
    """Kept results of k = 20 000 once took 200 MB."""
    store.put_many([f"n{place:03}" for place in range(397)], [at(9.0)] * 397)
    queries = [np.array([1, value, 0, 0], np.float32) for value in range(3)]
    for query, k, hits in ((0, 300, 0), (0, 300, 1), (1, 101, 1), (1, 101, 2), (0, 300, 2)):
        store.search(queries[query], k)
        assert kept(store) == hits
    store.put("one more", at(9.5))
    for k, hits in ((401, 2), (401, 2), (300, 2), (300, 3)):  # one of 401 is never kept
        store.search(queries[0], k)
        assert kept(store) == hits


def test_a_reader_beside_the_writer_sees_what_matters(
    tmp_path: Path, store: EmbeddingStore
) -> None:
    with EmbeddingStore.open(tmp_path, FAST, read_only=True) as reader:
        assert keys(reader) == "cde"
        store.put("far", at(FAR))
        assert keys(reader) == "cde"
        assert kept(reader) == 1
        store.put("near", at(NEAR))
        assert keys(reader) == "nearcd"
        store.put("near", at(FAR))
        assert keys(reader) == "cde"
        store.maintain()
        assert keys(reader) == "cde"


def during_the_next_write(store: EmbeddingStore, action: Callable[[], None]) -> None:
    """Have another thread act when rows are marked and nothing is committed."""
    writer = store._rooms._writer
    assert writer is not None
    append = writer.append

    def append_and_wait(*given: object, **named: object) -> object:
        writer.append = append  # type: ignore[method-assign]
        places = append(*given, **named)  # type: ignore[arg-type]
        thread = threading.Thread(target=action)
        thread.start()
        thread.join()
        return places

    writer.append = append_and_wait  # type: ignore[method-assign, assignment]


def test_after_a_large_write_the_search_is_made_again(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores of all new rows at once would take memory that malloc keeps."""
    monkeypatch.setattr(results, "_ROWS_MAX", 3)
    keys(store)
    store.put_many(["f", "g", "h"], [at(FAR)] * 3)
    assert keys(store) == "cde"
    assert kept(store) == 1
    store.put_many(["i", "j", "k"], [at(FAR)] * 3)  # the first three are not new any more
    assert keys(store) == "cde"
    assert kept(store) == 2
    store.put_many(["l", "m", "n", "o"], [at(FAR)] * 4)
    assert keys(store) == "cde"
    assert kept(store) == 2
    assert keys(store) == "cde"
    assert kept(store) == 3


def test_a_write_under_way_is_not_taken_for_looked_at(store: EmbeddingStore) -> None:
    """Its rows are marked already: when it is acknowledged, kept results must look at them."""
    seen: list[str] = []
    during_the_next_write(store, lambda: seen.append(keys(store)))
    store.put("near", at(NEAR))
    assert seen == ["cde"]
    assert keys(store) == "nearcd"
    during_the_next_write(store, lambda: seen.append(keys(store)))
    store.put("nearer", at(0.0))
    assert seen[1:] == ["nearcd"]
    assert keys(store) == "nearernearc"


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_row_that_is_replaced_while_marks_are_looked_at_is_not_overlooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_kept: bool
) -> None:
    """By then it is unmarked, and its successor lies behind what that look at the catalog knows."""
    without = StoreConfig(durability="power_cut_may_lose_store", search=False)
    with EmbeddingStore.open(tmp_path, without) as store:
        store.put("older", at(FAR))  # until `maintain`, rows are not counted against keys
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many(["c", "d", "e"], [at(0.25), at(0.5), at(0.75)])
        store.delete(["older"])
        assert not is_kept or keys(store) == "cde"
        store.put("near", at(NEAR))
        planes = store._reader.planes
        current = planes.current

        def replaced_meanwhile(*given: int) -> object:
            monkeypatch.setattr(planes, "current", current)
            thread = threading.Thread(target=store.put, args=("near", at(NEAR / 2)))
            thread.start()
            thread.join()
            return current(*given)

        monkeypatch.setattr(planes, "current", replaced_meanwhile)
        assert keys(store) == "nearcd"
        assert planes.current == current


@pytest.mark.parametrize("k", [1, 10, 80])
def test_kept_results_take_what_the_store_says(tmp_path: Path, k: int) -> None:
    """Within 15 %, of all that the interpreter allocates for them; keys of 32 characters."""
    config = StoreConfig(
        durability="power_cut_may_lose_store", result_cache_entries=200, prefetch=False
    )
    rng = np.random.default_rng(31)
    queries = rng.standard_normal((101, 8), dtype=np.float32)
    with EmbeddingStore.open(tmp_path, config) as store:
        rows = rng.standard_normal((100, 8), dtype=np.float32)
        store.put_many([f"{number:032x}" for number in range(len(rows))], rows)
        store.search(queries[0], k)  # what the first one of all takes
        said = store.stats().result_bytes
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for query in queries[1:]:
                store.search(query, k)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert store.stats().result_bytes - said == pytest.approx(grown, rel=0.15)
