"""One damaged byte of the catalog: no read as of a version gives another vector.

LMDB has no checksums. Each byte of the pages that versions are read from is changed in turn, in a
copy of a small store, and everything is read as of each version: the vector it had, or an error.
Where a read failed, `check` lists something.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from titanstore import CorruptionError, EmbeddingStore, StoreConfig, StoreError
from titanstore.catalog import change_sums
from titanstore.catalog.change_sums import PREFIX, SHARES
from titanstore.catalog.history import ENTRIES
from titanstore.catalog.views import CatalogWriter
from titanstore.keys import stored_key

FAST = StoreConfig(
    durability="power_cut_may_lose_store", search=False, publish=False, prefetch=False
)
KEYS = ("a0", "a1", "b0", "b1")
PAGE = 4096
Wanted = dict[int, dict[str, bytes]]


def row(value: float) -> np.ndarray:
    return np.full(8, value, np.float32)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Three versions: keys replaced, deleted and added, and documents changed, between them."""
    with EmbeddingStore.open(tmp_path / "base", FAST) as store:
        store.put_many(["a0", "a1"], [row(1), row(2)], "x.py")
        store.put_many(["b0"], [row(3)], "y.py")
        store.snapshot("one")
        store.put_many(["a1", "b1"], [row(4), row(5)], "x.py")
        store.snapshot("two")
        store.update_document("y.py", [("b0", row(6))])
        store.snapshot("three")
        store.delete(["a1"])
        store.put("b0", row(7))
    return tmp_path / "base"


def holdings(folder: Path) -> Wanted:
    with EmbeddingStore.open(folder, FAST, read_only=True) as store:
        views = {version.number: store.at(version) for version in store.versions()}
        return {
            number: {key: view.get(key).tobytes() for key in KEYS if key in view}
            for number, view in views.items()
        }


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


# -- each way in which a record can be missed ----------------------------------------------

DAMAGES: dict[str, Callable[[CatalogWriter], object]] = {}


def damage(change: Callable[[CatalogWriter], object]) -> Callable[[CatalogWriter], object]:
    DAMAGES[change.__name__.replace("_", " ")] = change
    return change


def record_of(view: CatalogWriter) -> tuple[bytes, bytes]:
    place = ENTRIES + stored_key("a1").fingerprint()
    found = view.history.recorded(1, place)
    assert found
    return b"\0\0\0\1" + place, found


def rewrite(view: CatalogWriter, database: str, old: bytes, new: bytes, value: bytes) -> None:
    """As damage does it: no sum is told."""
    view._transaction.delete(old, db=view._databases[database])
    view._transaction.put(new, value, db=view._databases[database])


@damage
def a_key_of_a_record(view: CatalogWriter) -> None:
    key, value = record_of(view)
    rewrite(view, "changes", key, key[:-1] + bytes((key[-1] ^ 1,)), value)


@damage
def a_value_of_a_record(view: CatalogWriter) -> None:
    """It leads to the record of the same key that version 2 has."""
    key, _ = record_of(view)
    later = view.lookup_many([key[5:]])[0] or view.at(3).lookup_many([key[5:]])[0]
    rewrite(view, "changes", key, key, later[0].pack())


@damage
def a_record_gone(view: CatalogWriter) -> None:
    view._transaction.delete(record_of(view)[0], db=view._databases["changes"])


@damage
def a_record_of_another_version(view: CatalogWriter) -> None:
    key, value = record_of(view)
    rewrite(view, "changes", key, b"\0\0\0\2" + key[4:], value)


@damage
def a_sum_changed(view: CatalogWriter) -> None:
    stored = view._transaction.get(PREFIX + b"\0\0\0\1", db=view._databases["meta"])
    assert stored is not None
    found = bytearray(stored)
    for at in range(0, len(found), 8):
        found[at] ^= 1
    view._transaction.put(PREFIX + b"\0\0\0\1", bytes(found), db=view._databases["meta"])


@damage
def sums_cut_short(view: CatalogWriter) -> None:
    view._transaction.put(PREFIX + b"\0\0\0\1", b"short", db=view._databases["meta"])


@damage
def a_number_of_a_version(view: CatalogWriter) -> None:
    meant = view._databases["versions"]
    value = view._transaction.get(b"\0\0\0\2", db=meant)
    assert value is not None
    rewrite(view, "versions", b"\0\0\0\2", b"\0\0\1\2", value)


@damage
def all_versions(view: CatalogWriter) -> None:
    view._transaction.drop(view._databases["versions"], delete=False)


@damage
def all_changes(view: CatalogWriter) -> None:
    view._transaction.drop(view._databases["changes"], delete=False)


@damage
def the_number_of_the_next_version(view: CatalogWriter) -> None:
    view._transaction.delete(b"next-version", db=view._databases["meta"])


@damage
def the_state_of_a_version(view: CatalogWriter) -> None:
    """It looks given up."""
    meant = view._databases["versions"]
    stored = view._transaction.get(b"\0\0\0\1", db=meant)
    assert stored is not None
    value = bytearray(stored)
    value[21] = 1
    view._transaction.put(b"\0\0\0\1", bytes(value), db=meant)


@pytest.mark.parametrize("name", DAMAGES)
def test_it_is_an_error_and_listed(base: Path, name: str) -> None:
    """And nothing that would pass the damage on is done."""
    with EmbeddingStore.open(base, FAST) as store:
        present = {key: store.get(key).tobytes() for key in KEYS if key in store}
        with store._catalog.writing() as view:
            DAMAGES[name](view)
    with EmbeddingStore.open(base, FAST) as store:
        for call in (
            lambda: store.at(1).get("a1"),
            lambda: store.at(1).keys(),
            lambda: store.diff(1),
            lambda: store.rollback(1),
        ):
            with pytest.raises(CorruptionError) as caught:
                call()
            assert caught.value.kind == "bad-catalog"
        assert store.check().problems
        assert {key: store.get(key).tobytes() for key in present} == present
        store.put("new", row(9))  # the present goes on
        assert store.get("new").tobytes() == row(9).tobytes()


def test_damage_is_not_handed_to_the_version_before(base: Path) -> None:
    with EmbeddingStore.open(base, FAST) as store:
        store.tag(1, "kept")
        with store._catalog.writing() as view:
            key, value = record_of(view)
            view.history.forget(1, key[4:])  # so that it would inherit that of version 2
            view.history.record(2, key[4:], value)
            view._transaction.put(b"\0\0\0\2" + key[4:], b"", db=view._databases["changes"])
        with pytest.raises(CorruptionError, match="since version 2 is damaged"):
            store.drop_versions(keep=0)
        store.untag("kept")
        assert store.drop_versions(keep=0) == 3
        assert store.versions() == []
        assert store.check().is_clean


def test_compaction_leaves_a_damaged_history_as_it_is(base: Path) -> None:
    with EmbeddingStore.open(base, FAST) as store:
        with store._catalog.writing() as view:
            a_record_gone(view)
        assert store.maintain().segments_removed == 0
        assert "records are lost or changed" in store.check().problems[0].message


def test_a_version_without_sums_is_read_and_the_next_one_gets_them(base: Path) -> None:
    """As a store of format 2 has it."""
    wanted = holdings(base)
    with EmbeddingStore.open(base, FAST) as store, store._catalog.writing() as view:
        for number in (1, 2, 3):
            view.history.sums.remove_version(number.to_bytes(4, "big"))
    header = json.loads((base / "STORE").read_text())
    (base / "STORE").write_text(json.dumps({**header, "format": 2}))
    with EmbeddingStore.open(base, FAST) as store:
        assert store.check().is_clean
        store.put("a0", row(11))
        with store._catalog.reading() as view:
            assert not view.history.has_sums()
        assert json.loads((base / "STORE").read_text())["format"] == 2
        store.snapshot("four")
        assert json.loads((base / "STORE").read_text())["format"] == 3
        store.put("a0", row(12))
        assert store.check().is_clean
        with store._catalog.writing() as view:
            assert list(view.history.sums.versions()) == [b"\0\0\0\4"]
            view._transaction.delete(
                b"\0\0\0\4e" + stored_key("a0").fingerprint(), db=view._databases["changes"]
            )
    # what the process had counted before, it would believe
    with EmbeddingStore.open(base, FAST) as store:
        with pytest.raises(CorruptionError, match="since version 4 is damaged"):
            store.at("four").get("a0")
        with pytest.raises(CorruptionError, match="since version 4 is damaged"):
            store.at("four").keys()
        with store._catalog.writing() as view:
            view.history.sums.remove_version(b"\0\0\0\4")
        assert {number: store.at(number).get("a0").tobytes() for number in wanted} == {
            number: vectors["a0"] for number, vectors in wanted.items()
        }


def test_a_lost_counter_of_documents_is_listed_and_no_document_is_written_over(base: Path) -> None:
    with EmbeddingStore.open(base, FAST) as store:
        before = store.document_keys("x.py")
        with store._catalog.writing() as view:
            view._transaction.delete(b"next-document", db=view._databases["meta"])
        (problem,) = store.check().problems
        assert "next-document is lost" in problem.message
        with pytest.raises(CorruptionError, match="next-document is lost"):
            store.put_many(["new"], [row(1)], "new.py")
        assert store.document_keys("x.py") == before


def test_what_a_process_counted_once_it_counts_again_when_another_has_changed_it(
    base: Path,
) -> None:
    """A reader beside a writer: right values, at every moment, and only what changed is counted."""
    with (
        EmbeddingStore.open(base, FAST) as store,
        EmbeddingStore.open(base, FAST, read_only=True) as reader,
    ):
        wanted = holdings(base)
        for step in range(40):
            store.put(f"more {step}", row(step))
            assert reader.at(3).get("b0").tobytes() == wanted[3]["b0"]
            assert f"more {step}" not in reader.at(3)
            with reader._catalog.reading() as view:
                view.history.verify(3, SHARES)


def test_sums_found_right_are_few_enough_to_keep(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_sums, "_SEEN_MAX", 100)
    with EmbeddingStore.open(base, FAST) as store:
        for version in store.versions() * 2:
            store.at(version).keys()
            assert len(store._catalog._seen.sums) <= 100 + len(SHARES)
        for step in range(150):  # each leaves a sum that follows from a right one
            store.put(f"more {step}", row(step))
            assert f"more {step}" not in store.at(3)
            assert len(store._catalog._seen.sums) <= 100 + len(SHARES)


def test_shares_follow_each_other_as_their_records_do() -> None:
    places = [bytes((kind, first)) + b"rest" for kind in b"deno" for first in range(256)]
    shares = [share for place in places for share in change_sums.share_of(place)]
    assert shares == sorted(shares)
    assert set(shares) == set(SHARES)
    assert change_sums.share_of(b"") == change_sums.share_of(b"?x") == range(0)
    assert [len(change_sums.shares_of(bytes((kind,)))) for kind in b"deno"] == [32] * 4


def test_check_counts_again_what_the_process_has_counted(base: Path) -> None:
    """Damage that comes while a store is open, or that a page read anew has."""
    with EmbeddingStore.open(base, FAST) as store:
        assert store.at(1).keys()
        assert store.check().is_clean
        with store._catalog.writing() as view:
            a_record_gone(view)
        assert "records are lost or changed" in store.check().problems[0].message
        with pytest.raises(CorruptionError, match="since version 1 is damaged"):
            store.at(1).keys()


def test_a_lost_version_is_named(base: Path) -> None:
    with EmbeddingStore.open(base, FAST) as store:
        with store._catalog.writing() as view:
            view.history.sums.remove_version(b"\0\0\0\1")
            view._transaction.delete(b"\0\0\0\3", db=view._databases["versions"])
        (problem,) = store.check().problems
        assert "version 3 is lost" in problem.message
