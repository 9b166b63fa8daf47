"""A write that the disk refuses is not seen, and the next one works."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from titanstore import EmbeddingStore, ReadOnlyError, StorageError, StoreConfig

VECTOR = np.arange(64, dtype=np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path, StoreConfig(compression=False)) as opened:
        opened.put("before", VECTOR, "doc")
        yield opened


CHANGES: dict[str, Callable[[EmbeddingStore], None]] = {
    "put": lambda store: store.put("new", VECTOR),
    "replace": lambda store: store.put_many(["before", "new"], [-VECTOR, VECTOR], "doc"),
    "update": lambda store: store.update_document("doc", [("new", VECTOR)]),
}


def assert_nothing_happened(store: EmbeddingStore) -> None:
    assert "new" not in store
    assert len(store) == 1
    assert store.get("before").tobytes() == VECTOR.tobytes()
    assert store.document_keys("doc") == ["before"]
    assert store.check().is_clean


@pytest.mark.parametrize(
    ("number", "error", "kind"),
    [
        (errno.ENOSPC, StorageError, "disk-full"),
        (errno.EDQUOT, StorageError, "disk-full"),
        (errno.EIO, StorageError, "io-failed"),
        (errno.EROFS, ReadOnlyError, "read-only-disk"),
    ],
)
@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_disk_refuses_the_segment(
    store: EmbeddingStore,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    error: type[Exception],
    kind: str,
    change: str,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(error) as caught:
            CHANGES[change](store)
    assert getattr(caught.value, "kind", None) == kind
    assert_nothing_happened(store)
    store.put("new", -VECTOR, "doc")
    assert store.get("new").tobytes() == (-VECTOR).tobytes()
    store.close()
    with EmbeddingStore.open(store._folder.path, StoreConfig()) as again:
        assert again.get("new").tobytes() == (-VECTOR).tobytes()
        assert again.check().is_clean


def test_a_short_write_is_carried_on(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:7], at))
    store.put("new", -VECTOR)
    monkeypatch.undo()
    store.close()
    with EmbeddingStore.open(store._folder.path, StoreConfig()) as again:
        assert again.get("new").tobytes() == (-VECTOR).tobytes()


def test_interrupted_after_the_commit_nothing_old_is_served(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the commit and the word to the tiers."""
    reader = EmbeddingStore.open(store._folder.path, StoreConfig(), read_only=True)
    assert store.get("before")[1] == reader.get("before")[1] == 1

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store._cascade, "invalidate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.put("before", -VECTOR)
    for either in (store, reader):
        assert either.get("before").tobytes() == (-VECTOR).tobytes()
        assert either.get("before").tobytes() == (-VECTOR).tobytes()
    reader.close()


# RLIMIT_FSIZE makes write() fail with EFBIG, as a full disk does, in segments and in LMDB
_LIMITED = """
import resource, sys
import numpy as np
from titanstore import EmbeddingStore, StorageError, StoreConfig

folder, document = sys.argv[1], sys.argv[2] or None
store = EmbeddingStore.open(folder, StoreConfig(compression=False))
def vector(number):
    return np.full(int(sys.argv[3]), number, np.float32)
stored = 0
for limit in (60_000, 90_000, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    failed = 0
    for _ in range(600):
        try:
            store.put(f"key {stored}", vector(stored), document and f"{document} {stored // 50}")
        except StorageError as error:
            failed += 1
            assert error.kind in ("disk-full", "io-failed"), error.kind
            assert f"key {stored}" not in store
            if failed > 3:
                break
        else:
            stored += 1
    assert len(store) == stored
    assert all((store.get(f"key {n}") == n).all() for n in range(stored))
    assert store.check().problems == ()
    print(failed > 3, stored, flush=True)
store.close()
"""


@pytest.mark.parametrize(
    ("document", "dimension"), [("", 256), ("doc", 256), ("", 1), ("d" * 400, 1)]
)
def test_files_may_not_grow(tmp_path: Path, document: str, dimension: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path), document, str(dimension)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert lines[4] == "False"
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        assert len(store) == int(lines[5])
        assert store.check().is_clean


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill_up(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def test_a_full_disk(small_disk: Path) -> None:
    folder, ballast = small_disk / "store", small_disk / "ballast"
    with EmbeddingStore.open(folder, StoreConfig(compression=False)) as store:
        store.put("before", VECTOR)
        fill_up(ballast)
        kinds = set()
        stored = 0
        for number in range(500):
            try:
                store.put(f"key {number}", VECTOR + number)
                stored += 1
            except StorageError as error:
                kinds.add(str(error.kind))
        assert kinds
        assert kinds <= {"disk-full", "io-failed"}
        assert len(store) == 1 + stored
        assert store.check().is_clean
        with EmbeddingStore.open(folder, StoreConfig(), read_only=True) as reader:
            assert reader.get("before").tobytes() == VECTOR.tobytes()
        ballast.unlink()
        store.put("after", VECTOR)
        store.maintain()
    with EmbeddingStore.open(folder, StoreConfig()) as store:
        assert store.get("after").tobytes() == VECTOR.tobytes()
        assert store.check().is_clean


def test_no_room_for_a_new_store(small_disk: Path) -> None:
    fill_up(small_disk / "ballast")
    with pytest.raises(StorageError) as caught:
        EmbeddingStore.open(small_disk / "store", StoreConfig())
    assert caught.value.kind in ("disk-full", "io-failed")
    (small_disk / "ballast").unlink()
    with EmbeddingStore.open(small_disk / "store", StoreConfig()) as store:
        store.put("k", VECTOR)
        assert store.check().is_clean


def test_a_disk_mounted_read_only(small_disk: Path) -> None:
    folder = small_disk / "store"
    with EmbeddingStore.open(folder, StoreConfig(bloom=True)) as store:
        store.put("k", VECTOR, "doc")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ReadOnlyError) as caught:
        EmbeddingStore.open(folder, StoreConfig())
    assert caught.value.kind == "read-only-disk"
    with EmbeddingStore.open(folder, StoreConfig(bloom=True), read_only=True) as store:
        assert store.get("k").tobytes() == VECTOR.tobytes()
        assert store.document_keys("doc") == ["k"]
        assert store.check().is_clean
        with pytest.raises(ReadOnlyError) as caught:
            store.put("k2", VECTOR)
        assert caught.value.kind == "opened-read-only"
    with pytest.raises(ReadOnlyError):
        EmbeddingStore.open(small_disk / "another", StoreConfig())


def test_an_open_that_the_disk_refuses_keeps_nobody_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock's file could be taken, and then not be looked at: the lock must not stay held."""
    EmbeddingStore.open(tmp_path).close()
    look = os.stat

    def refused(path: str, *rest: object, **others: object) -> os.stat_result:
        if str(path).endswith("LOCK"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return look(path, *rest, **others)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refused)
        with pytest.raises(StorageError) as caught:
            EmbeddingStore.open(tmp_path)
        assert caught.value.kind.value == "io-failed"
    EmbeddingStore.open(tmp_path).close()


# A limit below the length of the file STORE: the kernel writes a part of it and says so, no error
_TORN_HEADER = """
import resource, sys
import numpy as np
from titanstore import EmbeddingStore, StorageError, StoreConfig

unlimited = resource.RLIM_INFINITY
store = EmbeddingStore.open(sys.argv[1], StoreConfig())
store.put("before", np.arange(64, dtype=np.float32))
resource.setrlimit(resource.RLIMIT_FSIZE, (20, unlimited))
try:
    store.snapshot("first")  # raises the format of the store: STORE is written anew
except StorageError as error:
    kind = error.kind
resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
print(kind)
"""


def test_a_header_that_the_disk_took_in_part_replaces_no_whole_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TORN_HEADER, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "disk-full\n"), done.stderr
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        assert store.get("before").tobytes() == VECTOR.tobytes()
        assert store.check().is_clean
        store.snapshot("first")


_BLOOM_ON_A_FULL_DISK = """
import sys
import numpy as np
from titanstore import EmbeddingStore, StorageError, StoreConfig

vector = np.arange(64, dtype=np.float32)
try:
    with EmbeddingStore.open(sys.argv[1], StoreConfig(bloom=True)) as store:
        for number in range(2_000):
            store.put_many([f"{number} {other}" for other in range(8)], np.tile(vector, (8, 1)))
except StorageError as error:
    print(error.kind)
"""


def test_a_bloom_filter_on_a_full_disk_is_an_error_and_no_signal(small_disk: Path) -> None:
    """Its bits are set through a mapping: a page that the disk has no room for is a SIGBUS."""
    with EmbeddingStore.open(small_disk / "store", StoreConfig()) as store:
        store.put("before", VECTOR)
    ballast = small_disk / "ballast"
    fill_up(ballast)
    os.truncate(ballast, ballast.stat().st_size - 8192)  # room for its first page
    done = subprocess.run(
        [sys.executable, "-c", _BLOOM_ON_A_FULL_DISK, str(small_disk / "store")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "disk-full\n"), done.stderr
    ballast.unlink()
    with EmbeddingStore.open(small_disk / "store", StoreConfig(bloom=True)) as store:
        assert store.get("before").tobytes() == VECTOR.tobytes()
        assert store.check().is_clean


def test_a_catalog_that_cannot_be_looked_at_keeps_no_transaction(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write transaction left open would keep every writer of every process off, for good."""
    look = os.stat

    def refused(path: str, *rest: object, **others: object) -> os.stat_result:
        if str(path).endswith("data.mdb"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return look(path, *rest, **others)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refused)
        with pytest.raises(StorageError) as caught:  # kept, and with it its frames
            store.put("new", VECTOR)
    assert caught.value.kind.value == "io-failed"
    assert_nothing_happened(store)
    store.put("new", -VECTOR)
    assert store.get("new").tobytes() == (-VECTOR).tobytes()
