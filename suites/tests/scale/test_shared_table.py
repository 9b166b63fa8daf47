"""Risk: a table that many share gives a wrong vector, or tells a secret."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures import vectors as seeded
from fixtures.titan.emulator import Emulator, Serving
from suites.tests.scale.children import DIMENSION, vectors_of
from suites.tests.scale.conftest import SECRET
from suites.tests.scale.rows import bits
from titanstore import (
    CorruptionError,
    EmbeddingStore,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    StorageError,
    StoreConfig,
    StoreError,
)
from titanstore.scale import LocalRunner, Location, SharedTable, fetch, index, verify

FAST = StoreConfig(durability="power_cut_may_lose_store", publish=False)
Rows = np.ndarray[Any, np.dtype[np.float32]]


# ---------------------------------------------------------------- every bit comes back


def test_every_kind_of_bits_comes_back_and_is_verified(
    place: Location, rng: np.random.Generator
) -> None:
    kinds = [
        seeded.gaussians,
        seeded.bfloat16_divided,
        seeded.token_mean,
        seeded.random_bits,
        seeded.quiet_nans,
        seeded.signalling_nans,
        seeded.signed_zeros,
        seeded.subnormals,
        seeded.infinities,
        seeded.zeros,
    ]
    rows = np.concatenate([kind(rng, 3, DIMENSION) for kind in kinds])
    keys = [f"it's {number} ' \"ключ\"" for number in range(len(rows))]
    table = SharedTable.create(place, DIMENSION)
    assert table.put_many(keys, rows) == len(rows)
    found = SharedTable.open(place)
    assert bits(found.get_many(keys[::-1])) == bits(rows[::-1])
    assert {row.key: bits([row.vector()])[0] for row in found.rows()} == dict(
        zip(keys, bits(rows), strict=True)
    )
    report = verify(place, LocalRunner())
    assert report.is_clean
    assert (report.rows, report.vector_bytes) == (len(rows), rows.nbytes)


def test_titans_grids_come_back_and_take_fewer_bytes(folder: Location) -> None:
    found = Emulator(Serving.TEXT_V1).embed_many([f"text {number}" for number in range(64)])
    rows = np.stack([each.vector for each in found])
    keys = [f"{number:032x}" for number in range(len(rows))]
    table = SharedTable.create(folder, rows.shape[1])
    table.put_many(keys, rows, model="amazon.titan-embed-text-v1", document="a.py")
    assert bits(table.get_many(keys)) == bits(rows)
    frames = list(table.rows())
    assert {(row.model, row.document) for row in frames} == {("amazon.titan-embed-text-v1", "a.py")}
    assert sum(len(row.frame) for row in frames) < 0.5 * rows.nbytes


def test_a_store_is_made_out_of_it_bit_for_bit(folder: Location, tmp_path: Path) -> None:
    rows = vectors_of(20)
    keys = [f"key {number}" for number in range(20)]
    table = SharedTable.create(folder, DIMENSION)
    table.put_many(keys[:10], rows[:10], document="one")
    table.put_many(keys[10:], rows[10:], document="two")
    assert fetch(table, tmp_path / "store", FAST) == 20
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert bits(store.get_many(keys)) == bits(rows)
        assert store.document_keys("two") == keys[10:]
    with pytest.raises(InvalidInputError) as caught:
        fetch(table, tmp_path / "store", FAST)
    assert caught.value.kind is ErrorKind.NOT_A_STORE


def test_the_nearest_are_those_of_the_stores_own_search(folder: Location, tmp_path: Path) -> None:
    rows = vectors_of(300)
    keys = [f"key {number:03}" for number in range(300)]
    table = SharedTable.create(folder, DIMENSION)
    table.put_many(keys, rows)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        store.put_many(keys, rows)
        wanted = [store.search(query, k=5) for query in rows[:10]]
    assert [table.search(query, 5) for query in rows[:10]] == wanted
    indexed = index(folder, LocalRunner(), "ivf_flat")
    assert [indexed.search(query, 5) for query in rows[:10]] == wanted
    indexed.put_many(["new"], -rows[:1])  # not in the index
    assert indexed.search(-rows[0], 1)[0].key == "new"
    assert indexed.get_many(["new", "key 007"])[1].tobytes() == rows[7].tobytes()


# ---------------------------------------------------------------- damage


def test_a_flipped_byte_is_an_error_and_never_a_wrong_vector(folder: Location) -> None:
    rows = vectors_of(40)
    keys = [f"key {number}" for number in range(40)]
    SharedTable.create(folder, DIMENSION).put_many(keys, rows)
    (file,) = Path(folder.uri).glob("data/*.lance")
    whole = file.read_bytes()
    refused = unseen = 0
    for place in range(3, len(whole), 397):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            assert bits(SharedTable.open(folder).get_many(keys)) == bits(rows)
            unseen += 1  # of the search vectors, of padding, of names
        except (CorruptionError, StorageError, NotFoundError):
            refused += 1
        try:
            is_clean = verify(folder, LocalRunner()).is_clean
        except StoreError:
            is_clean = False
        if is_clean:  # padding: what is read is what was written
            assert bits(SharedTable.open(folder).get_many(keys)) == bits(rows), place
    assert refused > unseen / 4


def test_a_damaged_object_in_s3_is_seen(
    bucket: Location, s3: Any, objects: Callable[[Location], dict[str, bytes]]
) -> None:
    rows = vectors_of(40)
    keys = [f"key {number}" for number in range(40)]
    SharedTable.create(bucket, DIMENSION).put_many(keys, rows)
    frame = next(row.frame for row in SharedTable.open(bucket).rows())
    ((name, whole),) = [each for each in objects(bucket).items() if "/data/" in each[0]]
    at = whole.index(frame) + len(frame) // 2
    damaged = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    s3.put_object(Bucket=bucket.uri.split("/")[2], Key=name, Body=damaged)
    table = SharedTable.open(bucket)
    for read in (lambda: table.get_many(keys[:1]), lambda: list(table.rows())):
        with pytest.raises(CorruptionError) as caught:
            read()
        assert caught.value.kind is ErrorKind.BAD_INDEX
    report = verify(bucket, LocalRunner())
    assert not report.is_clean
    assert len(report.problems) == 1
    s3.delete_object(Bucket=bucket.uri.split("/")[2], Key=name)
    with pytest.raises((CorruptionError, StorageError)):
        SharedTable.open(bucket).get_many(keys)


def test_a_search_vector_that_changed_is_seen_by_verify(folder: Location) -> None:
    rows = vectors_of(40)
    SharedTable.create(folder, DIMENSION).put_many([f"key {n}" for n in range(40)], rows)
    (file,) = Path(folder.uri).glob("data/*.lance")
    whole = file.read_bytes()
    unit = (rows[3].astype(np.float64) / np.linalg.norm(rows[3].astype(np.float64))).astype(
        np.float32
    )
    at = whole.index(unit.astype(np.float16).tobytes()) + 9
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    report = verify(folder, LocalRunner())
    assert len(report.problems) == 1
    assert "search vector of 'key 3'" in report.problems[0]


# ---------------------------------------------------------------- what it refuses, and tells


def test_no_secret_is_shown_kept_or_logged(
    bucket: Location,
    objects: Callable[[Location], dict[str, bytes]],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    table = SharedTable.create(bucket, DIMENSION)
    table.put_many(["a"], vectors_of(1))
    told = [repr(table), repr(bucket), repr(bucket.options()), repr(table.dataset)]
    with pytest.raises(StoreError) as caught:
        SharedTable.open(bucket.beside("nothing"))
    told.append(repr(caught.value) + repr(caught.value.__cause__))
    ours = [record.getMessage() for record in caplog.records if "titan" in record.name]
    told += [*ours, *capfd.readouterr()]
    assert told
    assert not any(SECRET in each for each in told)
    kept = objects(bucket)
    assert kept
    assert not any(SECRET.encode() in each for each in kept.values())


def test_an_unreachable_endpoint_is_told_without_a_secret(bucket: Location, server: str) -> None:
    closed = Location(uri=bucket.uri, endpoint="http://127.0.0.1:9")
    no_bucket = Location(uri=bucket.uri.replace("emb-", "none-"), endpoint=server)
    for place in (closed, no_bucket):
        with pytest.raises(StorageError) as caught:
            SharedTable.create(place, DIMENSION)
        assert caught.value.kind is ErrorKind.IO_FAILED
        assert SECRET not in repr(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize(
    ("uri", "endpoint"),
    [
        ("", None),
        ("gopher://x/y", None),
        ("s3://key:secret@bucket/x", None),
        ("s3://bucket/x?secret=1", None),
        ("s3://bucket/x", "http://key:secret@127.0.0.1:5000"),
        ("s3://bucket/x", "127.0.0.1:5000"),
        ("s3://[secret/x", None),
        ("s3://bucket/x", "http://[secret"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(uri: str, endpoint: str | None) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Location(uri=uri, endpoint=endpoint)
    assert caught.value.kind is ErrorKind.BAD_SETTING
    assert "secret" not in str(caught.value)


def test_wrong_calls_are_refused(folder: Location) -> None:
    with pytest.raises(NotFoundError) as caught:
        SharedTable.open(folder)
    assert caught.value.kind is ErrorKind.NO_STORE
    table = SharedTable.create(folder, DIMENSION)
    assert table.search(vectors_of(1)[0]) == []
    rows = vectors_of(2)
    refusals: list[tuple[ErrorKind, Callable[[], object]]] = [
        (ErrorKind.WRONG_DIMENSION, lambda: SharedTable.create(folder, DIMENSION + 1)),
        (ErrorKind.WRONG_SHAPE, lambda: table.search(rows[0, :5])),
        (ErrorKind.WRONG_SHAPE, lambda: table.search(rows[0] * np.float32("nan"))),
        (ErrorKind.NON_FINITE, lambda: table.search(rows[0] * 0)),
        (ErrorKind.BAD_K, lambda: table.search(rows[0], 0)),
        (ErrorKind.UNKNOWN_KEY, lambda: table.get_many(["a"])),
        (ErrorKind.DUPLICATE_KEY, lambda: table.put_many(["a", "a"], rows)),
        (ErrorKind.EMPTY_KEY, lambda: table.put_many(["", "a"], rows)),
        (ErrorKind.WRONG_DTYPE, lambda: table.put_many(["a"], rows[:1].astype(np.float64))),
        (ErrorKind.BAD_SETTING, lambda: index(folder, LocalRunner())),
        (ErrorKind.BAD_SETTING, lambda: LocalRunner(0)),
    ]
    for kind, call in refusals:
        with pytest.raises(StoreError) as refused:
            call()
        assert refused.value.kind is kind
    assert len(table.latest()) == 0
