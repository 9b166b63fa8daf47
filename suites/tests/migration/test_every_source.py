"""Risk: a vector that a migration loses, changes, or files under another key."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from suites.tests.migration.sources import (
    WRITERS,
    Writer,
    keys_of,
    rows_of,
    write_jsonl,
    write_langchain,
)
from titanstore import EmbeddingStore, StoreConfig, embedding_key
from titanstore.migration import SourceOptions, migrate, open_source, preview, undo_migration

FAST = StoreConfig(durability="power_cut_may_lose_store", publish=False)
each_source = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@each_source
def test_every_vector_arrives_bit_for_bit(write: Writer, tmp_path: Path) -> None:
    rows, folder = rows_of(70), tmp_path / "source"
    folder.mkdir()
    path, options = write(folder, rows)
    options = replace(options, batch_rows=16)
    kind = open_source(path, options).kind
    assert open_source(path, replace(options, kind=kind)).kind == kind  # found as it is named
    before = {one: one.read_bytes() for one in path.parent.rglob("*") if one.is_file()}
    seen: list[tuple[int, int | None]] = []
    told = preview(path, tmp_path / "store", options, config=FAST)
    assert not (tmp_path / "store").exists()
    assert (told.rows, told.dimensions, told.present, told.conflicts) == (70, {24: 70}, 0, 0)
    assert (told.raw_bytes, told.sampled) == (rows.nbytes, 70)
    assert 0.5 * rows.nbytes < told.estimated_bytes < 3 * rows.nbytes  # 80 bytes a key of 96
    done = migrate(
        path,
        tmp_path / "store",
        options,
        config=FAST,
        progress=lambda *now: seen.append(now),
    )
    assert (done.added, done.verified, done.unchanged, done.skipped) == (70, 70, 0, 0)
    assert seen[-1][0] == 70
    assert seen[-1][1] in (70, None)
    assert len(seen) >= 3
    with EmbeddingStore.open(tmp_path / "store", FAST, read_only=True) as store:
        assert len(store) == 70
        for key, row in zip(keys_of(70), rows, strict=True):
            assert store.get(key).tobytes() == row.tobytes()
        assert store.check().is_clean
    assert {one: one.read_bytes() for one in before} == before  # nothing of a source is written
    again = migrate(path, tmp_path / "store", options, config=FAST)
    assert (again.added, again.unchanged, again.verified, again.before) == (0, 70, 70, None)
    undone = undo_migration(tmp_path / "store", config=FAST)
    assert (undone.is_whole, undone.later_changes, undone.before.vectors) == (True, 0, 0)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert len(store) == 0


def test_keys_of_files_and_rows(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    (folder / "deep").mkdir(parents=True)
    rows = rows_of(3)
    np.save(folder / "single.npy", rows[0])
    np.save(folder / "deep" / "many.npy", rows.astype(">f4"))  # as a big machine writes it
    migrate(folder, tmp_path / "store", config=FAST)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        keys = [f"deep/many/{row}" for row in range(3)]
        assert store.get_many(keys).tobytes() == rows.tobytes()
        assert store.get("single").tobytes() == rows[0].tobytes()


def test_names_in_an_archive_are_keys_and_never_paths(tmp_path: Path) -> None:
    rows = rows_of(2)
    np.savez(tmp_path / "a.npz", **{"../../outside": rows[0], "/etc/inside": rows[1]})
    before = sorted(tmp_path.parent.iterdir())
    migrate(tmp_path / "a.npz", tmp_path / "store", config=FAST)
    assert sorted(tmp_path.parent.iterdir()) == before
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert store.get("../../outside").tobytes() == rows[0].tobytes()
        assert store.get("/etc/inside").tobytes() == rows[1].tobytes()


def test_documents_keep_their_keys_in_the_order_of_the_source(tmp_path: Path) -> None:
    rows = rows_of(40)
    lines = [
        {"key": key, "vector": row.tolist(), "doc": f"file {place % 3}" if place % 7 else None}
        for place, (key, row) in enumerate(zip(keys_of(40), rows, strict=True))
    ]
    path = tmp_path / "lines.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    options = SourceOptions(document="doc", batch_rows=9)
    migrate(path, tmp_path / "store", options, config=FAST)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert store.documents() == ["file 0", "file 1", "file 2"]
        for name in store.documents():
            assert store.document_keys(name) == [
                line["key"] for line in lines if line["doc"] == name
            ]
        assert len(store) == 40
    again = migrate(path, tmp_path / "store", options, config=FAST)
    assert (again.unchanged, again.before) == (40, None)


def test_a_vector_that_was_there_joins_its_document(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text(json.dumps({"key": "k", "vector": [1.0, 2.0], "doc": "d"}))
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        store.put("k", np.array([1, 2], np.float32))
    done = migrate(path, tmp_path / "store", SourceOptions(document="doc"), config=FAST)
    assert (done.unchanged, done.added) == (1, 0)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert store.document_keys("d") == ["k"]


def test_texts_and_a_model_make_the_keys_of_a_bedrock_client(tmp_path: Path) -> None:
    model, dimensions = "amazon.titan-embed-text-v2:0", {"dimensions": 256}
    row = rows_of(1, 256)[0]
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": "def f(): ...", "vector": row.tolist()}))
    options = SourceOptions(text="text", model=model, model_options=dimensions)
    migrate(path, tmp_path / "store", options, config=FAST)

    import boto3

    from titanstore.clients.bedrock import wrap

    plain = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",  # nobody answers there
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert embedding_key(model, "def f(): ...", dimensions) in store
        client = wrap(plain, store)
        found = client.titan.embedder(model, dimensions=256).embed("def f(): ...")
        client.titan.close()
    assert found.tobytes() == row.tobytes()


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_every_float_type_widens_or_narrows_exactly(dtype: str, tmp_path: Path) -> None:
    wanted = np.array([[0.5, -0.0, np.inf, -np.inf, 2.0**-24, 1024]], np.float32)
    np.save(tmp_path / "m.npy", wanted.astype(dtype))
    migrate(tmp_path / "m.npy", tmp_path / "store", config=FAST)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert store.get("m/0").tobytes() == wanted[0].tobytes()


def test_digits_of_titans_answers_of_2024_are_taken_when_asked_for(tmp_path: Path) -> None:
    rows = rows_of(5)
    printed = [[float(str(value)) for value in row] for row in rows]
    assert printed != rows.tolist()
    path = tmp_path / "lines.jsonl"
    path.write_text(
        "\n".join(
            json.dumps({"key": key, "vector": row})
            for key, row in zip(keys_of(5), printed, strict=True)
        )
    )
    migrate(path, tmp_path / "store", SourceOptions(shortest_digits=True), config=FAST)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert store.get_many(keys_of(5)).tobytes() == rows.tobytes()


def test_langchains_own_key_encoders_and_namespaces(tmp_path: Path) -> None:
    """The default layout: namespace and digest of the text, which the key then is."""
    import hashlib

    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_classic.storage import LocalFileStore
    from langchain_core.embeddings import DeterministicFakeEmbedding

    class Narrow(DeterministicFakeEmbedding):  # type: ignore[misc]
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            wide = np.array(super().embed_documents(texts))
            return [[float(value) for value in row] for row in wide.astype(np.float32)]

    model = Narrow(size=16)
    cached = CacheBackedEmbeddings.from_bytes_store(
        model, LocalFileStore(tmp_path / "cache"), namespace="titan-", key_encoder="sha256"
    )
    (wanted,) = cached.embed_documents(["a text"])
    migrate(tmp_path / "cache", tmp_path / "store", config=FAST)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        found = store.get("titan-" + hashlib.sha256(b"a text").hexdigest())
    assert found.tolist() == wanted


def test_namespaces_of_a_sql_store_are_kept_apart(tmp_path: Path) -> None:
    from titanstore import MigrationError

    path, _ = WRITERS["sql-store"](tmp_path, rows_of(3))
    with closing(sqlite3.connect(path)) as database:
        other = json.dumps([1.0, 2.0]).encode()
        database.execute(
            "INSERT INTO langchain_key_value_stores VALUES ('other', 'chunk-0', ?)", (other,)
        )
        database.commit()
    with pytest.raises(MigrationError, match="which namespace"):
        migrate(path, tmp_path / "store", config=FAST)
    done = migrate(path, tmp_path / "store", SourceOptions(namespace="other"), config=FAST)
    assert done.added == 1
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert store.get("chunk-0").tolist() == [1, 2]


def test_links_within_a_folder_are_read(tmp_path: Path) -> None:
    path, options = write_langchain(tmp_path, rows_of(3))
    (path / "again").symlink_to(path / "chunk-1")
    done = migrate(path, tmp_path / "store", options, config=FAST)
    assert done.added == 4


def test_a_row_that_comes_twice_with_the_same_bits_is_no_conflict(tmp_path: Path) -> None:
    path, options = write_jsonl(tmp_path, rows_of(10))
    text = path.read_text()
    path.write_text(text + text)
    for batch_rows in (4, 100):
        done = migrate(
            path,
            tmp_path / f"store{batch_rows}",
            replace(options, batch_rows=batch_rows),
            config=FAST,
        )
        assert (done.added, done.unchanged) == (10, 10)
