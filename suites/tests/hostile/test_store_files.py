"""Risk: files in a store's folder or in shared memory that are not what a store writes.

Each of these was once another exception, a loop without end, or room made for what was only
claimed. The rest is found by chance: test_inputs.py.
"""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from crc32c import crc32c

from harness.reliability.hostile_answers import _ask
from harness.subjects.reference import ReferenceSubject
from titanstore import CorruptionError, EmbeddingStore, StoreConfig
from titanstore.catalog.layout import unpack_number
from titanstore.pool import board as board_module
from titanstore.pool.board import OLDEST, Board

CONFIG = StoreConfig(prefetch=False, publish=False)
VECTORS = np.random.default_rng(1).standard_normal((6, 24)).astype(np.float32)
KEYS = [f"key {number}" for number in range(6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with EmbeddingStore.open(tmp_path / "store", CONFIG) as store:
        store.put_many(KEYS, VECTORS, "doc")
    return tmp_path / "store"


STRANGE = [
    *("x.plane", "1-2-3.plane", "1-24.plane", "00001-024.plane", "-.plane", "00001-24.plane.plane"),
    *("\u00b2-\u00b2.plane", "00001-0.plane", "x.seg", "1.seg", "00001.seg.seg", "\u00b2.seg"),
    *("99999999999999999999.seg", "99999999999999999999-24.plane"),
]


@pytest.mark.parametrize("name", STRANGE)
def test_names_that_nobody_gave_are_passed_over(folder: Path, name: str) -> None:
    whole = (folder / "segments" / "00001-24.plane").read_bytes()
    strange = folder / "segments" / name
    strange.write_bytes(whole)  # that of a plane: counted twice, its rows would be found twice
    with EmbeddingStore.open(folder, CONFIG) as store:
        found = store.search(VECTORS[2], 6)
        assert len({hit.key for hit in found}) == 6
        assert store.check().is_clean
        store.put_many(KEYS[:5], VECTORS[1:])  # most of the segment is dead: it is rewritten
        store.maintain()
        store.stats()
        assert store.get(KEYS[0]).tobytes() == VECTORS[1].tobytes()
    assert strange.read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"abc", bytes(5), bytes(400)])
def test_a_number_of_another_length_is_a_damaged_catalog(content: bytes) -> None:
    with pytest.raises(CorruptionError) as caught:
        unpack_number(content)
    assert caught.value.kind.value == "bad-catalog"


def test_a_document_whose_number_is_damaged(folder: Path) -> None:
    environment = lmdb.open(str(folder / "catalog"), max_dbs=16)
    with environment.begin(write=True) as change:
        names = environment.open_db(b"names", txn=change, create=False)
        change.put(b"doc", b"\x01\x00", db=names)
    environment.close()
    with EmbeddingStore.open(folder, CONFIG) as store:
        with pytest.raises(CorruptionError):
            store.document_keys("doc")
        with pytest.raises(CorruptionError):
            store.put("new", VECTORS[0], "doc")
        assert store.get(KEYS[0]).tobytes() == VECTORS[0].tobytes()


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("place", [8, 12, 16])  # scale, error, square of the norm
def test_facts_of_a_row_that_are_no_numbers_warn_nobody(
    folder: Path, metric: Any, place: int
) -> None:
    plane = folder / "segments" / "00001-24.plane"
    content = bytearray(plane.read_bytes())
    start = 64 + 24 + place
    content[start : start + 8] = b"\x01\x00\x80\xff\xff\xff\xf0\xff"
    plane.write_bytes(content)
    with warnings.catch_warnings(), EmbeddingStore.open(folder, CONFIG, read_only=True) as store:
        warnings.simplefilter("error")
        found = store.search(VECTORS[3], 3, metric=metric)
    assert len(found) == 3


# -- the pool -------------------------------------------------------------------------------------


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.make(bytes(32))
    yield made
    made.let_go()


@pytest.mark.parametrize(
    ("oldest", "following"),
    [(1, 2**64 - 1), (2**64 - 1, 2**64 - 1), (0, 3), (9, 2), (1, 66), (2**63, 2**63 + 1)],
)
def test_a_board_whose_numbers_make_no_sense_is_refused_at_once(
    board: Board, oldest: int, following: int
) -> None:
    """It retired one slab after the other, for as many as there were said to be."""
    board.cells[OLDEST], board.cells[board_module._NEXT] = oldest, following
    with pytest.raises(OSError, match="damaged"):
        board.slab_with_room(4_096, 65_536, 1_000_000)


def test_a_store_goes_on_with_rows_of_its_own_beside_a_damaged_board(folder: Path) -> None:
    config = StoreConfig(prefetch=False, publish=False, shared_pool=True)
    with EmbeddingStore.open(folder, config, read_only=True) as store:
        store.get(KEYS[0])
        pool = store._cascade.hot._shared  # type: ignore[attr-defined]
        pool._board.cells[board_module._NEXT] = 2**64 - 1
        for key, vector in zip(KEYS, VECTORS, strict=True):
            assert store.get(key).tobytes() == vector.tobytes()
        assert "damaged" in (store.stats().pool_trouble or "")


# -- answers --------------------------------------------------------------------------------------


def sealed(value: bytes) -> bytes:
    return value + crc32c(value).to_bytes(4, "little")


def test_answers_that_claim_what_is_not_there(tmp_path: Path) -> None:
    """Their checksums are right: somebody made them, or an older release did."""
    path = tmp_path / "store"
    subject = ReferenceSubject(path, {"prefetch": False})
    wanted = _ask(subject)
    subject.close()
    environment = lmdb.open(str(path / "answers"), max_dbs=4)

    def change(name: bytes, changed: Any) -> None:
        with environment.begin(write=True) as writing:
            database = environment.open_db(name, txn=writing, create=False)
            for key, value in list(writing.cursor(db=database)):
                writing.put(key, sealed(changed(value[:-4])), db=database)

    size = (2**31 - 1).to_bytes(4, "little")
    zstd = b"\x28\xb5\x2f\xfd\xe0" + size + bytes(24)  # a frame that says how much it unfolds to
    envelope = b'["application/json", true, [["foo", null]], []]'
    style = len(envelope).to_bytes(4, "little") + envelope
    for name, changed in (
        (b"answers", lambda value: value[:1] + b"\xff" + value[2:]),  # no model of this number
        (b"answers", lambda value: value[:20] + size + zstd),
        (b"styles", lambda value: style),  # a header that nobody knows how to make
        (b"styles", lambda value: (100_000).to_bytes(4, "little") + b"[" * 100_000),
    ):
        change(name, changed)
        subject = ReferenceSubject(path, {"prefetch": False})
        tracemalloc.start()
        try:
            assert _ask(subject) == wanted
            assert tracemalloc.get_traced_memory()[1] < 50_000_000
        finally:
            tracemalloc.stop()
            subject.close()
    environment.close()
