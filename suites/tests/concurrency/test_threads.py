"""One writer and many reading threads: no wrong, no stale vector, no error but the right one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from titanstore import BusyError, ClosedError, EmbeddingStore, NotFoundError, StoreConfig

Vector = NDArray[np.float32]
KEYS = [f"key {number}" for number in range(40)]
FAST: Final = "power_cut_may_lose_store"


def vector_of(place: int, version: int, dimension: int = 128) -> Vector:
    """Every value tells key and version, so that a mixture would show."""
    return np.full(dimension, version * 64 + place, np.float32)


def version_of(row: Vector, place: int) -> int:
    number = int(row[0])
    assert (row == row[0]).all()
    assert number % 64 == place
    return number // 64


class Errors:
    """Runs functions in threads and keeps what they raise."""

    def __init__(self) -> None:
        self.found: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def start(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # shown by `join`
                self.found.append(error)

        self.threads.append(threading.Thread(target=guarded))
        self.threads[-1].start()

    def join(self) -> None:
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive(), "deadlock"
        if self.found:
            raise self.found[0]


@pytest.mark.parametrize(
    "config",
    [
        StoreConfig(durability=FAST),
        StoreConfig(durability=FAST, policy="lru", bloom=True, compression=False),
        StoreConfig(durability=FAST, hot_bytes_max=6_000, memory_bytes_max=12_000, prefetch=True),
        StoreConfig(durability=FAST, hot_bytes_max=6_000, memory_bytes_max=9_000, prefetch=False),
    ],
    ids=["defaults", "lru bloom raw", "tiny", "tiny without prefetch"],
)
def test_readers_see_at_least_what_was_acknowledged(tmp_path: Path, config: StoreConfig) -> None:
    object.__setattr__(config, "segment_bytes_max", 40_000)
    acknowledged = [0] * len(KEYS)
    stop = threading.Event()
    errors = Errors()
    reads = [0, 0, 0, 0]
    store = EmbeddingStore.open(tmp_path, config)
    second = EmbeddingStore.open(tmp_path, config, read_only=True)
    vectors = np.array([vector_of(place, 0) for place in range(len(KEYS))])
    store.put_many(KEYS, vectors, "doc")

    def read(seed: int, opened: EmbeddingStore) -> None:
        rng = np.random.default_rng(seed)
        kept: list[tuple[Vector, bytes]] = []
        while not stop.is_set():
            if rng.random() < 0.1:
                places = rng.integers(0, len(KEYS), 10).tolist()
                wanted = [acknowledged[place] for place in places]
                rows = opened.get_many([KEYS[place] for place in places])
                for place, least, row in zip(places, wanted, rows, strict=True):
                    assert version_of(row, place) >= least
            place = int(rng.integers(len(KEYS)))
            least = acknowledged[place]
            row = opened.get(KEYS[place])
            assert version_of(row, place) >= least
            if rng.random() < 0.02:
                kept.append((row[3:], row[3:].tobytes()))
            reads[seed] += 1
        assert all(row.tobytes() == bits for row, bits in kept)

    def write() -> None:
        rng = np.random.default_rng(9)
        until = time.monotonic() + 1.2
        version = 0
        while time.monotonic() < until or not all(reads):
            if errors.found:
                break  # a reader that failed reads no more
            version += 1
            places = rng.choice(len(KEYS), 5, replace=False).tolist()
            chosen = [(KEYS[place], vector_of(place, version)) for place in places]
            if version % 3:
                store.put_many([key for key, _ in chosen], [row for _, row in chosen])
            else:
                whole = dict.fromkeys(KEYS) | dict(chosen)
                chunks = [
                    (key, vector_of(place, acknowledged[place]) if row is None else row)
                    for place, (key, row) in enumerate(whole.items())
                ]
                store.update_document("doc", chunks)
            for place in places:
                acknowledged[place] = version
            if version % 20 == 0:
                store.maintain()
        stop.set()

    for seed in range(4):
        errors.start(lambda seed=seed: read(seed, second if seed == 3 else store))  # type: ignore[misc]
    errors.start(write)
    errors.join()
    assert store.check().is_clean
    assert store.document_keys("doc") == KEYS
    assert min(reads) > 0
    second.close()
    store.close()


def test_close_while_others_read(tmp_path: Path) -> None:
    config = StoreConfig(durability=FAST, hot_bytes_max=3_000, memory_bytes_max=6_000)
    with EmbeddingStore.open(tmp_path, config) as store:
        vectors = np.array([vector_of(place, 1) for place in range(len(KEYS))])
        store.put_many(KEYS, vectors, "doc")
    for turn in range(25):
        store = EmbeddingStore.open(tmp_path, config, read_only=turn % 2 == 0)
        errors = Errors()
        refused: list[int] = []

        def read(kind: int, store: EmbeddingStore = store, refused: list[int] = refused) -> None:
            try:
                while True:
                    for place, key in enumerate(KEYS):
                        if kind == 0:
                            assert version_of(store.get(key), place) == 1
                        elif kind == 1:
                            assert key in store
                            assert len(store) == len(KEYS)
                        else:
                            assert version_of(store.get_many([key, key])[1], place) == 1
                            assert store.document_keys("doc") == KEYS
            except ClosedError:
                refused.append(kind)

        for kind in range(3):
            errors.start(lambda kind=kind, read=read: read(kind))  # type: ignore[misc]
        time.sleep(0.01)
        store.close()
        store.close()
        errors.join()
        assert sorted(refused) == [0, 1, 2]
        with pytest.raises(ClosedError):
            store.get(KEYS[0])


def test_the_catalog_grows_under_reading_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.catalog.environment._MAP_BYTES_FIRST", 1 << 16)
    config = StoreConfig(durability=FAST, hot_bytes_max=0)
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put_many(KEYS, [vector_of(place, 1) for place in range(len(KEYS))], "doc")
        first = store._catalog._environment.info()["map_size"]
        stop = threading.Event()
        errors = Errors()

        def read() -> None:
            while not stop.is_set():
                for place, key in enumerate(KEYS):
                    assert version_of(store.get(key), place) == 1
                assert store.document_keys("doc") == KEYS

        for _ in range(2):
            errors.start(read)
        for turn in range(8):
            vectors = np.arange(2_000, dtype=np.float32)[:, None] + turn
            store.put_many([f"{turn} {number}" for number in range(2_000)], vectors, f"d {turn}")
        stop.set()
        errors.join()
        assert store._catalog._environment.info()["map_size"] >= 4 * first
        assert store.check().is_clean


def test_a_writer_opened_where_the_map_has_grown_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.catalog.environment._MAP_BYTES_FIRST", 1 << 16)
    with EmbeddingStore.open(tmp_path, StoreConfig(durability=FAST)) as store:
        for number in range(40):
            names = [f"{number} {place}" for place in range(200)]
            store.put_many(names, np.full((200, 1), number, np.float32))
        assert len(store) == 8_000
    with EmbeddingStore.open(tmp_path, StoreConfig(durability=FAST)) as store:
        assert len(store) == 8_000


def test_two_writers_of_one_process(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        with pytest.raises(BusyError, match="open for writing by process") as caught:
            EmbeddingStore.open(tmp_path, StoreConfig())
        assert caught.value.kind == "already-open"
        store.put("k", vector_of(0, 1))
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        assert "k" in store


def test_a_reader_first_then_a_writer_of_one_process(tmp_path: Path) -> None:
    EmbeddingStore.open(tmp_path, StoreConfig()).close()
    with EmbeddingStore.open(tmp_path, read_only=True), pytest.raises(BusyError, match="read-only"):
        EmbeddingStore.open(tmp_path, StoreConfig())
    EmbeddingStore.open(tmp_path, StoreConfig()).close()


def test_a_relaxed_environment_is_not_used_for_durable_writes(tmp_path: Path) -> None:
    """A reader keeps the environment of a writer that did not sync."""
    relaxed = EmbeddingStore.open(tmp_path, StoreConfig(durability=FAST))
    with EmbeddingStore.open(tmp_path, StoreConfig(), read_only=True):
        relaxed.close()
        with pytest.raises(BusyError, match="durability"):
            EmbeddingStore.open(tmp_path, StoreConfig())
        EmbeddingStore.open(tmp_path, StoreConfig(durability=FAST)).close()
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        assert store._catalog._environment.flags()["sync"]


def test_two_objects_share_what_is_written(tmp_path: Path) -> None:
    with (
        EmbeddingStore.open(tmp_path, StoreConfig()) as writer,
        EmbeddingStore.open(tmp_path, StoreConfig(), read_only=True) as reader,
    ):
        for version in range(50):
            writer.put("k", vector_of(0, version), "doc")
            assert version_of(reader.get("k"), 0) == version
            assert version_of(reader.get("k"), 0) == version
        writer.delete(["k"])
        with pytest.raises(NotFoundError):
            reader.get("k")
        writer.close()
        assert len(reader) == 0


def test_many_threads_open_and_close(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        store.put("k", vector_of(0, 3))
    errors = Errors()

    def work() -> None:
        for _ in range(20):
            with EmbeddingStore.open(tmp_path, StoreConfig(), read_only=True) as opened:
                assert version_of(opened.get("k"), 0) == 3

    for _ in range(4):
        errors.start(work)
    errors.join()
    EmbeddingStore.open(tmp_path, StoreConfig()).close()
