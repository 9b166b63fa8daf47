"""Risk: a source that is damaged, ambiguous or dangerous, and is moved all the same."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from suites.tests.migration.sources import WRITERS, rows_of, write_jsonl, write_langchain
from titanstore import EmbeddingStore, ErrorKind, MigrationError, StoreConfig
from titanstore.cli import main
from titanstore.migration import SourceOptions, migrate, open_source, preview

FAST = StoreConfig(durability="power_cut_may_lose_store", publish=False)


def refusal(path: Path, options: SourceOptions | None = None, **given: object) -> MigrationError:
    with pytest.raises(MigrationError) as caught:
        migrate(path, path.parent / "target", options, config=FAST, **given)  # type: ignore[arg-type]
    return caught.value


# ---------------------------------------------------------------- nothing is rounded


@pytest.mark.parametrize("value", [0.1, 1e300, 1 + 2**-40, 5e-324, 16777217])
def test_a_float64_that_is_no_float32_is_refused_by_its_key(value: float, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [{"key": "fine", "vector": [1.5, 2]}, {"key": "rounded", "vector": [1.5, value]}]
    path.write_text("\n".join(map(json.dumps, lines)))
    error = refusal(path)
    assert (error.kind, "value 1 of 'rounded'" in str(error)) == (ErrorKind.INEXACT, True)
    assert ("--shortest-digits" in str(error)) == (value == 0.1)


def test_digits_that_name_no_float32_are_refused_even_then(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"key": "k", "vector": [0.1, 0.1000000000001]}))
    assert refusal(path, SourceOptions(shortest_digits=True)).kind is ErrorKind.INEXACT


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.complex64, np.bool_, "U4", "f2,f4"])
def test_what_is_no_float_is_refused(dtype: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.zeros((2, 3), dtype))
    assert "only floats" in str(refusal(tmp_path / "m.npy"))


@pytest.mark.parametrize("value", ["1", None, True, [1.0], {"a": 1}, 2**60])
def test_json_that_is_no_number_is_refused(value: object, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"key": "k", "vector": [1.0, value]}))
    assert "which is no number" in str(refusal(path))


# ---------------------------------------------------------------- nothing runs, nothing leaves


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (os.mkdir, ("unpickled",))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_nothing_is_unpickled(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = np.array([Bomb()], object)
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, bomb, allow_pickle=True)
    else:
        np.savez(path, a=bomb, allow_pickle=True)
    assert "have to be unpickled" in str(refusal(path))
    plain = tmp_path / "b.npy"
    plain.write_bytes(pickle.dumps(Bomb()))
    assert "is nothing known" in str(refusal(plain))
    assert "cannot be read" in str(refusal(plain, SourceOptions(kind="npy")))
    assert not (tmp_path / "unpickled").exists()


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    path, options = write_langchain(tmp_path, rows_of(2))
    secret = tmp_path / "secret"
    secret.write_text("[1.0]")
    (path / "link").symlink_to(secret)
    assert "leads away" in str(refusal(path, options))
    (path / "link").unlink()
    (path / "folder").symlink_to(tmp_path)
    assert "leads away" in str(refusal(path, options))


def test_a_pipe_in_the_folder_does_not_hang(tmp_path: Path) -> None:
    path, options = write_langchain(tmp_path, rows_of(2))
    os.mkfifo(path / "pipe")
    assert "neither a file nor a folder" in str(refusal(path, options))


def test_an_sqlite_file_is_opened_for_reading_only(tmp_path: Path) -> None:
    """A name that looks like an option of SQLite's address is a name."""
    path, options = WRITERS["sqlite-blobs"](tmp_path, rows_of(2))
    odd = path.rename(tmp_path / "a?mode=rwc#b%41.db")
    before = odd.read_bytes()
    assert migrate(odd, tmp_path / "target", options, config=FAST).added == 2
    assert odd.read_bytes() == before
    assert not (tmp_path / "a").exists()


# ---------------------------------------------------------------- damage


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def flip_middle(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


@pytest.mark.parametrize("kind", ["npy", "npz", "npz-members", "parquet", "jsonl-gz", "jsonl"])
def test_a_source_cut_short_is_refused(kind: str, tmp_path: Path) -> None:
    path, options = WRITERS[kind](tmp_path, rows_of(300))
    path.write_bytes(cut(path.read_bytes()))
    assert refusal(path, options).kind is ErrorKind.BAD_SOURCE


@pytest.mark.parametrize("kind", ["npz", "npz-members", "parquet", "jsonl-gz"])
def test_a_flipped_bit_is_noticed_where_the_format_has_a_checksum(
    kind: str, tmp_path: Path
) -> None:
    path, options = WRITERS[kind](tmp_path, rows_of(300))
    path.write_bytes(flip_middle(path.read_bytes()))
    assert refusal(path, options).kind is ErrorKind.BAD_SOURCE


def test_a_damaged_page_of_sqlite_is_refused(tmp_path: Path) -> None:
    path, options = WRITERS["sqlite-blobs"](tmp_path, rows_of(300))
    data = bytearray(path.read_bytes())
    data[4096 : 2 * 4096] = b"\xff" * 4096  # the table's root
    path.write_bytes(data)
    assert refusal(path, options).kind is ErrorKind.BAD_SOURCE


def test_a_missing_data_file_of_lance_is_refused(tmp_path: Path) -> None:
    path, options = WRITERS["lance"](tmp_path, rows_of(40))
    next(iter(path.rglob("*.lance/data/*.lance"))).unlink()
    assert refusal(path, options).kind is ErrorKind.BAD_SOURCE


@pytest.mark.parametrize("content", [b"", b"[", b"[1.0, ", b"{}", b"[[1.0]]", b"\xff\xfe", b"[]"])
def test_a_damaged_value_of_langchain_is_refused(content: bytes, tmp_path: Path) -> None:
    path, options = write_langchain(tmp_path, rows_of(2))
    (path / "broken").write_bytes(content)
    error = refusal(path, replace(options, kind="langchain"))
    assert (error.kind, "broken" in str(error)) == (ErrorKind.BAD_SOURCE, True)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4611686018427387904), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
        b"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 4), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 2), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0), }",
        b"__import__('os').mkdir('run')",
    ],
)
def test_a_header_of_numpy_that_lies_is_refused(header: bytes, tmp_path: Path) -> None:
    padded = header + b" " * (117 - len(header)) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded
    (tmp_path / "m.npy").write_bytes(data + bytes(32))
    assert refusal(tmp_path / "m.npy").kind is ErrorKind.BAD_SOURCE


def test_an_archive_that_is_no_npz_or_encrypted_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vectors.npy", b"not numpy's")
    assert refusal(path).kind is ErrorKind.BAD_SOURCE
    np.savez(path, vectors=rows_of(2))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flags in the directory
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].flag_bits & 1  # marked as encrypted
    assert refusal(path).kind is ErrorKind.BAD_SOURCE


def test_holes_in_arrow_are_refused_by_their_key(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for values, told in (([[1.0], None], "'b' has no vector"), ([[1.0], [None]], "'b' has a hole")):
        table = pa.table({"key": ["a", "b"], "vector": pa.array(values, pa.list_(pa.float32()))})
        pq.write_table(table, tmp_path / "t.parquet")
        assert told in str(refusal(tmp_path / "t.parquet"))
    pq.write_table(pa.table({"key": ["a"], "vector": [[1, 2]]}), tmp_path / "t.parquet")
    assert "int64" in str(refusal(tmp_path / "t.parquet", SourceOptions(vector="vector")))


# ---------------------------------------------------------------- what cannot be told


def test_what_looking_leaves_open_is_asked_for(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({"key": "a", "id": "b", "vector": [1.0]}))
    assert "which column is the key" in str(refusal(lines))
    assert "no column 'nope'" in str(refusal(lines, SourceOptions(key="nope")))
    lines.write_text(json.dumps({"key": "a", "u": [1.0], "v": [2.0]}))
    assert "which column is the vector" in str(refusal(lines))
    lines.write_text(json.dumps({"key": None, "vector": [2.0]}))
    assert "a key is text or a whole number" in str(refusal(lines))
    database = tmp_path / "a.db"
    with closing(sqlite3.connect(database)) as made:
        made.execute("CREATE TABLE a (key TEXT, vector BLOB)")
        made.execute("INSERT INTO a VALUES ('k', x'0000803f')")
        made.commit()
        assert "say their type" in str(refusal(database))
        made.execute("CREATE TABLE b (key TEXT)")
        made.commit()
    assert "which table? it has a, b" in str(refusal(database))
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    np.save(mixed / "a.npy", rows_of(1))
    (mixed / "readme.txt").write_text("hello")
    assert "is nothing known" in str(refusal(mixed))
    assert migrate(mixed, tmp_path / "s", SourceOptions(kind="npy"), config=FAST).added == 1
    assert "there is no" in str(refusal(tmp_path / "absent"))


def test_keys_and_vectors_that_do_not_pair_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", rows_of(3))
    keys = tmp_path / "keys.txt"
    for text, told in (("a\nb\n", "fewer keys"), ("a\nb\nc\nd\n", "more keys")):
        keys.write_text(text)
        error = refusal(tmp_path / "m.npy", SourceOptions(keys_file=keys))
        assert told in str(error)
    np.savez(tmp_path / "n.npz", vectors=rows_of(3), keys=np.array(["a", "b"]))
    assert "fewer keys" in str(refusal(tmp_path / "n.npz"))


def test_a_key_with_two_vectors_in_the_source_is_refused_whatever_was_asked(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    lines = [{"key": "k", "vector": [1.0]}, {"key": "j", "vector": [1.0]}]
    lines.append({"key": "k", "vector": [2.0]})
    path.write_text("\n".join(map(json.dumps, lines)))
    with EmbeddingStore.open(tmp_path / "target", FAST) as store:
        store.put("k", np.array([7], np.float32))
    for batch_rows in (1, 10):
        options = SourceOptions(batch_rows=batch_rows)
        error = refusal(path, options, on_conflict="replace")
        assert (error.kind, "two vectors for 'k'" in str(error)) == (ErrorKind.CONFLICT, True)


def test_a_conflict_is_counted_skipped_or_refused(tmp_path: Path) -> None:
    path, options = write_jsonl(tmp_path, rows_of(10))
    with EmbeddingStore.open(tmp_path / "target", FAST) as store:
        store.put("chunk-3", np.ones(24, np.float32))
        store.put("chunk-4", rows_of(10)[4])
    told = preview(path, tmp_path / "target", options, config=FAST)
    assert (told.rows, told.present, told.conflicts) == (10, 1, 1)
    assert told.conflict_keys == ("chunk-3",)
    assert "'chunk-3' is in the store" in str(refusal(path, options))
    done = migrate(path, tmp_path / "target", options, on_conflict="skip", config=FAST)
    assert (done.added, done.unchanged, done.skipped) == (8, 1, 1)
    assert done.skipped_keys == ("chunk-3",)
    with EmbeddingStore.open(tmp_path / "target", FAST) as store:
        assert store.get("chunk-3").tolist() == [1.0] * 24


def test_options_that_contradict_each_other_are_refused() -> None:
    given: Any
    for given in (
        {"text": "t"},
        {"model": "m"},
        {"text": "t", "model": "m", "key": "k"},
        {"kind": "xml"},
        {"batch_rows": 0},
        {"dimension": 0},
    ):
        with pytest.raises(MigrationError):
            SourceOptions(**given)


@pytest.mark.parametrize(("kind", "package"), [("parquet", "pyarrow"), ("lance", "lancedb")])
def test_a_missing_package_is_named_with_its_extra(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, options = WRITERS[kind](tmp_path, rows_of(4))
    monkeypatch.setitem(sys.modules, package, None)
    error = refusal(path, options)
    assert error.kind is ErrorKind.MISSING_PACKAGE
    assert f"{package}: pip install 'titanstore[lance]'" in str(error)


def test_a_store_that_reads_back_otherwise_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits that change between the write and the file: here in the segment, before it is read."""
    path, options = write_jsonl(tmp_path, rows_of(5))
    put_many = EmbeddingStore.put_many

    def put_others(self: EmbeddingStore, keys: Any, vectors: Any, *rest: Any) -> None:
        put_many(self, keys, [np.negative(vector) for vector in vectors], *rest)

    monkeypatch.setattr(EmbeddingStore, "put_many", put_others)
    assert refusal(path, options).kind is ErrorKind.NOT_AS_WRITTEN


def test_the_command_says_what_is_wrong_and_exits_2(tmp_path: Path) -> None:
    path, _ = write_jsonl(tmp_path, rows_of(3))

    def run(*words: object) -> tuple[int, str]:
        found = CliRunner().invoke(main, ["migrate", *map(str, words)])
        return found.exit_code, found.output

    store = tmp_path / "target"
    for words in (
        (path,),
        (path, store, "--replace", "--skip"),
        ("--undo", path, store),
        (path, store, "--model-option", "dimensions"),
        (path, store, "--model-option", "dimensions={"),
        (tmp_path / "absent", store),
        ("--undo", store),
    ):
        code, output = run(*words)
        assert (code, "Error: " in output, "Traceback" in output) == (2, True, False), words
    assert not store.exists()
    code, output = run(path, store, "--dry-run")
    assert code == 0
    assert "new: 3, there with the same bits: 0, with others: 0" in output
    assert not store.exists()


def test_every_kind_has_a_name_that_can_be_given(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.touch()
    kind: Any
    for kind in ("lance", "langchain"):
        with pytest.raises(MigrationError, match="is a file"):
            open_source(file, SourceOptions(kind=kind))
    for kind in ("sqlite", "jsonl"):
        with pytest.raises(MigrationError, match="is a folder"):
            open_source(folder, SourceOptions(kind=kind))
    with pytest.raises(MigrationError, match="goes with"):
        open_source(folder, SourceOptions(kind="parquet", keys_file=file))
    with pytest.raises(MigrationError, match="goes with"):
        open_source(folder, SourceOptions(kind="npy", keys_file=file))
