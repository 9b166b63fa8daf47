"""Rows of the Lance table: search vectors, checksums, batches."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.vectors import ATTACKS, gaussians
from titanstore.config import LanceIndex
from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_schema import (
    LanceRow,
    Norms,
    StoredRow,
    batch_of,
    batches_of,
    row_checksum,
    stored_rows,
    unit_rows,
)
from titanstore.search.lance_settings import (
    LanceSettings,
    candidates_of,
    is_worth_an_index,
    nprobes_of,
    partitions_of,
)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("values", ["float16", "float32"])
def test_hostile_rows_keep_their_bits_and_search_vectors_stay_finite(
    name: str, values: str, rng: np.random.Generator
) -> None:
    vectors = ATTACKS[name](rng, 6, 32)
    rows = [LanceRow(f"key {n}", vector, n) for n, vector in enumerate(vectors)]
    table = batch_of(rows, 32, values).table  # type: ignore[arg-type]
    for row, vector in zip(stored_rows(table), vectors, strict=True):
        assert row.vector().tobytes() == vector.tobytes()
    for found, vector in zip(table["vector"].to_pylist(), vectors, strict=True):
        with np.errstate(invalid="ignore"):
            length = np.sqrt((vector.astype(float) ** 2).sum())
        if np.isfinite(length) and length > 0:
            assert np.linalg.norm(np.array(found, float)) == pytest.approx(1, abs=2e-3)
            assert np.allclose(found, vector / length, atol=1e-3)
        else:
            assert found is None


def test_rows_of_another_dimension_have_no_search_vector(rng: np.random.Generator) -> None:
    vectors = [gaussians(rng, 1, 8)[0], gaussians(rng, 1, 9)[0]]
    units, has_none, norms = unit_rows(vectors, 8)
    assert has_none.tolist() == [False, True]
    assert units.shape == (2, 8)
    assert norms.low == norms.high == pytest.approx(1)


def test_norms_of_none_are_an_empty_range() -> None:
    _, has_none, norms = unit_rows([np.zeros(4, np.float32)], 4)
    assert has_none.all()
    assert norms == Norms()
    assert norms.joined(Norms(2, 3)) == Norms(2, 3)


def test_the_largest_float32_has_a_direction() -> None:
    vector = np.full(16, np.finfo(np.float32).max)
    units, has_none, _ = unit_rows([vector], 16)
    assert not has_none.any()
    assert np.allclose(units, 0.25)


def test_every_field_is_in_the_checksum() -> None:
    base = ("key", "document", 5, "model", b"frame")
    changes = [
        ("kez", *base[1:]),
        ("keyd", "ocument", *base[2:]),
        ("key", None, *base[2:]),
        ("key", "", *base[2:]),
        ("key", "document", 6, *base[3:]),
        ("key", "document", 5, None, b"frame"),
        ("key", "document", 5, "model", b"framf"),
        ("key", "document", 5, "modelf", b"rame"),
    ]
    found = {row_checksum(*change) for change in [base, *changes]}
    assert len(found) == 1 + len(changes)


def test_a_changed_row_is_refused(rng: np.random.Generator) -> None:
    batch = batch_of([LanceRow("key", gaussians(rng, 1, 8)[0], 1)], 8, "float32").table
    frame = bytearray(batch["frame"][0].as_py())
    frame[-1] ^= 1
    column = batch.schema.get_field_index("frame")
    changed = batch.set_column(column, batch.schema.field(column), [[bytes(frame)]])
    with pytest.raises(LanceUnavailableError, match="not what was written"):
        stored_rows(changed)
    with pytest.raises(LanceUnavailableError, match="frame of 'key'"):
        StoredRow("key", None, 1, None, bytes(frame)).vector()


def test_batches_end_by_count_and_by_bytes() -> None:
    rows = [LanceRow(f"key {n}", np.zeros(4, np.float32), n) for n in range(10)]
    assert [len(batch) for batch in batches_of(rows, 4, 1_000)] == [4, 4, 2]
    assert [len(batch) for batch in batches_of(rows, 100, 33)] == [3, 3, 3, 1]
    assert list(batches_of([], 4, 4)) == []


@pytest.mark.parametrize(
    "setting",
    [
        {"index": "ivf"},
        {"values": "bfloat16"},
        {"vectors_min": -1},
        {"cache_bytes": -1},
        {"metadata_bytes": -1},
        {"history_s": -1.0},
        {"history_s": float("nan")},
        {"partitions": 0},
        {"nprobes": 0},
    ],
)
def test_bad_settings_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        LanceSettings(**setting)  # type: ignore[arg-type]
    assert caught.value.kind is ErrorKind.BAD_SETTING
    assert next(iter(setting)) in str(caught.value)


def test_partitions_and_probes_follow_the_rows() -> None:
    settings = LanceSettings()
    assert [partitions_of(settings, rows) for rows in (300, 4_999, 10_000, 10**6)] == [
        1,
        1,
        100,
        1_000,
    ]
    assert partitions_of(LanceSettings(index="hnsw_sq"), 10**6) == 1
    assert partitions_of(LanceSettings(partitions=7), 10**6) == 7
    assert partitions_of(LanceSettings(partitions=700), 300) == 300
    assert nprobes_of(settings, 1) == 1
    assert nprobes_of(LanceSettings(nprobes=3), 100) == 3
    assert not is_worth_an_index(LanceSettings(vectors_min=0), 255)
    assert is_worth_an_index(LanceSettings(vectors_min=0), 256)
    assert not is_worth_an_index(LanceSettings(vectors_min=300), 299)


@pytest.mark.parametrize("index", ["ivf_rq", "ivf_pq"])
def test_more_candidates_than_wanted_are_asked_for(index: LanceIndex) -> None:
    counts = [candidates_of(LanceSettings(index=index), k) for k in (1, 10, 100)]
    assert counts == sorted(counts)
    assert counts[-1] >= 200
