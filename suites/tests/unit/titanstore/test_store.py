"""Bad input is a clear error and leaves nothing behind; good input comes back bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.vectors import GENERATORS
from titanstore import (
    ClosedError,
    EmbeddingStore,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    StoreConfig,
    StoreError,
)

Vector = NDArray[np.float32]
CONFIG = StoreConfig(durability="power_cut_may_lose_store")
GOOD = np.arange(4, dtype=np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path / "s", CONFIG) as opened:
        opened.put("before", GOOD, "doc")
        yield opened


def assert_untouched(store: EmbeddingStore) -> None:
    assert len(store) == 1
    assert store.documents() == ["doc"]
    assert store.document_keys("doc") == ["before"]
    assert store.get("before").tobytes() == GOOD.tobytes()
    assert store.check().is_clean


BAD_VECTORS: dict[str, tuple[object, str]] = {
    "float64": (GOOD.astype(np.float64), "wrong-dtype"),
    "float16": (GOOD.astype(np.float16), "wrong-dtype"),
    "big-endian": (GOOD.astype(">f4"), "wrong-dtype"),
    "integers": (np.arange(4), "wrong-dtype"),
    "objects": (np.array([1.0, None]), "wrong-dtype"),
    "list": ([1.0, 2.0], "wrong-dtype"),
    "nothing": (None, "wrong-dtype"),
    "scalar": (np.float32(1), "wrong-dtype"),
    "no dimension": (np.array(1, np.float32), "wrong-shape"),
    "two dimensions": (GOOD[None, :], "wrong-shape"),
    "no values": (GOOD[:0], "wrong-shape"),
    "too many values": (np.zeros(16_384, np.float32), "wrong-shape"),
}


@pytest.mark.parametrize("name", BAD_VECTORS)
@pytest.mark.parametrize("place", [0, 1])
def test_bad_vectors(store: EmbeddingStore, name: str, place: int) -> None:
    bad, kind = BAD_VECTORS[name]
    vectors = [GOOD + 1, GOOD + 2]
    vectors[place] = bad  # type: ignore[call-overload]
    calls: list[Callable[[], object]] = [
        lambda: store.put("new", bad),  # type: ignore[arg-type]
        lambda: store.put_many(["before", "new"], vectors, "doc"),
        lambda: store.update_document("doc", [("new", vectors[0]), ("k", vectors[1])]),
        lambda: store.update_document("fresh", [("new", vectors[0]), ("k", vectors[1])]),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.kind == kind
        assert_untouched(store)


BAD_KEYS: dict[str, tuple[object, str]] = {
    "empty": ("", "empty-key"),
    "huge": ("x" * 481, "key-too-long"),
    "huge in bytes": ("é" * 241, "key-too-long"),
    "very huge": ("x" * 10**6, "key-too-long"),
    "bytes": (b"key", "key-not-text"),
    "number": (7, "key-not-text"),
    "nothing": (None, "key-not-text"),
    "unhashable": (["key"], "key-not-text"),
    "surrogate": ("\ud800", "key-not-text"),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_bad_keys(store: EmbeddingStore, name: str) -> None:
    bad, kind = BAD_KEYS[name]
    key: str = bad  # type: ignore[assignment]
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: store.put(key, GOOD),
        "put_many": lambda: store.put_many(["new", key], [GOOD, GOOD], "doc"),
        "update_document": lambda: store.update_document("doc", [("new", GOOD), (key, GOOD)]),
        "get": lambda: store.get(key),
        "get_many": lambda: store.get_many(["before", key]),
        "delete": lambda: store.delete(["before", key] if key != "" else [key]),
    }
    for call, run in calls.items():
        with pytest.raises(InvalidInputError) as caught:
            run()
        assert caught.value.kind == kind, call
        assert isinstance(caught.value, ValueError)
        assert_untouched(store)


@pytest.mark.parametrize("name", BAD_KEYS)
def test_bad_document_names(store: EmbeddingStore, name: str) -> None:
    bad, kind = BAD_KEYS[name]
    document: str = bad  # type: ignore[assignment]
    calls: list[Callable[[], object]] = [
        lambda: store.update_document(document, [("new", GOOD)]),
        lambda: store.document_keys(document),
    ]
    if document is not None:
        calls.append(lambda: store.put("new", GOOD, document))
    for call in calls:
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.kind == kind
        assert_untouched(store)


@pytest.mark.parametrize("bad", [None, 7, ["before"], b"before", ("before",)])
def test_what_is_no_key_is_not_in_the_store(store: EmbeddingStore, bad: object) -> None:
    assert bad not in store


def test_counts_that_differ(store: EmbeddingStore) -> None:
    for keys, vectors in ((["a"], [GOOD, GOOD]), (["a", "b"], [GOOD]), ([], [GOOD])):
        with pytest.raises(InvalidInputError, match=f"{len(keys)} keys, but {len(vectors)}"):
            store.put_many(keys, vectors)
    with pytest.raises(InvalidInputError) as caught:
        store.put_many(["a"], GOOD)
    assert caught.value.kind == "wrong-shape"
    assert_untouched(store)


def test_a_key_twice(store: EmbeddingStore) -> None:
    nan = np.array([0x7FC00001], np.uint32).view(np.float32)
    for other in (GOOD + 1, GOOD[:3], -GOOD):
        with pytest.raises(InvalidInputError, match="'k' comes twice") as caught:
            store.put_many(["k", "new", "k"], [GOOD, GOOD, other])
        assert caught.value.kind == "duplicate-key"
        with pytest.raises(InvalidInputError):
            store.update_document("doc", [("k", GOOD), ("k", other)])
        assert_untouched(store)
    store.put_many(["k", "k"], [nan, nan.copy()], "two")
    assert store.document_keys("two") == ["k"]
    assert store.get("k").tobytes() == nan.tobytes()


def test_a_dimension_by_setting(tmp_path: Path) -> None:
    config = StoreConfig(dimension=4, refuse_non_finite=True)
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put("k", GOOD)
        for bad, kind in (
            (GOOD[:3], "wrong-dimension"),
            (GOOD / np.float32(0), "non-finite"),
            (np.full(4, np.nan, np.float32), "non-finite"),
        ):
            with np.errstate(all="ignore"), pytest.raises(InvalidInputError) as caught:
                store.put_many(["k", "new"], [GOOD, bad])
            assert caught.value.kind == kind
        assert len(store) == 1


@pytest.fixture(autouse=True)
def _quiet_division() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("compression", [True, False])
@pytest.mark.parametrize("name", GENERATORS)
def test_every_kind_of_vector_through_every_tier(
    tmp_path: Path, rng: np.random.Generator, name: str, *, compression: bool
) -> None:
    config = StoreConfig(
        compression=compression,
        durability="power_cut_may_lose_store",
        hot_bytes_max=8_000,
        memory_bytes_max=40_000,
        prefetch=False,
    )
    vectors = GENERATORS[name](rng, 12, 96)
    keys = [f"k{number}" for number in range(12)]
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put_many(keys, vectors)
        for _ in range(3):  # cold, then hot and warm
            for key, vector in zip(keys, vectors, strict=True):
                assert store.get(key).tobytes() == vector.tobytes()
        assert store.get_many(keys).tobytes() == vectors.tobytes()
        counters = store.stats().counters
        assert counters["hot_hits"] + counters["warm_hits"] + counters["cold_hits"] == 48
        assert counters["warm_hits"] > 0
    with EmbeddingStore.open(tmp_path, config, read_only=True) as store:
        assert store.get_many(keys[::-1]).tobytes() == vectors[::-1].tobytes()
        assert store.check().is_clean


@pytest.mark.parametrize("dimension", [1, 2, 3, 255, 1_536, 16_383])
def test_every_dimension(store: EmbeddingStore, rng: np.random.Generator, dimension: int) -> None:
    vector = rng.standard_normal(dimension).astype(np.float32)
    store.put("new", vector)
    store._cascade.clear()
    assert store.get("new").tobytes() == vector.tobytes()
    assert store.get_many(["new", "new"]).shape == (2, dimension)


def test_vectors_that_are_not_contiguous_or_not_plain_arrays(store: EmbeddingStore) -> None:
    whole = np.arange(64, dtype=np.float32).reshape(8, 8)
    given = {
        "column": whole[:, 3],
        "every other": whole[1, ::2],
        "reversed": whole[2, ::-1],
        "broadcast": np.broadcast_to(np.float32(3), 5),
        "masked": np.ma.masked_array(whole[3], mask=False),
        "unaligned": np.frombuffer(b"x" + whole[4].tobytes(), np.float32, 8, 1),
        "read-only": whole[5],
    }
    given["read-only"].setflags(write=False)
    store.put_many(list(given), list(given.values()))
    store.update_document("columns", [(f"c{n}", whole[:, n]) for n in range(8)])
    store._cascade.clear()
    for key, vector in given.items():
        assert store.get(key).tobytes() == np.asarray(vector).tobytes()
        assert type(store.get(key)) is np.ndarray
    store.put_many([f"f{n}" for n in range(8)], np.asfortranarray(whole))
    assert store.get_many([f"f{n}" for n in range(8)]).tobytes() == whole.tobytes()


def test_what_the_caller_does_to_its_array_afterwards_changes_nothing(
    store: EmbeddingStore,
) -> None:
    mine = GOOD.copy()
    store.put("k", mine)
    mine[:] = -1
    assert store.get("k").tobytes() == GOOD.tobytes()
    many = store.get_many(["k", "before"])
    many[:] = -1
    assert store.get("k").tobytes() == GOOD.tobytes()


def test_get_many(store: EmbeddingStore) -> None:
    store.put_many(["a", "b"], [GOOD + 1, GOOD + 2])
    store.put("short", GOOD[:2])
    assert store.get_many([]).shape == (0, 0)
    assert store.get_many(("b", "a", "b"))[:, 0].tolist() == [2, 1, 2]
    for asked in (["a", "short"], ["short", "b", "a"]):
        for _ in range(2):  # cold and hot
            with pytest.raises(InvalidInputError, match=r"dimensions \[2, 4\]") as caught:
                store.get_many(asked)
            assert caught.value.kind == "mixed-dimensions"
            store.get("a"), store.get("short")
    with pytest.raises(NotFoundError, match="2 of 4 keys have no vector: 'x', 'y'"):
        store.get_many(["a", "x", "b", "y"])
    with pytest.raises(NotFoundError, match=r"9 of 9 keys .*: '0', '1', '2', \.\.\."):
        store.get_many(list("012345678"))


def test_unknown_names(store: EmbeddingStore) -> None:
    with pytest.raises(KeyError) as caught:
        store.get("absent")
    assert isinstance(caught.value, NotFoundError)
    assert (str(caught.value), caught.value.kind) == ("no vector for key 'absent'", "unknown-key")
    with pytest.raises(NotFoundError, match="no document 'absent'") as missing:
        store.document_keys("absent")
    assert missing.value.kind == "unknown-document"
    assert store.delete(["absent"]) == 0
    assert store.delete("before") == 1
    store.update_document("absent", [])
    assert store.documents() == []


def test_the_same_bits_again_write_nothing(store: EmbeddingStore) -> None:
    store.put("nan", np.array([0x7F800001], np.uint32).view(np.float32))
    before = store.stats()
    store.put("before", GOOD.copy())
    store.put("nan", np.array([0x7F800001], np.uint32).view(np.float32))
    store.update_document("doc", [("before", GOOD)])
    after = store.stats()
    assert after.segment_bytes == before.segment_bytes
    assert after.counters["unchanged"] == before.counters["unchanged"] + 3
    store.put("before", -GOOD * 0)
    assert np.signbit(store.get("before")).all()


def test_an_edit_writes_what_changed(store: EmbeddingStore) -> None:
    rng = np.random.default_rng(0)
    chunks = [(f"c{n}", rng.standard_normal(64).astype(np.float32)) for n in range(22)]
    store.update_document("file.py", chunks)
    before = store.stats().counters
    chunks[3] = ("c3", -chunks[3][1])
    chunks[5] = ("c5 changed", chunks[5][1])
    store.update_document("file.py", chunks)
    after = store.stats().counters
    assert after["written"] - before["written"] == 2
    assert after["replaced"] - before["replaced"] == 1
    assert after["deleted"] - before["deleted"] == 1
    assert store.document_keys("file.py") == [key for key, _ in chunks]


def test_a_closed_store(tmp_path: Path) -> None:
    store = EmbeddingStore.open(tmp_path, CONFIG)
    store.put("k", GOOD, "doc")
    row = store.get("k")
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.get("k"),
        lambda: store.get("absent"),
        lambda: store.get_many(["k"]),
        lambda: store.get_many([]),
        lambda: "k" in store,
        lambda: len(store),
        store.documents,
        lambda: store.document_keys("doc"),
        lambda: store.put("k", GOOD),
        lambda: store.update_document("doc", []),
        lambda: store.delete(["k"]),
        store.stats,
        store.check,
        store.maintain,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="open it again") as caught:
            call()
        assert caught.value.kind == "closed"
    assert row.tobytes() == GOOD.tobytes()
    with pytest.raises(ClosedError), store:
        store.get("k")


def test_a_store_opened_read_only(store: EmbeddingStore, tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path / "s", CONFIG, read_only=True) as reader:
        calls: list[Callable[[], object]] = [
            lambda: reader.put("k", GOOD),
            lambda: reader.update_document("doc", []),
            lambda: reader.delete(["before"]),
            reader.maintain,
        ]
        for call in calls:
            with pytest.raises(ReadOnlyError, match="open for reading only") as caught:
                call()
            assert caught.value.kind == "opened-read-only"
    assert_untouched(store)


def test_errors_of_the_tree_only(store: EmbeddingStore) -> None:
    """A key that is a str of a subclass, and odd but legal names."""

    class Text(str):
        __slots__ = ()

    for key in (Text("sub"), "\x00", " ", "🙂" * 120, "a" * 480, "0" * 32, "0" * 31):
        store.put(key, GOOD, key)
        assert store.get(str(key)).tobytes() == GOOD.tobytes()
        assert store.document_keys(str(key)) == [str(key)]
    assert store.check().is_clean
    assert issubclass(InvalidInputError, StoreError)
