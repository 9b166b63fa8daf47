"""The catalog is all or nothing, shared within a process, and speaks the error tree."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import lmdb
import pytest
from hypothesis import given

from titanstore.catalog import environment, views
from titanstore.catalog.catalog import Catalog, MapIsFullError
from titanstore.catalog.history import pack_addresses, unpack_addresses
from titanstore.catalog.layout import (
    Run,
    SegmentState,
    StoredVersion,
    pack_document,
    pack_number,
    pack_version,
    runs_of,
    unpack_document,
    unpack_entry,
    unpack_number,
    unpack_version,
    unpack_version_number,
)
from titanstore.errors import BusyError, ClosedError, CorruptionError, StorageError
from titanstore.segments.layout import Address
from titanstore.segments.writer import Placed
from titanstore.types import Origin, Version

addresses = st.builds(Address, st.integers(1, 2**16 - 1), st.integers(0, 2**32 - 1))


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    (tmp_path / "catalog").mkdir()
    opened = Catalog(tmp_path / "catalog", read_only=False, durable=False)
    yield opened
    opened.close()


@given(
    name=st.text(max_size=100), runs=st.lists(st.builds(Run, addresses, st.integers(1, 2**32 - 1)))
)
def test_a_document_packs_and_unpacks(name: str, runs: list[Run]) -> None:
    data = pack_document(name, runs)
    assert unpack_document(data) == (name, runs)


@given(st.binary(max_size=60))
def test_noise_is_no_document(data: bytes) -> None:
    try:
        name, runs = unpack_document(data)
    except CorruptionError:
        return
    assert pack_document(name, runs) == data


@given(st.integers(0, 2**32 - 1), addresses)
def test_numbers_states_and_entries(number: int, address: Address) -> None:
    assert unpack_number(pack_number(number)) == number
    assert SegmentState.unpack(SegmentState(number, 7).pack()) == (number, 7)
    assert unpack_entry(b"123456" + address.pack()) == address
    with pytest.raises(CorruptionError):
        SegmentState.unpack(b"1234567")


ORIGINS: list[Origin] = ["snapshot", "rollback", "before-rollback"]
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
versions = st.builds(
    Version,
    number=st.integers(1, 2**32 - 1),
    label=st.none() | names,
    created_s=st.floats(0, 1e11),
    vectors=st.integers(0, 2**64 - 1),
    documents=st.integers(0, 2**32 - 1),
    tags=st.sets(names).map(lambda tags: tuple(sorted(tags, key=str.encode))),
    origin=st.sampled_from(ORIGINS),
)


@given(versions, st.booleans())
def test_a_version_packs_and_unpacks(version: Version, is_dropped: bool) -> None:
    stored = StoredVersion(version, is_dropped)
    assert unpack_version(version.number, pack_version(stored)) == stored


def test_the_bytes_of_a_version() -> None:
    """As FORMAT.md has them."""
    version = Version(
        number=7,
        label="é",
        created_s=1.5,
        vectors=258,
        documents=3,
        tags=("a", "bc"),
        origin="before-rollback",
    )
    wanted = "000000000000f83f 0201000000000000 03000000 02 01 0200 c3a9 0100 61 0200 6263"
    assert pack_version(StoredVersion(version, is_dropped=True)) == bytes.fromhex(wanted)
    assert unpack_version_number(b"\0\0\1\2") == 258


@given(st.binary(max_size=60))
def test_noise_is_no_version(data: bytes) -> None:
    try:
        stored = unpack_version(1, data)
    except CorruptionError:
        return
    assert len(pack_version(stored)) == len(data)


@given(st.lists(addresses))
def test_addresses_pack_and_unpack(found: list[Address]) -> None:
    data = pack_addresses(found)
    assert len(data) == 6 * len(found)
    assert unpack_addresses(data) == found
    with pytest.raises(CorruptionError):
        unpack_addresses(data + b"x")


@pytest.mark.parametrize("key", [b"", b"123", b"12345"])
def test_noise_is_no_number_of_a_version(key: bytes) -> None:
    with pytest.raises(CorruptionError):
        unpack_version_number(key)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 6), st.integers(5, 40))))
def test_runs_hold_every_place_in_order(gaps: list[tuple[int, int, int]]) -> None:
    """Records that follow each other with up to 3 bytes of padding are one run."""
    ends = {1: 0, 2: 0}
    places = []
    for segment, gap, size in gaps:
        start = ends[segment] + gap
        ends[segment] = start + size
        places.append(Placed(Address(segment, start), start + size))
    runs = runs_of(places)
    assert sum(run.length for run in runs) == len(places)
    left = iter(places)
    for run in runs:
        members = [next(left) for _ in range(run.length)]
        assert members[0].address == run.start
        for one, other in pairwise(members):
            assert one.address.segment == other.address.segment
            assert 0 <= other.address.offset - one.end <= 3


def test_an_exception_leaves_everything_as_it_was(catalog: Catalog) -> None:
    with catalog.writing() as view:
        view.add(b"aaaa", Address(1, 32))
        view.set_segment(1, SegmentState(100, 0))
        number = view.new_document("doc")
        view.set_document(number, "doc", [Run(Address(1, 32), 1)])

    def change_everything() -> None:
        with catalog.writing() as view:
            view.remove(b"aaaa", Address(1, 32))
            view.add(b"bbbb", Address(1, 50))
            view.set_segment(1, None)
            view.set_document(number, "doc", [])
            view.set_owners(b"tk", frozenset((1, 2)))
            assert view.entry_count() == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_everything()
    with catalog.reading() as seen:
        assert seen.entry_count() == 1
        assert seen.lookup_many([b"aaaa", b"bbbb"]) == [[Address(1, 32)], []]
        assert seen.last_end() == Address(1, 100)
        assert seen.document(number) == ("doc", [Run(Address(1, 32), 1)])
        assert seen.document_number("doc") == number
        assert seen.owners(b"tk") is None


def test_equal_fingerprints_stay_apart(catalog: Catalog) -> None:
    found = [Address(segment, 32) for segment in range(1, 40)]
    with catalog.writing() as view:
        for address in found:
            view.add(b"same", address)
        view.add(b"samd", Address(1, 1))
        view.add(b"samf", Address(1, 2))
    assert catalog.lookup(b"same") == found
    with catalog.writing() as view:
        view.remove(b"same", found[7])
        with pytest.raises(CorruptionError, match="vanished"):
            view.remove(b"same", found[7])
    assert catalog.lookup(b"same") == found[:7] + found[8:]


def test_pages_of_entries_reach_all(catalog: Catalog) -> None:
    wanted = [(number.to_bytes(4, "big"), Address(1, number)) for number in range(2_000)]
    with catalog.writing() as view:
        for fingerprint, address in wanted:
            view.add(fingerprint, address)
    with catalog.reading() as view:
        assert view.entries_from(b"", 5_000) == wanted
        fingerprint, address = wanted[700]
        assert view.entries_from(fingerprint + address.pack(), 3) == wanted[700:703]
        assert list(view.fingerprints()) == [fingerprint for fingerprint, _ in wanted]


def test_damage_found_inside_a_view_is_an_error_of_the_tree(catalog: Catalog) -> None:
    with pytest.raises(CorruptionError) as caught, catalog.reading():
        raise lmdb.CorruptedError("page", -30796)
    assert caught.value.kind == "bad-catalog"
    with pytest.raises(StorageError) as refused, catalog.writing():
        raise lmdb.DiskError("No space left on device")
    assert refused.value.kind == "disk-full"


def test_closed(catalog: Catalog, tmp_path: Path) -> None:
    other = Catalog(tmp_path / "catalog", read_only=True, durable=True)
    catalog.close()
    catalog.close()
    with pytest.raises(ClosedError):
        catalog.lookup(b"aaaa")
    with pytest.raises(ClosedError), catalog.reading():
        pass
    with pytest.raises(ClosedError), catalog.writing():
        pass
    # the environment is shared, and still in use
    assert other.lookup(b"aaaa") == []
    other.close()
    assert str((tmp_path / "catalog").resolve()) not in environment._open


def test_a_full_map_is_told_and_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_MAP_BYTES_FIRST", 1 << 16)
    (tmp_path / "catalog").mkdir()
    catalog = Catalog(tmp_path / "catalog", read_only=False, durable=False)

    def fill() -> None:
        with catalog.writing() as view:
            for number in range(20_000):
                view.add(number.to_bytes(4, "big"), Address(1, number))

    with pytest.raises(MapIsFullError):
        fill()
    with catalog.reading() as view:
        assert view.entry_count() == 0
    for _ in range(10):
        catalog.grow()
    fill()
    with catalog.reading() as view:
        assert view.entry_count() == 20_000
    catalog.close()


def test_growing_waits_for_views_and_holds_new_ones_back(catalog: Catalog) -> None:
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def look() -> None:
        with catalog.reading() as view:
            begun.set()
            assert go_on.wait(60)
            order.append("view")
            assert view.entry_count() == 0

    def grow() -> None:
        catalog.grow()
        order.append("grown")

    def look_later() -> None:
        with catalog.reading():
            order.append("later")

    threads = [threading.Thread(target=work) for work in (look, grow, look_later)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    while not catalog._gate._is_shut:
        pass
    threads[2].start()
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert order[0] == "view"
    assert set(order) == {"view", "grown", "later"}


def test_a_read_only_environment_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    Catalog(tmp_path / "catalog", read_only=False, durable=True).close()
    reader = Catalog(tmp_path / "catalog", read_only=True, durable=True)
    with pytest.raises(BusyError, match="read-only in this process"):
        Catalog(tmp_path / "catalog", read_only=False, durable=True)
    reader.close()
    Catalog(tmp_path / "catalog", read_only=False, durable=True).close()


def test_offsets_of_a_segment_over_many_batches(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_OFFSETS_AT_ONCE", 3)
    with catalog.reading() as view:
        assert view.offsets(1).tolist() == []
    with catalog.writing() as view:
        for number in range(10):
            view.add(bytes([255 - number] * 4), Address(1 + number % 2, 2**32 - 1 - number))
    with catalog.reading() as view:
        assert sorted(view.offsets(2).tolist()) == [
            2**32 - 1 - number for number in (9, 7, 5, 3, 1)
        ]
        assert len(view.offsets(1)) == 5
        assert view.offsets(3).tolist() == []
        together = view.offsets_of(iter([1, 2, 3]))
        assert {number: found.tolist() for number, found in together.items()} == {
            number: view.offsets(number).tolist() for number in (1, 2, 3)
        }


def test_offsets_take_no_memory_for_entries_of_other_segments(catalog: Catalog) -> None:
    """Half a byte an entry would be 5 MB at 10^7 vectors."""
    peaks = []
    for first in (0, 20_000):
        with catalog.writing() as view:
            for number in range(first, first + 20_000):
                view._add(number.to_bytes(4, "big"), Address(1, number))
        tracemalloc.start()
        with catalog.reading() as view:
            assert not view.offsets(2).size
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 10_000
