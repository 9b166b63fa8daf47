"""Risk: a source, a command or a neighbour that means harm, or is only unlucky, and is believed."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fixtures.vectors import random_bits, signalling_nans
from harness.reliability.mutations import mutated_binary, mutated_text
from suites.tests.migration.sources import (
    WRITERS,
    rows_of,
    write_jsonl,
    write_npy_folder,
    write_parquet,
)
from titanstore import BusyError, EmbeddingStore, ErrorKind, MigrationError, StorageError
from titanstore.cli import main
from titanstore.config import StoreConfig
from titanstore.migration import SourceOptions, migrate, open_source, preview, undo_migration
from titanstore.migration.run import exact_batch

FAST = StoreConfig(durability="power_cut_may_lose_store", publish=False)


def run(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(main, ["migrate", *map(str, words)])
    return found.exit_code, found.output


def lines(path: Path, *objects: object) -> Path:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in objects))
    return path


# ---------------------------------------------------------------- lost without a word


@pytest.mark.parametrize("name", ["late.NPY", "late.bin", "late"])
def test_a_file_of_the_kind_that_is_called_otherwise_is_not_passed_over(
    name: str, tmp_path: Path
) -> None:
    path, _ = _folder(tmp_path)
    (path / "chunk-2.npy").rename(path / name)
    with pytest.raises(MigrationError, match=r"does not end in \.npy") as caught:
        migrate(path, tmp_path / "store", config=FAST)
    assert caught.value.kind is ErrorKind.BAD_SOURCE


def _folder(tmp_path: Path) -> tuple[Path, SourceOptions]:
    folder = tmp_path / "source"
    folder.mkdir()
    return write_npy_folder(folder, rows_of(3))


def test_a_source_that_gives_fewer_than_it_promised_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from titanstore.migration.arrow import ParquetFiles

    path, options = write_parquet(tmp_path, rows_of(30))
    real = ParquetFiles.batches
    monkeypatch.setattr(ParquetFiles, "batches", lambda self: list(real(self))[:-1])
    with pytest.raises(MigrationError, match="promised 30 vectors and gave 24"):
        migrate(path, tmp_path / "store", replace(options, batch_rows=6), config=FAST)


def test_one_member_of_an_npz_counts_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mine=rows_of(3), other=rows_of(5))
    seen: list[tuple[int, int | None]] = []
    options = SourceOptions(vector="mine")
    migrate(
        tmp_path / "a.npz",
        tmp_path / "store",
        options,
        config=FAST,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (3, 3)


def test_a_key_that_is_found_in_place_and_then_replaced_is_two_vectors(tmp_path: Path) -> None:
    """The store would end with the second, and both be called verified."""
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        store.put("k", np.ones(1, np.float32))
    path = lines(tmp_path / "a.jsonl", {"key": "k", "vector": [1.0]}, {"key": "k", "vector": [2.0]})
    with pytest.raises(MigrationError, match="two vectors for 'k'") as caught:
        migrate(
            path,
            tmp_path / "store",
            SourceOptions(batch_rows=1),
            config=FAST,
            on_conflict="replace",
        )
    assert caught.value.kind is ErrorKind.CONFLICT
    undo_migration(tmp_path / "store", config=FAST)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert store.get("k").tolist() == [1.0]


@pytest.mark.parametrize("digits", ["1e999", "-1e999", "1" + "0" * 400 + ".0"])
def test_a_number_beyond_every_float_is_no_infinity(digits: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"key": "k", "vector": [Infinity, {digits}, 1.0]}}\n')
    with pytest.raises(MigrationError, match="nothing is rounded") as caught:
        migrate(path, tmp_path / "store", config=FAST)
    assert caught.value.kind is ErrorKind.INEXACT
    path.write_text('{"key": "k", "vector": [Infinity, -Infinity, NaN]}\n')
    assert migrate(path, tmp_path / "store", config=FAST).added == 1


@pytest.mark.parametrize("order", ["<f4", ">f4"])
def test_every_bit_pattern_of_float32_arrives(order: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = np.concatenate([random_bits(rng, 20, 33), signalling_nans(rng, 20, 33)])
    words = rows.view(np.uint32).astype(f"{order[0]}u4")
    np.save(tmp_path / "m.npy", words.view(order))
    migrate(tmp_path / "m.npy", tmp_path / "store", config=FAST)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        found = store.get_many([f"m/{row}" for row in range(40)])
    assert found.tobytes() == rows.tobytes()


def test_every_bit_pattern_of_float16_arrives(tmp_path: Path) -> None:
    patterns = np.arange(2**16, dtype=np.uint16).reshape(16, -1)
    np.save(tmp_path / "m.npy", patterns.view(np.float16))
    migrate(tmp_path / "m.npy", tmp_path / "store", config=FAST)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        wide = store.get_many([f"m/{row}" for row in range(16)])
    assert (wide.astype(np.float16).view(np.uint16) == patterns).all()


@pytest.mark.parametrize(
    "kind", ["npy", "npy-folder", "npz", "parquet-folder", "sql-store", "sqlite-blobs", "jsonl"]
)
def test_whatever_a_file_holds_it_is_taken_or_refused(kind: str, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "little")
    base = tmp_path / "base"
    base.mkdir()
    path, options = WRITERS[kind](base, rows_of(12))
    for number in range(15):
        rng = random.Random(f"{seed} {number}")
        work = tmp_path / str(number)
        shutil.copytree(base, work)
        place = work / path.relative_to(base)
        file = rng.choice(sorted(place.rglob("*"))) if place.is_dir() else place
        data = file.read_bytes()
        is_text = kind == "jsonl" and rng.random() < 0.7
        file.write_bytes(mutated_text(data.decode(), rng) if is_text else mutated_binary(data, rng))
        try:
            source = open_source(place, options)
            source.count()
            for batch in source.batches():
                exact_batch(batch, options, FAST)
        except MigrationError:
            continue
        except BaseException as error:
            raise AssertionError(f"seed {seed}, input {number}") from error


# ---------------------------------------------------------------- what a dry run has to see


@pytest.mark.parametrize(
    ("key", "document", "told"),
    [
        ("", None, "must not be empty"),
        ("k" * 481, None, "at most 480 bytes"),
        ("\ud800", None, "encodable as UTF-8"),
        ("k", "d" * 481, "document name"),
    ],
)
def test_a_key_that_no_store_takes_is_seen_by_the_dry_run(
    key: str, document: str | None, told: str, tmp_path: Path
) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"key": "fine", "vector": [1.0], "d": "x"},
        {"key": key, "vector": [1.0], "d": document},
    )
    for words in (("--dry-run",), ()):
        code, output = run(path, tmp_path / "store", "--document-column", "d", *words)
        assert (code, told in output, "Traceback" in output) == (2, True, False), output


@pytest.mark.parametrize("settings", [{"dimension": 3}, {"refuse_non_finite": True}])
def test_what_the_settings_refuse_is_seen_by_the_dry_run(
    settings: dict[str, object], tmp_path: Path
) -> None:
    path = lines(tmp_path / "a.jsonl", {"key": "k", "vector": [1.0, float("nan")]})
    config = replace(FAST, **settings)  # type: ignore[arg-type]
    with pytest.raises(MigrationError, match="'k' cannot be stored"):
        preview(path, tmp_path / "store", config=config)


def test_a_name_that_is_no_text_is_refused_by_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    np.save(tmp_path / "a.npy", rows_of(1)[0])
    (tmp_path / "a.npy").rename(os.fsdecode(os.fsencode(folder) + b"/odd\xff.npy"))
    code, output = run(folder, tmp_path / "store")
    assert (code, "cannot be stored" in output, "Traceback" in output) == (2, True, False)


@pytest.mark.parametrize("name", ["n" * 300, "a/" * 3000])
def test_a_path_that_cannot_be_is_wrong_use_and_no_damage(name: str, tmp_path: Path) -> None:
    for words in ((tmp_path / name, tmp_path / "store"), (_one(tmp_path), tmp_path / name)):
        code, output = run(*words)
        assert (code, "Traceback" in output) == (2, False), output


def _one(tmp_path: Path) -> Path:
    return lines(tmp_path / "one.jsonl", {"key": "k", "vector": [1.0]})


def test_a_store_in_its_source_and_the_other_way_round_are_refused(tmp_path: Path) -> None:
    folder, _ = _folder(tmp_path)
    for source, store in (
        (folder, folder / "store"),
        (folder, folder),
        (folder / "chunk-0.npy", folder),
        (tmp_path, folder / ".." / "store"),
    ):
        for words in ((), ("--dry-run",)):
            code, output = run(source, store, *words)
            assert (code, "lie in each other" in output) == (2, True), output
    assert not (folder / "store").exists()


# ---------------------------------------------------------------- undo


def test_undo_with_dry_run_undoes_nothing(tmp_path: Path) -> None:
    migrate(_one(tmp_path), tmp_path / "store", config=FAST)
    code, output = run("--undo", tmp_path / "store", "--dry-run", "--yes")
    assert (code, "from 1 vectors back to 0" in output) == (0, True), output
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert len(store) == 1


def test_a_migration_that_is_kept_gives_its_records_back(tmp_path: Path) -> None:
    """The commands of docs/how-to/bring-your-embeddings.md."""
    target = tmp_path / "store"
    migrate(_one(tmp_path), target, config=FAST)

    def command(*words: object) -> str:
        found = CliRunner().invoke(main, [str(word) for word in words])
        assert found.exit_code == 0, found.output
        return found.output

    (tag,) = re.findall(r"tag '(migration [0-9a-f]{16})'", command("versions", target))
    command("untag", target, tag)
    assert "dropped 2 versions" in command("maintain", target, "--keep-versions", 0)
    assert command("versions", target) == "no versions\n"
    code, output = run("--undo", target, "--yes")
    assert (code, "knows of no migration to undo" in output) == (2, True)
    command("snapshot", target, "--label", "now")
    command("tag", target, "now", "good")
    assert "dropped 0 versions" in command("maintain", target, "--keep-versions", 0)
    assert CliRunner().invoke(main, ["untag", str(target), "bad"]).exit_code == 2


def test_undo_after_later_writes_says_so_and_gives_a_way_forward(tmp_path: Path) -> None:
    target = tmp_path / "store"
    with EmbeddingStore.open(target, FAST) as store:
        store.put("old", np.array([1], np.float32), document="d")
    migrate(lines(tmp_path / "a.jsonl", {"key": "new", "vector": [2.0]}), target, config=FAST)
    with EmbeddingStore.open(target, FAST) as store:
        store.put("old", np.array([3], np.float32), document="d")
        store.put("new", np.array([4], np.float32), document="d")
        store.put("late", np.array([5], np.float32))
    undone = undo_migration(target, config=FAST)
    assert undone.later_changes == 4  # three vectors and the document
    assert undone.left is not None
    with EmbeddingStore.open(target, FAST) as store:
        assert [key for key in ("old", "new", "late") if key in store] == ["old"]
        assert (store.get("old").tolist(), store.document_keys("d")) == ([1.0], ["old"])
        store.rollback(undone.left.number)
        assert [store.get(key)[0] for key in ("old", "new", "late")] == [3, 4, 5]
        assert store.check().is_clean


# ---------------------------------------------------------------- neighbours


def test_two_migrations_at_once_are_one_and_a_refusal(tmp_path: Path) -> None:
    path, options = write_jsonl(tmp_path, rows_of(40))
    refusals: list[ErrorKind] = []

    def second(done: int, _: int | None) -> None:
        if done == 16:
            with pytest.raises(BusyError) as caught:
                migrate(_one(tmp_path), tmp_path / "store", config=FAST)
            refusals.append(caught.value.kind)
            assert run("--undo", tmp_path / "store", "--yes")[0] == 2

    options = replace(options, batch_rows=16)
    done = migrate(path, tmp_path / "store", options, config=FAST, progress=second)
    assert (done.added, refusals) == (40, [ErrorKind.ALREADY_OPEN])


def test_another_writer_between_a_kill_and_the_next_run_is_named(tmp_path: Path) -> None:
    path, options = write_jsonl(tmp_path, rows_of(40))

    class StopError(Exception):
        pass

    def stop(done: int, _: int | None) -> None:
        if done == 16:
            raise StopError

    options = replace(options, batch_rows=16)
    with pytest.raises(StopError):
        migrate(path, tmp_path / "store", options, config=FAST, progress=stop)
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        store.put("chunk-3", np.ones(24, np.float32))
    with pytest.raises(MigrationError, match="or another writer changed it since") as caught:
        migrate(path, tmp_path / "store", options, config=FAST)
    assert caught.value.kind is ErrorKind.CONFLICT


def test_a_log_that_sqlite_has_not_taken_in_is_read_and_left(tmp_path: Path) -> None:
    """A writer in WAL mode is at work: what it committed is moved, and its files stay."""
    path = tmp_path / "cache.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode=wal")
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("CREATE TABLE t (key TEXT, v BLOB)")
        for row in range(5):
            writer.execute("INSERT INTO t VALUES (?, ?)", (f"k{row}", struct.pack("<f", row)))
        writer.commit()
        log = path.with_name("cache.db-wal")
        before = path.read_bytes(), log.read_bytes()
        assert (
            migrate(
                path, tmp_path / "store", SourceOptions(vector="v", dimension=1), config=FAST
            ).added
            == 5
        )
        assert (path.read_bytes(), log.read_bytes()) == before


# ---------------------------------------------------------------- no room


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes (the kernel's RLIMIT_FSIZE)."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_migration_that_finds_the_disk_full_goes_on_when_there_is_room(tmp_path: Path) -> None:
    rows = rows_of(400, 256)
    np.save(tmp_path / "m.npy", rows)
    target, options = tmp_path / "store", SourceOptions(batch_rows=64)
    with EmbeddingStore.open(target, FAST) as store:
        store.put("before", np.ones(4, np.float32))
    room = max(one.stat().st_size for one in target.rglob("*") if one.is_file())
    with files_up_to(max(room, 200_000)), pytest.raises(StorageError) as caught:
        migrate(tmp_path / "m.npy", target, options, config=FAST)
    assert caught.value.kind is ErrorKind.DISK_FULL
    with EmbeddingStore.open(target, FAST) as store:
        kept = len(store) - 1
        assert store.check().is_clean
    assert 0 < kept < 400
    done = migrate(tmp_path / "m.npy", target, options, config=FAST)
    assert (done.added, done.unchanged, done.verified) == (400 - kept, kept, 400)
    assert undo_migration(target, config=FAST).is_whole
    with EmbeddingStore.open(target, FAST) as store:
        assert (len(store), "before" in store) == (1, True)
