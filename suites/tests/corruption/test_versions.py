"""One damaged byte of the catalog: no read as of a version gives another vector.

LMDB has no checksums. Each byte of the pages that versions are read from is changed in turn, in a
copy of a small store, and everything is read as of each version: the vector it had, or an error.
Where a read failed, `check` lists something.
"""

from __future__ import annotations

import faulthandler
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from suites.tests.corruption.versioned import FAST, Wanted, holdings
from titanstore import EmbeddingStore, StoreError
from titanstore.keys import stored_key

PAGE = 4096


def root_page(data: bytes, name: bytes) -> int:
    """The offset of the one page of a small named database."""
    meta = max((0, PAGE), key=lambda at: struct.unpack_from("<Q", data, at + 144)[0])
    (main,) = struct.unpack_from("<Q", data, meta + 128)
    at = data.index(struct.pack("<HH", 2, len(name)) + name, main * PAGE, (main + 1) * PAGE)
    (root,) = struct.unpack_from("<Q", data, at + 4 + len(name) + 40)
    return int(root) * PAGE


def used_bytes(data: bytes, page: int) -> list[int]:
    """Offsets of the bytes of a page that are not 0."""
    return [at for at in range(page, page + PAGE) if data[at]]


def read_all(folder: Path, wanted: Wanted) -> Iterator[str]:
    """What is wrong with what the store says."""
    failed = 0
    keys = sorted({key for vectors in wanted.values() for key in vectors})
    try:
        with EmbeddingStore.open(folder, FAST, read_only=True) as store:
            for number, vectors in wanted.items():
                for key in keys:
                    try:
                        seen = store.at(number).get(key).tobytes()
                    except StoreError:
                        failed += key in vectors
                    else:
                        if seen != vectors.get(key):
                            yield f"{key} as of {number}"
            if failed and not store.check().problems:
                yield f"{failed} reads failed, and check finds nothing"
    except StoreError:
        pass


def flipped(
    base: Path, wanted: Wanted, offsets: list[int], bits: Callable[[int], int]
) -> list[str]:
    """Each byte in turn, in forked processes: LMDB ends one that meets some damaged pages.

    What it had read before was right all the same.
    """
    data = (base / "catalog" / "data.mdb").read_bytes()
    told = base.parent / "told"
    found: list[str] = []
    left = list(offsets)
    while left:
        told.write_text("")
        pid = os.fork()
        if not pid:
            faulthandler.disable()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with told.open("a", buffering=1) as said:
                for at in left:
                    said.write(f"{at}\n")
                    folder = base.parent / "store"
                    shutil.rmtree(folder, ignore_errors=True)
                    shutil.copytree(base, folder)
                    changed = bytearray(data)
                    changed[at] ^= bits(at)
                    (folder / "catalog" / "data.mdb").write_bytes(changed)
                    try:
                        for wrong in read_all(folder, wanted):
                            said.write(f"byte {at}: {wrong}\n")
                    except BaseException as error:
                        said.write(f"byte {at}: {error!r}\n")
            os._exit(0)
        os.waitpid(pid, 0)
        lines = told.read_text().splitlines()
        begun = [line for line in lines if line.isdecimal()]
        assert begun
        found += [line for line in lines if not line.isdecimal()]
        left = left[len(begun) :]
    return found


def test_the_pages_are_those_that_are_read(base: Path) -> None:
    """Or a test that damages them would hold nothing down."""
    data = (base / "catalog" / "data.mdb").read_bytes()
    fingerprint = stored_key("a1").fingerprint()
    for name, held in (
        (b"changes", b"\0\0\0\1e" + fingerprint),
        (b"versions", b"three"),
        (b"meta", b"next-version"),
    ):
        page = root_page(data, name)
        assert held in data[page : page + PAGE]


@pytest.mark.parametrize("name", [b"changes", b"versions"])
def test_one_flipped_bit_of_a_page(base: Path, name: bytes) -> None:
    data = (base / "catalog" / "data.mdb").read_bytes()
    offsets = used_bytes(data, root_page(data, name))
    rng = np.random.default_rng()
    chosen = sorted(rng.choice(offsets, 60, replace=False).tolist())
    assert flipped(base, holdings(base), chosen, lambda at: 1 << at % 8) == []


@pytest.mark.parametrize("name", [b"changes", b"versions", b"meta"])
def test_every_byte_of_a_page_flipped(base: Path, name: bytes) -> None:
    data = (base / "catalog" / "data.mdb").read_bytes()
    offsets = used_bytes(data, root_page(data, name))
    rng = np.random.default_rng()
    for bits in (lambda at: 1 << at % 8, lambda _: int(rng.integers(1, 256))):
        assert flipped(base, holdings(base), offsets, bits) == []


def always(bits: int) -> Callable[[int], int]:
    return lambda _: bits


def branch(folder: Path, name: str) -> tuple[Wanted, list[int]]:
    """A store whose database has a page above its leaves: what to read, and bytes of that page."""
    keys = [f"key {number}" for number in range(600)]
    with EmbeddingStore.open(folder, FAST) as store:
        store.put_many(keys, np.ones((600, 4), np.float32))
        store.snapshot()
        store.put_many(keys, np.zeros((600, 4), np.float32))
    data = (folder / "catalog" / "data.mdb").read_bytes()
    page = root_page(data, name.encode())
    if name == "entries":  # duplicates of one key have a tree of their own
        (root,) = struct.unpack_from("<Q", data, data.index(b"\1\0e", page, page + PAGE) + 43)
        page = root * PAGE
    assert struct.unpack_from("<H", data, page + 10)[0] == 1  # not a leaf: keys of its pages
    wanted = {1: dict.fromkeys(keys[::5], np.ones(4, np.float32).tobytes())}
    return wanted, [at for at in used_bytes(data, page) if at - page >= 16]


@pytest.mark.parametrize("name", ["changes", "entries"])
def test_one_flipped_bit_of_a_branch(tmp_path: Path, name: str) -> None:
    """A walk finds all records and a search by a key goes astray, or a walk is led back."""
    wanted, offsets = branch(tmp_path / "base", name)
    chosen = sorted(np.random.default_rng().choice(offsets, 24, replace=False).tolist())
    assert flipped(tmp_path / "base", wanted, chosen, lambda at: 128 >> at % 8) == []


@pytest.mark.parametrize("name", ["changes", "entries"])
def test_every_byte_of_a_page_above_the_leaves(tmp_path: Path, name: str) -> None:
    wanted, offsets = branch(tmp_path / "base", name)
    for bit in np.random.default_rng().choice(8, 2, replace=False).tolist():
        assert flipped(tmp_path / "base", wanted, offsets, always(1 << bit)) == []
