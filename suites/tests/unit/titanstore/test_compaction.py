"""Compaction gives space back and loses nothing, whatever stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.marked import unmarked
from titanstore import CorruptionError, EmbeddingStore, StorageError, StoreConfig
from titanstore import compaction as module
from titanstore.keys import stored_key
from titanstore.segments.marks import MarksWriter
from titanstore.segments.planes import PlaneWriter
from titanstore.segments.reader import SegmentReader
from titanstore.segments.writer import SegmentWriter

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


def test_space_comes_back_and_nothing_is_lost(filled: Filled) -> None:
    before = sum(files(filled.folder).values())
    dead = filled.store.stats().dead_bytes  # and as much again, or more, in planes
    done = filled.store.maintain()
    after = sum(files(filled.folder).values())
    assert done.segments_removed > 5
    assert before - after == done.bytes_freed > 0.7 * dead
    assert filled.is_whole(filled.store)
    stats = filled.store.stats()
    assert stats.segment_bytes + stats.plane_bytes == after
    filled.store.close()
    with EmbeddingStore.open(filled.folder, small_segments()) as store:
        assert filled.is_whole(store)
        store.maintain()
        assert filled.is_whole(store)


def test_records_moved_by_one_turn_are_not_written_over_by_the_next(tmp_path: Path) -> None:
    """Two dead segments; the copies of the first fill the last and begin a new one."""
    with EmbeddingStore.open(tmp_path, small_segments(1_200, compression=False)) as store:
        vectors = rows(8)
        store.put_many([f"k{number}" for number in range(8)], vectors)  # four a segment
        store.delete([f"k{number}" for number in range(1, 7)])
        kept = {f"k{n}": vectors[n].tobytes() for n in (0, 7)}
        for turn in range(5):
            store.maintain()
            assert {key: store.get(key).tobytes() for key in kept} == kept, turn
            assert store.check().is_clean
            store.put(f"more {turn}", rows(1)[0])


@pytest.mark.parametrize("size", [500, 1_000, 1_700, 3_000])
def test_many_sizes_of_segments(tmp_path: Path, size: int) -> None:
    filled = Filled(tmp_path, small_segments(size))
    for _ in range(4):
        filled.store.maintain()
        assert filled.is_whole(filled.store)
        filled.put(["0/3", "2/7", "alone"], rows(3), None)
    filled.store.close()


def test_an_emptied_store_gives_everything_back(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments()) as store:
        keys = [f"k{number}" for number in range(40)]
        store.put_many(keys, rows(40), "doc")
        store.delete(keys)
        store.maintain()
        assert sum(files(tmp_path).values()) == 32
        assert (store.stats().segment_bytes, store.stats().dead_bytes) == (32, 0)
        store.maintain()
        vector = rows(1)[0]
        store.put("again", vector)
    with EmbeddingStore.open(tmp_path, small_segments()) as store:
        assert store.get("again").tobytes() == vector.tobytes()
        assert store.check().is_clean


@pytest.mark.parametrize("read_first", [True, False])
def test_a_reader_goes_on_and_lets_the_removed_files_go(
    filled: Filled, *, read_first: bool
) -> None:
    with EmbeddingStore.open(filled.folder, small_segments(), read_only=True) as reader:
        if read_first:
            assert filled.is_whole(reader)
        filled.store.maintain()
        assert filled.is_whole(reader)
        reader.get("alone")
        mapped = {f"{number:05d}.seg" for number in reader._reader._views}
        assert mapped <= files(filled.folder).keys()


def test_kept_rows_stay_as_they_were(filled: Filled) -> None:
    kept = {key: filled.store.get(key) for key in filled.wanted}
    filled.store.maintain()
    filled.store.delete(list(filled.wanted))
    filled.store.maintain()
    filled.store.close()
    assert {key: row.tobytes() for key, row in kept.items()} == filled.wanted


def test_document_keys_while_segments_go(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document's view was made before its segments were compacted away."""
    with EmbeddingStore.open(filled.folder, small_segments(), read_only=True) as reader:
        wanted = ["1/0", "1/9", "shared"]
        filled.store.delete([key for key in filled.wanted if key not in wanted])
        assert filled.store.document_keys("doc 1") == wanted
        before = files(filled.folder).keys()
        head = SegmentReader.head
        turns = iter([True])

        def slow(self: SegmentReader, address: object) -> object:
            if self is reader._reader and next(turns, False):
                filled.store.maintain()
            return head(self, address)  # type: ignore[arg-type]

        monkeypatch.setattr(SegmentReader, "head", slow)
        assert reader.document_keys("doc 1") == wanted
        assert len(files(filled.folder)) < len(before) - 5
        assert reader.check().is_clean


def test_check_while_segments_go(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddingStore.open(filled.folder, small_segments(), read_only=True) as reader:
        record = SegmentReader.record
        turns = iter([*[False] * len(filled.wanted), True])

        def slow(self: SegmentReader, address: object) -> object:
            if self is reader._reader and next(turns, False):
                reader._reader.close()
                filled.store.maintain()
            return record(self, address)  # type: ignore[arg-type]

        monkeypatch.setattr(SegmentReader, "record", slow)
        assert reader.check().problems == ()


class Stop(BaseException):
    """As if the process were killed here."""


def _stop_at(count: int, original: Callable[..., object]) -> Callable[..., object]:
    left = iter(range(count))

    def wrapped(*args: object, **named: object) -> object:
        if next(left, None) is None:
            raise Stop
        return original(*args, **named)

    return wrapped


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (SegmentWriter, "append"),
        (SegmentWriter, "_write_all"),
        (module, "segment_path"),
        (module.Compaction, "_move"),
        (PlaneWriter, "append"),
        (PlaneWriter, "_open"),
        (PlaneWriter, "remove"),
        (MarksWriter, "put"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_stopped_between_any_two_steps(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, owner: object, step: str, count: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, _stop_at(count, getattr(owner, step)))
        with pytest.raises(Stop):
            filled.store.maintain()
    assert filled.is_whole(filled.store)
    filled.put(["1/1", "new"], rows(2), "doc 2")
    filled.wanted.pop("new")
    filled.store.delete(["new"])
    filled.put(["alone"], rows(1), None)
    filled.store.close()
    filled.store = EmbeddingStore.open(filled.folder, small_segments())
    assert filled.store.document_keys("doc 2")[-1] == "1/1"
    filled.store.maintain()
    assert {k: filled.store.get(k).tobytes() for k in filled.wanted} == filled.wanted
    assert filled.store.check().is_clean
    stats = filled.store.stats()
    left = sum(files(filled.folder).values()) - stats.segment_bytes - stats.plane_bytes
    # where a write failed behind the end of a segment, a shorter one may have followed
    assert 0 <= left < 20


def test_a_full_disk_stops_it_and_loses_nothing(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SegmentWriter, "_write_all", _refuse)
        with pytest.raises(StorageError) as caught:
            filled.store.maintain()
    assert caught.value.kind == "disk-full"
    assert filled.is_whole(filled.store)
    filled.store.maintain()
    assert filled.is_whole(filled.store)


def _refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_damage_is_never_copied_under_a_new_address(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(2**20)) as store:
        store.put_many(["a", "b", "c"], rows(3))
        at = store._cascade.cold.find_many([stored_key("a")])[0]
        assert at is not None
        store.delete(["b", "c"])
    with (tmp_path / "segments" / "00001.seg").open("r+b") as file:
        file.seek(at.end - 1)
        last = file.read(1)
        file.seek(at.end - 1)
        file.write(bytes([last[0] ^ 1]))
    with EmbeddingStore.open(tmp_path, small_segments(2**20)) as store:
        assert store.maintain().segments_removed == 0
        with pytest.raises(CorruptionError, match="'a'"):
            store.get("a")
        store.put("a", rows(1)[0])
        assert store.check().is_clean


def test_a_leftover_of_a_failed_write_does_not_stay_in_a_new_segment(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(1_000)) as store:
        store.put("first", rows(1)[0])
        for number in range(2, 8):
            (tmp_path / "segments" / f"{number:05d}.seg").write_bytes(b"\xff" * 50_000)
        keys = [f"k{number}" for number in range(12)]
        vectors = rows(12)
        store.put_many(keys, vectors)
        assert store.get_many(keys).tobytes() == vectors.tobytes()
        states = store.stats()
        used = [f"{number:05d}.seg" for number in range(1, states.segments + 1)]
        assert sum(files(tmp_path)[name] for name in used) == states.segment_bytes


# -- planes ----------------------------------------------------------------------------------------


def all_have_rows(store: EmbeddingStore) -> bool:
    with store._catalog.reading() as view:
        return view.all_have_rows()


def bfloat16_rows(count: int, dimension: int = 64) -> Vectors:
    words = rows(count, dimension).view(np.uint32) & np.uint32(0xFFFF0000)
    return words.view(np.float32)


def kinds_of(folder: Path) -> set[str]:
    return {name.rpartition(".")[2] for name in files(folder)}


def test_rows_move_with_their_records_and_old_planes_go(filled: Filled) -> None:
    before = set(files(filled.folder))
    assert unmarked(filled.store._catalog, filled.store._reader) == []
    filled.store.maintain()
    assert unmarked(filled.store._catalog, filled.store._reader) == []
    gone = before - set(files(filled.folder))
    assert {name.rpartition(".")[2] for name in gone} == {"seg", "plane", "marks"}
    segments = {name[:5] for name in files(filled.folder) if name.endswith(".seg")}
    assert {name[:5] for name in files(filled.folder)} == segments
    planes = [plane for plane, _ in filled.store._reader.planes.current()]
    assert sum(len(plane.rows) for plane in planes) < 2 * len(filled.wanted)


@pytest.mark.parametrize("compression", [True, False])
def test_a_store_gets_rows_and_gives_them_up_again(tmp_path: Path, *, compression: bool) -> None:
    vectors = [*bfloat16_rows(6), *rows(6, 65), rows(1)[0] * np.float32(np.nan)]
    keys = [f"k{number}" for number in range(len(vectors))]
    wanted = {key: vector.tobytes() for key, vector in zip(keys, vectors, strict=True)}
    search = small_segments(1_500, compression=compression)
    without = small_segments(1_500, compression=compression, search=False)

    def assert_holds(store: EmbeddingStore) -> None:
        assert {key: store.get(key).tobytes() for key in keys} == wanted
        assert store.check().is_clean
        assert unmarked(store._catalog, store._reader) == []

    with EmbeddingStore.open(tmp_path, without) as store:
        store.put_many(keys, vectors, "doc")
        assert kinds_of(tmp_path) == {"seg"}
        assert not all_have_rows(store)
        store.maintain()
        assert_holds(store)
    for _ in range(2):
        with EmbeddingStore.open(tmp_path, search) as store:
            assert not all_have_rows(store)
            store.maintain()
            assert all_have_rows(store)
            assert_holds(store)
            assert store.document_keys("doc") == keys
            assert kinds_of(tmp_path) == {"seg", "plane", "marks"}
            assert store.maintain().segments_removed == 0
        with EmbeddingStore.open(tmp_path, without) as store:
            assert all_have_rows(store)
            # what is rewritten now has no rows
            store.put_many(keys[:2], bfloat16_rows(2))
            wanted |= {key: store.get(key).tobytes() for key in keys[:2]}
            assert not all_have_rows(store)
            assert_holds(store)


def test_compaction_without_search_says_that_rows_are_missing(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(2**20)) as store:
        store.put_many(list("abcdef"), bfloat16_rows(6))
        store.delete(list("bcdef"))
        kept = store.get("a").tobytes()
    with EmbeddingStore.open(tmp_path, small_segments(2**20, search=False)) as store:
        assert all_have_rows(store)
        assert store.maintain().segments_removed == 1
        assert not all_have_rows(store)
        assert kinds_of(tmp_path) == {"seg"}
    with EmbeddingStore.open(tmp_path, small_segments(2**20)) as store:
        assert not all_have_rows(store)
        store.maintain()
        assert all_have_rows(store)
        assert store.get("a").tobytes() == kept


def test_a_damaged_vector_keeps_a_store_from_saying_that_all_have_rows(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(2**20, search=False)) as store:
        store.put_many(["a", "b"], bfloat16_rows(2))
        record = store._cascade.cold.find_many([stored_key("a")])[0]
        assert record is not None
    with (tmp_path / "segments" / "00001.seg").open("r+b") as file:
        file.seek(record.end - 1)
        file.write(b"\x55")
    with EmbeddingStore.open(tmp_path, small_segments(2**20)) as store:
        store.maintain()
        assert not all_have_rows(store)
        store.put("a", bfloat16_rows(1)[0])
        store.maintain()
        assert all_have_rows(store)
        assert store.check().is_clean


def test_segments_with_planes_keep_to_their_size(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(2_000)) as store:
        store.put_many(
            [f"k{number}" for number in range(60)], [*bfloat16_rows(30), *rows(30, 70)], "doc"
        )
        store.maintain()
        sizes = {name: size for name, size in files(tmp_path).items() if name.endswith(".seg")}
        assert len(sizes) > 5
        assert max(sizes.values()) <= 2_000
        assert store.stats().disk_bytes == (
            sum(files(tmp_path).values()) + store.stats().catalog_bytes
        )


def test_what_only_a_version_needs_is_marked_when_it_comes_back(tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path, small_segments(1_500)) as store:
        vectors = bfloat16_rows(8)
        keys = [f"k{number}" for number in range(8)]
        store.put_many(keys, vectors)
        version = store.snapshot()
        store.put_many(keys, bfloat16_rows(8))
        store.maintain()
        marked = [marks for _, marks in store._reader.planes.current() if marks is not None]
        assert sum(marks.tolist().count(1) for marks in marked) == 8
        store.rollback(version)
        assert unmarked(store._catalog, store._reader) == []
        assert store.get_many(keys).tobytes() == vectors.tobytes()


def test_a_set_of_offsets_is_a_set() -> None:
    offsets = np.array([2**32 - 1, 7, 0, 40], np.uint32)
    held = module._Offsets(offsets)
    assert [
        offset for offset in (0, 1, 7, 39, 40, 41, 2**32 - 1, 2**32) if offset in held
    ] == sorted(offsets.tolist())
    assert len(held) == 4
    assert not module._Offsets(offsets[:0])
