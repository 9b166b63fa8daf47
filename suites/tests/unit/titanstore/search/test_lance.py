"""The Lance table: what it was told is what it gives, whichever way it went there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from fixtures.vectors import gaussians
from suites.tests.unit.titanstore.search.lance_rows import (
    COUNT,
    DIMENSION,
    SETTINGS,
    Vectors,
    content_of,
    latest_version,
    nearest,
    rows_of,
)
from titanstore.config import LanceIndex
from titanstore.search import lance_commits as commits
from titanstore.search.lance import LanceRow, LanceSettings, LanceTable, LanceUnavailableError


def expected(rows: list[LanceRow]) -> dict[str, bytes]:
    return {row.key: row.vector.tobytes() for row in rows}


def bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_rows_come_back_with_all_that_was_given(table: LanceTable, vectors: Vectors) -> None:
    given = {row.key: row for row in rows_of(vectors)}
    for row in table.rows():
        wanted = given.pop(row.key)
        assert row.vector().tobytes() == wanted.vector.tobytes()
        assert (row.document, row.version, row.model) == wanted[3:4] + wanted[2:3] + wanted[4:]
    assert not given
    assert table.watermark == COUNT


def test_candidates_are_the_nearest_and_distances_are_cosines(
    table: LanceTable, vectors: Vectors, rng: np.random.Generator
) -> None:
    query = gaussians(rng, 1, DIMENSION)[0] * np.float32(17)
    found = table.candidates(query, 60)
    cosines = 1 - vectors.astype(float) @ (query / np.linalg.norm(query.astype(float)))
    true = [f"key {place}" for place in np.argsort(cosines)[:10]]
    assert len(set(true) & {key for key, _ in found}) >= 9
    # of 4-bit codes: the worst of 60 is luck of the training (0.08 in one table of 130)
    errors = [abs(distance - cosines[int(key.split()[1])]) for key, distance in found]
    assert np.mean(errors) < 0.03
    assert max(errors) < 0.25
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)


def test_many_queries_are_answered_like_single_ones(table: LanceTable, vectors: Vectors) -> None:
    single = [table.candidates(query, 7) for query in vectors[:5]]
    many = table.candidates_many(list(vectors[:5]), 7)
    assert [[key for key, _ in found] for found in many] == [[k for k, _ in f] for f in single]
    assert table.candidates_many([], 7) == []
    assert [found[0][0] for found in table.candidates_many([vectors[3]], 2)] == ["key 3"]


@pytest.mark.parametrize("index", get_args(LanceIndex))
@pytest.mark.parametrize("values", ["float16", "float32"])
def test_every_kind_of_index_is_really_used(
    tmp_path: Path, index: LanceIndex, values: str, rng: np.random.Generator
) -> None:
    vectors = gaussians(rng, COUNT, DIMENSION)
    settings = LanceSettings(index=index, values=values, vectors_min=0, durable=False)  # type: ignore[arg-type]
    with LanceTable.create(tmp_path, DIMENSION, settings) as table:
        table.sync(rows_of(vectors), [], 1)
        statistics = table._loop.run(lambda: table._writer.index_stats(commits.NEAR))
        assert statistics.num_indexed_rows == COUNT
        assert statistics.num_unindexed_rows == 0
        count = table.candidates_of(1)
        assert all(
            f"key {place}" in dict(table.candidates(vectors[place], count)) for place in range(9)
        )


def test_an_index_that_is_not_used_is_noticed(table: LanceTable) -> None:
    table._loop.run(lambda: table._writer.drop_index(commits.NEAR))
    with pytest.raises(LanceUnavailableError, match="covers no rows"):
        table._loop.run(lambda: commits.verify_index(table._writer, table.content, DIMENSION))


def test_few_rows_get_no_index_and_are_not_asked(tmp_path: Path, vectors: Vectors) -> None:
    settings = LanceSettings(vectors_min=0, durable=False)
    with LanceTable.create(tmp_path, DIMENSION, settings) as table:
        table.sync(rows_of(vectors[:255]), [], 255)
        assert not table.serves("cosine")
        with pytest.raises(LanceUnavailableError, match="no index"):
            table.candidates(vectors[0], 5)
        table.sync(rows_of(vectors)[255:], [], COUNT)
        assert table.serves("cosine")
        assert nearest(table, vectors[0]) == "key 0"


def test_upserts_replace_and_deletes_remove_in_rows_and_candidates(
    table: LanceTable, vectors: Vectors, rng: np.random.Generator
) -> None:
    fresh = gaussians(rng, 50, DIMENSION)
    rows = [LanceRow(f"key {place}", vector, 1_000) for place, vector in enumerate(fresh)]
    report = table.sync(rows, ["key 60", "key 61", "absent"], 1_001)
    assert (report.upserted, report.deleted, report.is_complete) == (50, 2, True)
    wanted = expected(rows_of(vectors)) | expected(rows)
    del wanted["key 60"], wanted["key 61"]
    assert content_of(table) == wanted
    assert nearest(table, fresh[7]) == "key 7"
    assert nearest(table, vectors[7]) != "key 7"
    assert "key 60" not in dict(table.candidates(vectors[60], COUNT))
    assert latest_version(table) == table.content.version


def test_the_later_of_two_rows_with_one_key_counts(tmp_path: Path, vectors: Vectors) -> None:
    rows = [LanceRow("key", vectors[0], 1), LanceRow("other", vectors[1], 2)]
    with LanceTable.create(tmp_path, DIMENSION, SETTINGS) as table:
        table.sync([*rows, LanceRow("key", vectors[2], 3)], [], 3)
        assert content_of(table) == {"key": vectors[2].tobytes(), "other": vectors[1].tobytes()}


def test_a_key_that_is_deleted_and_upserted_stays(table: LanceTable, vectors: Vectors) -> None:
    table.sync([LanceRow("key 5", vectors[0], 400)], ["key 5"], 400)
    assert content_of(table)["key 5"] == vectors[0].tobytes()


def test_repeating_a_sync_changes_nothing(table: LanceTable, vectors: Vectors) -> None:
    before = content_of(table)
    table.sync(rows_of(vectors), ["absent"], COUNT)
    assert content_of(table) == before


def test_odd_keys_are_upserted_and_deleted(tmp_path: Path, vectors: Vectors) -> None:
    odd = [
        "a'b",
        "x\x00y",
        "é\U0001f600",
        "a\\b",
        "%",
        "_",
        '"q"',
        "a; --",
        "\n",
        "",
        "a''",
        "NULL",
    ]
    rows = [LanceRow(key, vectors[0], 1) for key in [*odd, "kept"]]
    with LanceTable.create(tmp_path, DIMENSION, SETTINGS) as table:
        table.sync(rows, [], 1)
        table.sync(rows, [], 2)
        assert set(content_of(table)) == {*odd, "kept"}
        assert table.sync([], odd, 3).deleted == len(odd)
        assert set(content_of(table)) == {"kept"}


def test_lengths_decide_which_metrics_are_served(table: LanceTable, vectors: Vectors) -> None:
    assert all(table.serves(metric) for metric in ("cosine", "dot", "l2"))
    table.sync([LanceRow("long", vectors[0] * np.float32(1.5), 400)], [], 400)
    assert table.serves("cosine")
    assert not table.serves("dot")
    assert not table.serves("l2")


def test_a_query_without_a_direction_is_refused(table: LanceTable) -> None:
    for value in (0, np.nan, np.inf):
        with pytest.raises(LanceUnavailableError, match="direction"):
            table.candidates(np.full(DIMENSION, value, np.float32), 5)


def test_time_that_runs_out_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.search.lance_sync._BATCH_ROWS", 10)
    values = np.arange(1, 36, dtype=np.float32)
    rows = [LanceRow(f"key {n}", values[n : n + 1], n // 5) for n in range(35)]
    with LanceTable.create(tmp_path, 1, SETTINGS) as table:
        calls: list[int] = []
        report = table.sync(rows, [], 99, seconds_max=0.0, progress=calls.append)
        assert (report.upserted, report.watermark, report.is_complete) == (10, 1, False)
        assert calls == [10]
        turns = 1
        while not report.is_complete:
            left = [row for row in rows if row.version > table.watermark]
            report = table.sync(left, [], 99, seconds_max=0.0)
            turns += 1
        assert turns == 4
        assert table.watermark == 99
        assert content_of(table) == expected(rows)


def test_rows_out_of_order_are_not_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.search.lance_sync._BATCH_ROWS", 10)
    value = np.ones(1, np.float32)
    rows = [LanceRow(f"key {n}", value, 100 - n) for n in range(30)]
    with LanceTable.create(tmp_path, 1, SETTINGS) as table:
        assert table.sync(rows, [], 100, seconds_max=0.0).is_complete


def test_files_do_not_grow_for_ever(
    table: LanceTable, tmp_path: Path, rng: np.random.Generator
) -> None:
    def round_of_syncs() -> tuple[int, int]:
        for turn in range(4):
            vectors = gaussians(rng, COUNT, DIMENSION)
            table.sync(rows_of(vectors, "key", 1_000 + turn), [], 2_000 + turn)
        table.sync([], ["key 0"], 3_000)
        return bytes_below(tmp_path), sum(1 for _ in tmp_path.rglob("*"))

    first = round_of_syncs()
    round_of_syncs()
    last = round_of_syncs()
    assert last[0] < 1.5 * first[0]
    assert last[1] <= 1.5 * first[1]


def test_an_old_index_is_trained_anew_when_the_table_has_doubled(
    table: LanceTable, rng: np.random.Generator
) -> None:
    trained = table.content.trained_rows
    table.sync(rows_of(gaussians(rng, 200, DIMENSION), "more"), [], 900)
    assert table.content.trained_rows == trained
    more = gaussians(rng, 200, DIMENSION)
    table.sync(rows_of(more, "most"), [], 901)
    assert table.content.trained_rows == table.content.rows == COUNT + 400
    assert nearest(table, more[8]) == "most 8"


def test_parts_of_the_index_do_not_gather(
    table: LanceTable, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(commits, "_SEGMENTS_MAX", 3)
    parts = []
    for turn in range(9):
        rows = rows_of(gaussians(rng, 3, DIMENSION), "key", 1_000 * turn)
        table.sync(rows, [], 2_000 + turn)
        parts.append(table._loop.run(lambda: commits._segments(table._writer)))
        statistics = table._loop.run(table._writer.stats)
        assert statistics["fragment_stats"]["num_fragments"] <= 3
    assert 1 < max(parts) <= 3
    assert nearest(table, rows[1].vector) == "key 1"


def test_another_kind_of_index_is_made_at_the_next_sync(
    table: LanceTable, tmp_path: Path, vectors: Vectors
) -> None:
    table.close()
    settings = LanceSettings(index="ivf_flat", vectors_min=256, durable=False)
    with LanceTable.open(tmp_path, DIMENSION, settings) as again:
        again.sync([], [], COUNT)
        assert again.content.index == "IVF_FLAT"
        assert nearest(again, vectors[9]) == "key 9"


def test_a_failing_source_leaves_the_table_as_it_was(
    table: LanceTable, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.search.lance_sync._BATCH_ROWS", 10)
    wanted = content_of(table)

    def failing() -> Iterator[LanceRow]:
        yield from rows_of(-vectors[:25])
        raise OSError("the segment is gone")

    with pytest.raises(OSError, match="segment"):
        table.sync(failing(), ["key 200"], 500)
    assert content_of(table) == wanted
    assert latest_version(table) > table.content.version, "nothing was committed halfway"
    table.sync([], [], 501)
    assert content_of(table) == wanted
    assert latest_version(table) == table.content.version
