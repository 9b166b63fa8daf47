"""Planes and marks after a kill between any two steps, a power cut and a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.marked import unmarked
from titanstore import EmbeddingStore, StorageError, StoreConfig, StoreError
from titanstore.segments import marks as marks_module

CONFIG = StoreConfig(durability="power_cut_may_lose_store", prefetch=False)

# A child that dies at its n-th write, sync, rename, removal or commit, as by kill -9
_DYING = """
import os, sys
import lmdb
import numpy as np
from titanstore import EmbeddingStore, StoreConfig

folder, change, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = StoreConfig(prefetch=False, search=change != "without rows")
object.__setattr__(config, "segment_bytes_max", 3_000)
store = EmbeddingStore.open(folder, config)
left = iter(range(step))

def dying(call, *, half=False):
    def wrapped(*args, **named):
        if next(left, None) is None:
            if half:
                call(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
            os.kill(os.getpid(), 9)
        return call(*args, **named)
    return wrapped

os.pwrite = dying(os.pwrite, half=True)
for name in ("fdatasync", "fsync", "rename", "unlink", "ftruncate"):
    setattr(os, name, dying(getattr(os, name)))
generation = store._generation
generation.bump = dying(generation.bump)
catalog = store._catalog
old_writing = catalog.writing
from contextlib import contextmanager
@contextmanager
def writing():
    with old_writing() as view:
        yield view
        next(left, None) is None and os.kill(os.getpid(), 9)
    next(left, None) is None and os.kill(os.getpid(), 9)
catalog.writing = writing

def vectors(seed, count=6, dimension=64):
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)

if change == "put":
    store.put_many([f"new {n}" for n in range(6)], vectors(7), "doc 9")
    store.put_many(["other"], vectors(8, 1, 65))
elif change in ("replace", "without rows"):
    store.put_many([f"0/{n}" for n in range(6)], vectors(9))
elif change == "update":
    store.update_document("doc 1", list(zip(["1/0", "1/x"], vectors(10, 2))))
elif change == "delete":
    store.delete([f"2/{n}" for n in range(6)])
else:
    store.maintain()
print("done", flush=True)
os.kill(os.getpid(), 9)
"""


def rows(seed: int, count: int = 6) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 64)).astype(np.float32)


def filled(folder: Path) -> None:
    config = StoreConfig(durability="power_cut_may_lose_store")
    object.__setattr__(config, "segment_bytes_max", 3_000)
    with EmbeddingStore.open(folder, config) as store:
        for turn in range(2):
            for document in range(3):
                keys = [f"{document}/{number}" for number in range(6)]
                store.put_many(keys, rows(10 * turn + document), f"doc {document}")


def assert_whole(store: EmbeddingStore) -> None:
    assert unmarked(store._catalog, store._reader) == []
    assert store.check().problems == ()


@pytest.mark.parametrize(
    "change", ["put", "replace", "without rows", "update", "delete", "maintain"]
)
def test_killed_between_any_two_steps(tmp_path: Path, change: str) -> None:
    """Marks hold at least the current rows, for readers at once and for the next writer."""
    step, is_done = 0, False
    while not is_done:
        folder = tmp_path / str(step)
        filled(folder)
        done = subprocess.run(
            [sys.executable, "-c", _DYING, str(folder), change, str(step)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == -9, done.stderr
        is_done = done.stdout == "done\n"
        with EmbeddingStore.open(folder, CONFIG, read_only=True) as reader:
            assert_whole(reader)
        with EmbeddingStore.open(folder, CONFIG) as store:
            assert_whole(store)
            store.put_many([f"later {number}" for number in range(6)], rows(77))
            store.put_many([f"0/{number}" for number in range(6)], rows(78), "doc 0")
            assert store.get_many(["later 0", "0/5"]).tobytes() == (
                rows(77)[0].tobytes() + rows(78)[5].tobytes()
            )
            store.maintain()
            assert_whole(store)
        # the more steps there are, the wider apart: the first and last of each kind are met
        step += 1 if step < 12 else 3
    assert step >= 5


def test_a_power_cut_makes_marks_unbelievable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was only in the kernel's memory may be older than the catalog, or not there."""
    filled(tmp_path)
    marks = sorted((tmp_path / "segments").glob("*.marks"))
    before = [path.read_bytes() for path in marks]
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many([f"0/{number}" for number in range(6)], rows(5), "doc 0")
        store.delete(["1/3"])
    for path, content in zip(marks, before, strict=True):
        path.write_bytes(content)
    marks[0].unlink()
    monkeypatch.setattr(marks_module, "boot_id", lambda: bytes(16))
    with EmbeddingStore.open(tmp_path, CONFIG, read_only=True) as reader:
        assert all(found is None for _, found in reader._reader.planes.current())
        assert reader.check().is_clean
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        assert_whole(store)
        marked = [
            found.tolist().count(1)
            for _, found in store._reader.planes.current()
            if found is not None
        ]
        assert sum(marked) == len(store), "made from the catalog, they are exact"


@pytest.mark.parametrize("suffix", [".plane", ".marks", ".seg"])
@pytest.mark.parametrize("dimension", [64, 65])
def test_no_space_for_one_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, dimension: int
) -> None:
    filled(tmp_path)
    pwrite = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if suffix in Path(f"/proc/self/fd/{descriptor}").readlink().name:
            pwrite(descriptor, bytes(data)[:3], offset)
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, data, offset)

    vector = np.arange(dimension, dtype=np.float32)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", full)
            changes: list[Callable[[], object]] = [
                lambda: store.put("new", vector),
                lambda: store.put_many(["1/0", "new"], [vector, vector], "doc 1"),
                lambda: store.update_document("doc 2", [("2/0", vector)]),
            ]
            for change in changes:
                with pytest.raises(StorageError) as caught:
                    change()
                assert caught.value.kind == "disk-full"
            assert "new" not in store
            assert store.get("1/0").tobytes() == rows(11)[0].tobytes()
            assert_whole(store)
        store.put_many(["1/0", "new"], [vector, vector], "doc 1")
        assert_whole(store)
        store.maintain()
        assert_whole(store)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        assert store.get("new").tobytes() == vector.tobytes()
        assert_whole(store)


def test_rows_of_failed_writes_do_not_count_as_rows_of_later_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record without a row may lie where one with a row was to lie."""
    config = StoreConfig(durability="power_cut_may_lose_store", search=False)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put("first", rows(1)[0])
        with monkeypatch.context() as patch:
            patch.setattr(
                "titanstore.changes.runs_of", lambda _: (_ for _ in ()).throw(KeyError("x"))
            )
            with pytest.raises(KeyError):
                store.put("lost", rows(2)[0], "doc")
    with EmbeddingStore.open(tmp_path, config) as store:
        store.put("second", rows(3)[0])
        with store._catalog.reading() as view:
            assert not view.all_have_rows()
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        plane = store._reader.planes.plane(1, 64)
        assert np.count_nonzero(plane.rows["offset"]) == 1
        store.maintain()
        with store._catalog.reading() as view:
            assert view.all_have_rows()
        assert_whole(store)
        assert store.get("second").tobytes() == rows(3)[0].tobytes()


_SEARCHING = """
import sys
import numpy as np
from titanstore import EmbeddingStore
with EmbeddingStore.open(sys.argv[1], read_only=True) as store:
    for line in sys.stdin:
        found = {(p.number, p.dimension): m for p, m in store._reader.planes.current()}
        missed = 0
        with store._catalog.reading() as view:
            for segment in view.segments():
                for offset in view.offsets(segment):
                    from titanstore.segments.layout import Address
                    record = store._reader.record(Address(segment, int(offset)))
                    missed += found[segment, record.header.dimension][record.row] != 1
        print(missed, len(store), flush=True)
"""


def test_another_process_sees_every_acknowledged_row_at_once(tmp_path: Path) -> None:
    filled(tmp_path)
    reader = subprocess.Popen(
        [sys.executable, "-c", _SEARCHING, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdin is not None
    assert reader.stdout is not None
    try:
        with EmbeddingStore.open(tmp_path, CONFIG) as store:
            for turn in range(12):
                store.put_many([f"{turn} {n}" for n in range(6)], rows(turn), f"doc {turn % 3}")
                store.delete([f"{turn} 1"])
                if turn % 4 == 3:
                    store.maintain()
                reader.stdin.write("\n")
                reader.stdin.flush()
                assert reader.stdout.readline().split() == ["0", str(len(store))]
    finally:
        reader.communicate()


def test_a_forked_child_leaves_planes_alone(tmp_path: Path) -> None:
    filled(tmp_path)
    code = """
import os, sys
import numpy as np
from titanstore import EmbeddingStore, StoreConfig, StoreError
store = EmbeddingStore.open(sys.argv[1], StoreConfig(prefetch=False))
vector = np.ones(64, np.float32)
store.put("before", vector)
child = os.fork()
if not child:
    good = store.get("before").tobytes() == vector.tobytes()
    good &= store.get("0/0").size == 64 and store.check().is_clean
    try:
        store.put("mine", vector)
    except StoreError:
        store.close()
        os._exit(0 if good else 3)
    os._exit(4)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
store.put("after", -vector)
store.delete(["before"])
assert store.check().is_clean
store.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        assert_whole(store)
        assert store.get("after")[0] == -1


def test_opening_a_store_with_a_damaged_plane_says_nothing_and_loses_nothing(
    tmp_path: Path,
) -> None:
    filled(tmp_path)
    path = sorted((tmp_path / "segments").glob("*.plane"))[0]
    whole = path.read_bytes()
    path.write_bytes(b"X" + whole[1:])
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        for key in (f"{document}/{number}" for document in range(3) for number in range(6)):
            try:
                store.get(key)
            except StoreError as error:
                assert path.name in str(error)  # noqa: PT017 - some are whole, some not
    path.write_bytes(whole)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        assert_whole(store)
