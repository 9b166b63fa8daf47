"""A store that a release without versions wrote gets them, and keeps every bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fixtures.formats import write_v1
from suites.tests.concurrency.test_processes import exit_of, fork
from titanstore import EmbeddingStore, StoreConfig
from titanstore.catalog import environment
from titanstore.catalog.catalog import Catalog
from titanstore.catalog.layout import SegmentState, runs_of
from titanstore.codec.choose import encode_frame
from titanstore.segments.layout import SEGMENT_HEADER_BYTES, Address, records
from titanstore.segments.plane import plane_row
from titanstore.segments.planes import NewRow, PlaneWriter
from titanstore.segments.writer import Placed

FAST = StoreConfig(durability="power_cut_may_lose_store")


@pytest.fixture
def wanted() -> dict[str, bytes]:
    """Bits by key, from the golden files."""
    listed = json.loads((write_v1.FOLDER / "00001.json").read_text())
    words = {
        each["key"]: (write_v1.FOLDER / f"{each['frame']}.hex").read_text().split()
        for each in listed
    }
    return {
        key: np.array([int(w, 16) for w in found], "<u4").tobytes() for key, found in words.items()
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The golden segment of format 1 in a store as that release made it: five databases."""
    path = tmp_path / "store"
    for part in ("catalog", "segments"):
        (path / part).mkdir(parents=True)
    (path / "GENERATION").write_bytes(bytes(8))
    (path / "STORE").write_text(json.dumps({"format": 1, "store_id": write_v1.STORE_ID.hex()}))
    number = write_v1.SEGMENT_NUMBER
    shutil.copy(write_v1.FOLDER / "00001.seg", path / "segments" / f"{number:05d}.seg")
    data = memoryview((write_v1.FOLDER / "00001.seg").read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(environment, "DATABASES", environment._FIRST_DATABASES)
        catalog = Catalog(path / "catalog", read_only=False, durable=False)
        with catalog.writing() as view:
            members: dict[int, list[Placed]] = {}
            for record in records(data, SEGMENT_HEADER_BYTES, len(data)):
                address = Address(number, record.offset)
                view.add(record.key.fingerprint(), address)
                if record.document:
                    members.setdefault(record.document, []).append(Placed(address, record.end))
            for wanted_number in range(1, max(members) + 1):
                made = view.new_document(f"doc {wanted_number}")
                assert made == wanted_number
                if made in members:
                    view.set_document(made, f"doc {made}", runs_of(members[made]))
            view.set_segment(number, SegmentState(len(data), 0))
        catalog.close()
    return path


def assert_whole(store: EmbeddingStore, wanted: dict[str, bytes]) -> None:
    assert {key: store.get(key).tobytes() for key in wanted} == wanted
    assert len(store) == len(wanted)
    assert store.check().problems == ()


def test_an_older_store_is_read_without_being_touched(
    folder: Path, wanted: dict[str, bytes]
) -> None:
    kept = ("STORE", "GENERATION", "data.mdb", "00001.seg")
    before = {path: path.read_bytes() for name in kept for path in folder.rglob(name)}
    assert len(before) == len(kept)
    with EmbeddingStore.open(folder, FAST, read_only=True) as store:
        assert_whole(store, wanted)
        assert store.versions() == []
    assert {path: path.read_bytes() for path in before} == before


def test_an_older_store_gets_versions(folder: Path, wanted: dict[str, bytes]) -> None:
    with EmbeddingStore.open(folder, FAST) as store:
        assert_whole(store, wanted)
        documents = {name: store.document_keys(name) for name in store.documents()}
        store.snapshot("as it was")
        assert json.loads((folder / "STORE").read_text())["format"] == 3
        for key in list(wanted)[:-1]:
            store.put(key, np.ones(3, np.float32))
        store.delete(list(wanted)[-1:])
        store.maintain()  # the golden records may move
        view = store.at("as it was")
        assert {key: view.get(key).tobytes() for key in view.keys()} == wanted  # noqa: SIM118
        store.rollback("as it was")
        assert_whole(store, wanted)
        assert {name: store.document_keys(name) for name in store.documents()} == documents
    with EmbeddingStore.open(folder, FAST) as store:
        assert_whole(store, wanted)


def test_a_reader_of_an_older_store_finds_its_first_version_whole(
    folder: Path, wanted: dict[str, bytes]
) -> None:
    """Of the databases that were made since it saw the sums only, and called the version lost."""

    def write() -> None:
        with EmbeddingStore.open(folder, FAST) as store:
            store.snapshot("as it was")
            store.put(next(iter(wanted)), np.ones(3, np.float32))

    with EmbeddingStore.open(folder, FAST, read_only=True) as store:
        assert exit_of(fork(write)) == 0
        assert store.check().problems == ()
        assert [version.label for version in store.versions()] == ["as it was"]


def test_rows_of_a_killed_write_are_not_taken_for_rows_of_an_older_release(
    folder: Path, wanted: dict[str, bytes]
) -> None:
    """A writer was killed in segment 1 before its first commit, and an older release wrote it."""
    store_id = write_v1.STORE_ID
    with EmbeddingStore.open(folder, FAST, read_only=True) as store:
        vectors = {key: store.get(key) for key in wanted if np.isfinite(store.get(key)).all()}
    dimension = next(iter(vectors.values())).size
    planes = PlaneWriter(
        folder / "segments",
        store_id,
        durable=False,
        current_offsets=lambda segments: dict.fromkeys(
            segments, np.array([SEGMENT_HEADER_BYTES], np.uint32)
        ),
    )
    far = np.ones(dimension, np.float32)
    frame = encode_frame(far, with_codes=True)
    row = NewRow(plane_row(far, frame), SEGMENT_HEADER_BYTES, 0, is_current=True)
    planes.append(write_v1.SEGMENT_NUMBER, dimension, [row])
    planes.close()
    with EmbeddingStore.open(folder, FAST) as store:
        (plane, marks) = store._reader.planes.current(dimension)[0]
        assert plane.rows["offset"].tolist() == [0]
        assert marks is not None
        assert marks.tolist() == [0]
        store.put("ones", far)
        for key, vector in vectors.items():
            assert key in {hit.key for hit in store.search(vector, 2, metric="l2")}
