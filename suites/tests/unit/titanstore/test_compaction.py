"""Compaction gives space back and loses nothing, whatever stops it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from suites.tests.unit.titanstore import compacted
from suites.tests.unit.titanstore.compacted import Filled, files, rows, small_segments
from titanstore import CorruptionError, EmbeddingStore, StorageError
from titanstore import compaction as module
from titanstore.keys import stored_key
from titanstore.segments.marks import MarksWriter
from titanstore.segments.planes import PlaneWriter
from titanstore.segments.reader import SegmentReader
from titanstore.segments.writer import SegmentWriter

filled = compacted.filled  # a fixture


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


def test_a_set_of_offsets_is_a_set() -> None:
    offsets = np.array([2**32 - 1, 7, 0, 40], np.uint32)
    held = module._Offsets(offsets)
    assert [
        offset for offset in (0, 1, 7, 39, 40, 41, 2**32 - 1, 2**32) if offset in held
    ] == sorted(offsets.tolist())
    assert len(held) == 4
    assert not module._Offsets(offsets[:0])
