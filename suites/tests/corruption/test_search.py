"""Damage of what search reads: an error that names the key, never a wrong answer in silence."""

from __future__ import annotations

import gc
import mmap
import shutil
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fixtures.vectors import bfloat16
from titanstore import CorruptionError, EmbeddingStore, ErrorKind, Hit, StoreConfig
from titanstore.search import flat, room
from titanstore.search.room import Room
from titanstore.segments.plane import PLANE_HEADER_BYTES, row_bytes

FAST = StoreConfig(durability="power_cut_may_lose_store")
DIMENSION = 64
ROWS = bfloat16(np.random.default_rng(5), 40, DIMENSION)
KEYS = [f"key {place}" for place in range(len(ROWS))]
ROW = row_bytes(DIMENSION)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    with EmbeddingStore.open(folder, FAST) as store:
        store.put_many(KEYS, ROWS, "doc")
    return folder


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(original, folder)
    return folder


def plane(folder: Path) -> Path:
    (found,) = (folder / "segments").glob("*.plane")
    return found


def flip(path: Path, offset: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def searched(
    folder: Path, query: int, k: int = 3, document: str | None = None
) -> list[Hit] | CorruptionError:
    with EmbeddingStore.open(folder, FAST, read_only=True) as store:
        try:
            return store.search(ROWS[query], k, document_prefix=document)
        except CorruptionError as error:
            return error


@pytest.mark.parametrize("place", [0, 17, 39])
@pytest.mark.parametrize("value", [0, 33, 63])
def test_a_code_of_a_near_vector(original: Path, copy: Path, place: int, value: int) -> None:
    """Its record cannot be made whole: the error says whose."""
    flip(plane(copy), PLANE_HEADER_BYTES + place * ROW + value, 4)
    found = searched(copy, place)
    assert isinstance(found, CorruptionError)
    assert repr(KEYS[place]) in str(found)
    assert found.kind is ErrorKind.CHECKSUM_MISMATCH
    with EmbeddingStore.open(copy, FAST, read_only=True) as store:
        assert repr(KEYS[place]) in store.check().problems[0].place


@pytest.mark.parametrize("mask", [1, 0x80])
def test_damaged_codes_never_give_a_wrong_distance(original: Path, copy: Path, mask: int) -> None:
    """Each hit is right, or there is an error; a vector is only missed if `check` lists it."""
    for place in range(0, len(ROWS), 5):
        flip(plane(copy), PLANE_HEADER_BYTES + place * ROW + place, mask)
    with EmbeddingStore.open(original, FAST, read_only=True) as store:
        right = dict(store.search(ROWS[1], len(ROWS)))
    found = searched(copy, 1)
    if not isinstance(found, CorruptionError):
        assert all(right[hit.key] == hit.distance for hit in found)
    with EmbeddingStore.open(copy, FAST, read_only=True) as store:
        listed = {problem.place for problem in store.check().problems}
    for place in range(0, len(ROWS), 5):
        assert any(repr(KEYS[place]) in each for each in listed)


def test_damage_far_away_is_of_no_consequence(original: Path, copy: Path) -> None:
    (segment,) = (copy / "segments").glob("*.seg")
    with EmbeddingStore.open(copy, FAST, read_only=True) as store:
        order = [hit.key for hit in store.search(ROWS[0], len(ROWS))]
        farthest = KEYS.index(order[-1])
        record = store._cascade.cold.find(store._cascade.cold.document_keys("doc")[farthest])  # type: ignore[index]
        assert record is not None
    flip(segment, record.end - 3, 4)
    assert searched(copy, 0) == searched(original, 0)
    assert isinstance(searched(copy, farthest), CorruptionError)


def test_a_damaged_vector_can_be_deleted_or_mended(copy: Path) -> None:
    flip(plane(copy), PLANE_HEADER_BYTES + 7 * ROW + 5, 4)
    flip(plane(copy), PLANE_HEADER_BYTES + 8 * ROW + 5, 4)
    with EmbeddingStore.open(copy, FAST) as store:
        store.delete([KEYS[7]])
        assert KEYS[7] not in [hit.key for hit in store.search(ROWS[7], 3)]
        with pytest.raises(CorruptionError):
            store.search(ROWS[8], 3)
        store.put(KEYS[8], ROWS[8])
        assert store.search(ROWS[8], 1)[0].key == KEYS[8]


@pytest.mark.parametrize("field", range(0, 28, 3))
def test_damaged_facts_are_found_by_check(copy: Path, field: int) -> None:
    """Offset, document, scale, error, square, checksum: one flipped byte each."""
    flip(plane(copy), PLANE_HEADER_BYTES + 11 * ROW + DIMENSION + field, 0x10)
    with EmbeddingStore.open(copy, FAST, read_only=True) as store:
        assert not store.check().is_clean


@pytest.mark.parametrize("field", range(0, 28, 3))
def test_damaged_facts_never_give_a_wrong_distance(original: Path, copy: Path, field: int) -> None:
    flip(plane(copy), PLANE_HEADER_BYTES + 11 * ROW + DIMENSION + field, 0x10)
    with EmbeddingStore.open(original, FAST, read_only=True) as store:
        right = dict(store.search(ROWS[11], len(ROWS)))
    found = searched(copy, 11, len(ROWS))
    if not isinstance(found, CorruptionError):
        assert all(right[hit.key] == hit.distance for hit in found)


@pytest.fixture(params=["at the end", "on the way"])
def measured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """When what codes leave open is measured: on the way after each block of 8 rows."""
    if request.param == "on the way":
        for name, value in (("_BLOCK_CELLS", 8), ("_BLOCK_ROWS_MIN", 8)):
            monkeypatch.setattr(flat, name, value)
        for name in ("_OPEN_MAX", "_OPEN_MAX_A_RESULT"):
            monkeypatch.setattr(flat, name, 0)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("field", [*range(4), *range(8, 24)])
def test_damaged_facts_never_hide_another_vector(original: Path, copy: Path, field: int) -> None:
    """Offset, scale, error, square: a bound that was too low ruled out all others in silence."""
    for bit in range(8):
        flip(plane(copy), PLANE_HEADER_BYTES + 11 * ROW + DIMENSION + field, 1 << bit)
        for query, k in ((0, 3), (11, 1), (30, 1), (30, 3), (39, 2)):
            found, right = searched(copy, query, k), searched(original, query, k)
            assert not isinstance(right, CorruptionError)
            if isinstance(found, CorruptionError):
                assert found.kind is ErrorKind.BAD_PLANE
                assert repr(KEYS[11]) in str(found)
            else:
                assert {hit.key for hit in right} - {hit.key for hit in found} <= {KEYS[11]}
        flip(plane(copy), PLANE_HEADER_BYTES + 11 * ROW + DIMENSION + field, 1 << bit)


@pytest.mark.usefixtures("measured")
def test_a_damaged_row_that_was_measured_long_ago_is_found(tmp_path: Path) -> None:
    """Two equal vectors make up for it at first; only nearer ones that come later tell."""
    rng = np.random.default_rng(3)
    query = rng.standard_normal(DIMENSION).astype(np.float32)
    query /= np.linalg.norm(query)

    def at(distance: float) -> np.ndarray:
        side = rng.standard_normal(DIMENSION)
        side -= side @ query * query
        cosine = 1 - distance
        found = cosine * query + np.sqrt(1 - cosine**2) * side / np.linalg.norm(side)
        return np.asarray(found, np.float32)

    equal = at(0.5)
    first = [at(0.9), equal, equal, *(at(1.2) for _ in range(5))]
    later = [at(0.1), at(0.2), *(at(1.2) for _ in range(30))]
    with EmbeddingStore.open(tmp_path, FAST) as store:
        store.put_many([f"{place}" for place in range(40)], np.stack([*first, *later]))
        assert [hit.key for hit in store.search(query, 2)] == ["8", "9"]
    flip(plane(tmp_path), PLANE_HEADER_BYTES + DIMENSION + 11, 0x40)
    with (
        EmbeddingStore.open(tmp_path, FAST, read_only=True) as store,
        pytest.raises(CorruptionError, match="key '0': its row of the plane is damaged"),
    ):
        store.search(query, 2)


def test_a_damaged_document_never_leads_to_another_one_s_vector(tmp_path: Path) -> None:
    """One bit of a row says whose it is: a search of one document returned what others hold."""
    documents = [f"doc {number}" for number in range(4)]
    with EmbeddingStore.open(tmp_path, FAST) as store:
        for first, document in zip(range(0, 40, 10), documents, strict=True):
            store.put_many(KEYS[first : first + 10], ROWS[first : first + 10], document)
        store.put(KEYS[35], ROWS[35], documents[1])  # by two
        held = {document: set(store.document_keys(document)) for document in documents}
    questions = [(document, k) for document in documents for k in (3, 20)]
    right = {(document, k): searched(tmp_path, 0, k, document) for document, k in questions}
    for place in range(0, len(ROWS), 3):
        for bit in range(3):
            flip(plane(tmp_path), PLANE_HEADER_BYTES + place * ROW + DIMENSION + 4, 1 << bit)
            for document, k in questions:
                found, wanted = searched(tmp_path, 0, k, document), right[document, k]
                assert not isinstance(wanted, CorruptionError)
                if isinstance(found, CorruptionError):
                    assert found.kind is ErrorKind.BAD_PLANE
                    assert repr(KEYS[place]) in str(found)
                else:
                    keys = {hit.key for hit in found}
                    assert keys <= held[document]
                    assert {hit.key for hit in wanted} - keys <= {KEYS[place]}
            flip(plane(tmp_path), PLANE_HEADER_BYTES + place * ROW + DIMENSION + 4, 1 << bit)


def test_a_row_that_would_hide_others_can_be_mended(original: Path, copy: Path) -> None:
    flip(plane(copy), PLANE_HEADER_BYTES + 11 * ROW + DIMENSION + 11, 0x40)
    with EmbeddingStore.open(copy, FAST) as store:
        with pytest.raises(CorruptionError, match="would hide nearer vectors"):
            store.search(ROWS[30], 1)
        store.check(repair=True)
        assert store.search(ROWS[30], 3) == searched(original, 30)


@pytest.mark.parametrize("left", [0, 10, PLANE_HEADER_BYTES, PLANE_HEADER_BYTES + 10 * ROW + 3])
def test_a_plane_that_was_cut_off(copy: Path, left: int) -> None:
    with plane(copy).open("r+b") as file:
        file.truncate(left)
    found = searched(copy, 30)
    assert isinstance(found, CorruptionError)
    assert found.kind in (ErrorKind.SHORT_SEGMENT, ErrorKind.MISSING_SEGMENT)
    with EmbeddingStore.open(copy, FAST, read_only=True) as store:
        assert not store.check().is_clean


@pytest.mark.parametrize("marks_too", [False, True])
def test_a_plane_that_is_missing(copy: Path, *, marks_too: bool) -> None:
    plane(copy).unlink()
    if marks_too:
        for path in (copy / "segments").glob("*.marks"):
            path.unlink()
    found = searched(copy, 30)
    assert isinstance(found, CorruptionError)
    assert found.kind is ErrorKind.MISSING_SEGMENT
    with EmbeddingStore.open(copy, FAST, read_only=True) as store:
        assert not store.check().is_clean


def test_a_plane_of_another_store(copy: Path, tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path / "other", FAST) as store:
        store.put_many(KEYS, ROWS, "doc")
    shutil.copy(plane(tmp_path / "other"), plane(copy))
    found = searched(copy, 3)
    assert isinstance(found, CorruptionError)
    assert found.kind is ErrorKind.BAD_SEGMENT


@pytest.mark.parametrize("read_only", [False, True])
def test_a_row_whose_mark_is_lost_is_found(copy: Path, *, read_only: bool) -> None:
    """As in a copy that was made file by file while a writer went on."""
    (path,) = (copy / "segments").glob("*.marks")
    flip(path, 64 + 17, 1)
    with EmbeddingStore.open(copy, FAST, read_only=read_only) as store:
        assert [store.search(ROWS[17], 1)[0].key for _ in range(2)] == [KEYS[17]] * 2
        assert len(store.search(ROWS[0], 100)) == len(KEYS)
        assert not store.check().is_clean


def test_a_search_that_fails_gives_its_pages_back(copy: Path) -> None:
    """Not at the next garbage collection: an error kept with its traceback would hold them."""
    flip(plane(copy), PLANE_HEADER_BYTES + 17 * ROW, 1)
    gc.collect()
    gc.disable()
    try:
        with EmbeddingStore.open(copy, FAST, read_only=True) as store:
            for _ in range(3):
                with pytest.raises(CorruptionError):
                    store.search(ROWS[17])
            assert not [each for each in gc.get_objects() if type(each) is Room]
    finally:
        gc.enable()


@pytest.mark.parametrize("count", [1, 3])
def test_the_pages_go_with_a_search_that_led_to_a_damaged_record(
    copy: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Its error was kept with a traceback, whose frames have arrays that lie in the pages."""
    rooms: list[weakref.ref[mmap.mmap]] = []

    def noted(*words: Any, **given: Any) -> mmap.mmap:
        pages = mmap.mmap(*words, **given)
        rooms.append(weakref.ref(pages))
        return pages

    own = SimpleNamespace(**vars(mmap) | {"mmap": noted})
    (segment,) = (copy / "segments").glob("*.seg")
    flip(segment, segment.read_bytes().index(KEYS[17].encode()), 1)
    monkeypatch.setattr(room, "mmap", own)
    gc.collect()
    gc.disable()
    try:
        with EmbeddingStore.open(copy, FAST, read_only=True) as store:
            for _ in range(2):
                with pytest.raises(CorruptionError):
                    store.search_many(ROWS[17 : 17 + count])
        assert len(rooms) == 2
        assert not [each for each in rooms if each() is not None]
    finally:
        gc.enable()
