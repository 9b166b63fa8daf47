"""One source of each kind, written by the library that people write it with."""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from titanstore.migration import SourceOptions

Rows = NDArray[np.float32]
DIMENSION = 24


def rows_of(count: int, dimension: int = DIMENSION, seed: int = 7) -> Rows:
    """Vectors with signs of zero among them; JSON holds these exactly as widened doubles."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    rows[:, 0] = -0.0
    return rows


def keys_of(count: int) -> list[str]:
    return [f"chunk-{number}" for number in range(count)]


def write_npy(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    np.save(folder / "matrix.npy", rows)
    (folder / "keys.txt").write_text("".join(f"{key}\n" for key in keys_of(len(rows))))
    return folder / "matrix.npy", SourceOptions(keys_file=folder / "keys.txt")


def write_npy_folder(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    for key, row in zip(keys_of(len(rows)), rows, strict=True):
        np.save(folder / f"{key}.npy", row)
    return folder, SourceOptions()


def write_npz(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    np.savez_compressed(folder / "both.npz", vectors=rows, keys=np.array(keys_of(len(rows))))
    return folder / "both.npz", SourceOptions()


def write_npz_members(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    np.savez(folder / "all.npz", **dict(zip(keys_of(len(rows)), rows, strict=True)))
    return folder / "all.npz", SourceOptions()


def write_parquet(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {"id": keys_of(len(rows)), "page": list(range(len(rows))), "embedding": list(rows)}
    )
    pq.write_table(table, folder / "t.parquet", write_page_checksum=True, row_group_size=100)
    return folder / "t.parquet", SourceOptions()


def write_parquet_folder(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    """Two files as pandas or Spark leave them: fixed-size lists, large strings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys, half = keys_of(len(rows)), len(rows) // 2
    for number, part in enumerate((slice(0, half), slice(half, None))):
        values = pa.FixedSizeListArray.from_arrays(pa.array(rows[part].ravel()), rows.shape[1])
        table = pa.table({"key": pa.array(keys[part], pa.large_string()), "v": values})
        pq.write_table(table, folder / f"part-{number}.parquet")
    return folder, SourceOptions()


def write_lance(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    import lancedb

    database = lancedb.connect(str(folder / "db"))
    data: list[dict[str, Any]] = [
        {"id": key, "text": f"text of {key}", "vector": row}
        for key, row in zip(keys_of(len(rows)), rows, strict=True)
    ]
    table = database.create_table("chunks", data[: len(rows) // 2])
    table.add(data[len(rows) // 2 :])
    return folder / "db", SourceOptions()


def write_langchain(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    """`CacheBackedEmbeddings` itself over its `LocalFileStore`, with a key encoder of ours."""
    from langchain_classic.embeddings import CacheBackedEmbeddings
    from langchain_classic.storage import LocalFileStore
    from langchain_core.embeddings import Embeddings

    vectors: dict[str, list[float]] = dict(zip(keys_of(len(rows)), rows.tolist(), strict=True))

    class Known(Embeddings):  # type: ignore[misc]
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vectors[text] for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vectors[text]

    cached = CacheBackedEmbeddings.from_bytes_store(
        Known(), LocalFileStore(folder / "cache"), key_encoder=lambda text: text
    )
    cached.embed_documents(list(vectors))
    return folder / "cache", SourceOptions()


def write_sql_store(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    """The table that LangChain's `SQLStore` makes, with the bytes that it is given."""
    with closing(sqlite3.connect(folder / "cache.db")) as database:
        database.execute("PRAGMA journal_mode=wal")
        database.execute(
            "CREATE TABLE langchain_key_value_stores (namespace VARCHAR NOT NULL, "
            "key VARCHAR NOT NULL, value BLOB NOT NULL, PRIMARY KEY (namespace, key))"
        )
        database.executemany(
            "INSERT INTO langchain_key_value_stores VALUES ('titan', ?, ?)",
            [
                (key, json.dumps(row.tolist()).encode())
                for key, row in zip(keys_of(len(rows)), rows, strict=True)
            ],
        )
        database.commit()
    return folder / "cache.db", SourceOptions()


def write_sqlite_blobs(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    with closing(sqlite3.connect(folder / "blobs.db")) as database:
        database.execute('CREATE TABLE "odd ""name" (id TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID')
        database.executemany(
            'INSERT INTO "odd ""name" VALUES (?, ?)',
            [
                (key, row.astype("<f4").tobytes())
                for key, row in zip(keys_of(len(rows)), rows, strict=True)
            ],
        )
        database.commit()
    return folder / "blobs.db", SourceOptions(vector="v", dimension=rows.shape[1])


def write_jsonl(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    lines = [
        json.dumps({"id": key, "embedding": row.tolist(), "tokens": [1, 2]})
        for key, row in zip(keys_of(len(rows)), rows, strict=True)
    ]
    (folder / "lines.jsonl").write_text("\n".join(lines) + "\n\n")
    return folder / "lines.jsonl", SourceOptions()


def write_jsonl_gz(folder: Path, rows: Rows) -> tuple[Path, SourceOptions]:
    path, options = write_jsonl(folder, rows)
    packed = path.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return packed, options


Writer = Callable[[Path, Rows], tuple[Path, SourceOptions]]
WRITERS: dict[str, Writer] = {
    "npy": write_npy,
    "npy-folder": write_npy_folder,
    "npz": write_npz,
    "npz-members": write_npz_members,
    "parquet": write_parquet,
    "parquet-folder": write_parquet_folder,
    "lance": write_lance,
    "langchain": write_langchain,
    "sql-store": write_sql_store,
    "sqlite-blobs": write_sqlite_blobs,
    "jsonl": write_jsonl,
    "jsonl-gz": write_jsonl_gz,
}
