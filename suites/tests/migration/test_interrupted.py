"""Risk: a migration that is killed, stopped or taken back, and leaves a wrong or a half store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from suites.tests.migration.sources import WRITERS, keys_of, rows_of, write_jsonl, write_npy
from titanstore import EmbeddingStore, ErrorKind, MigrationError, NotFoundError, StoreConfig
from titanstore.cli import main
from titanstore.migration import SourceOptions, migrate, undo_migration

FAST = StoreConfig(durability="power_cut_may_lose_store", publish=False)
# A child that gets a signal when so many rows are moved; the signal is real, the moment is exact.
CHILD = """
import os, signal, sys
from titanstore.migration import run
kind, rows = int(sys.argv[1]), int(sys.argv[2])
move, seen = run._Mover._move_batch, [0]
def move_and_stop(self, batch, fingerprint):
    move(self, batch, fingerprint)
    seen[0] += len(batch.keys)
    if seen[0] >= rows:
        os.kill(os.getpid(), kind)
run._Mover._move_batch = move_and_stop
from titanstore.cli import main
sys.argv = ["titanstore", *sys.argv[3:]]
main()
"""


def stopped(kind: signal.Signals, rows: int, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(int(kind)), str(rows), "migrate", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def run(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(main, ["migrate", *map(str, words)])
    return found.exit_code, found.output


@pytest.fixture(params=["npy", "sql-store"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[object]]:
    folder = tmp_path / "source"
    folder.mkdir()
    path, options = WRITERS[request.param](folder, rows_of(1100))
    return path, ["--keys", options.keys_file] if options.keys_file else []


def test_killed_in_the_middle_the_same_command_goes_on(
    source: tuple[Path, list[object]], tmp_path: Path
) -> None:
    path, words = source
    target = tmp_path / "store"
    done = stopped(signal.SIGKILL, 1024, path, target, *words)
    assert done.returncode == -signal.SIGKILL
    with EmbeddingStore.open(target, FAST, read_only=True) as store:
        half = len(store)
        assert store.check().is_clean
    assert half == 1024
    code, output = run(path, target, *words)
    assert code == 0, output
    assert f"{1100 - half} added, 0 replaced, {half} there already" in output
    assert "1100 verified" in output
    with EmbeddingStore.open(target, FAST) as store:
        assert len(store) == 1100
        assert store.get_many(keys_of(1100)).tobytes() == rows_of(1100).tobytes()
        before = store.versions()[0]
        assert before.vectors == 0  # the first run's, not the half-done state of the second
    assert undo_migration(target, config=FAST).before == replace(before)


def test_ctrl_c_says_what_stays_and_how_to_go_on(tmp_path: Path) -> None:
    path, options = write_npy(tmp_path, rows_of(1100))
    target = tmp_path / "store"
    done = stopped(signal.SIGINT, 1024, path, target, "--keys", options.keys_file)
    assert done.returncode == 130
    assert "the same command goes on, and --undo takes it back" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert "\x1b" not in done.stderr  # a pipe gets no bar
    code, output = run("--undo", target, "--yes")
    assert code == 0, output
    with EmbeddingStore.open(target, FAST) as store:
        assert len(store) == 0


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    """Through a real pseudo-terminal."""
    import pty

    path, options = write_npy(tmp_path, rows_of(300))
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "titanstore.cli", "migrate", path, tmp_path / "store"]
    script = "import sys; from titanstore.cli import main; main()"
    words[1:3] = ["-c", script]
    child = subprocess.Popen(
        [*map(str, words), "--keys", str(options.keys_file)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert child.stdout is not None
    output = child.stdout.read()
    child.stdout.close()
    os.close(ours)
    assert child.wait(60) == 0
    assert b"moving" in shown
    assert b"100%" in shown
    assert b"300 added" in output
    assert b"\x1b" not in output


def test_a_source_that_changed_since_the_kill_is_noticed(tmp_path: Path) -> None:
    path, _ = write_jsonl(tmp_path, rows_of(1100))
    target = tmp_path / "store"
    assert stopped(signal.SIGKILL, 1024, path, target).returncode == -signal.SIGKILL
    with path.open("a") as lines:
        lines.write(json.dumps({"id": "late", "embedding": [1.0] * 24}) + "\n")
    code, output = run(path, target)
    assert (code, "has changed since its migration began" in output) == (2, True)
    assert "source-changed" in output
    assert run("--undo", target, "--yes")[0] == 0
    code, output = run(path, target)
    assert (code, "1101 added" in output) == (0, True), output


def grow(path: Path) -> None:
    with path.open("a") as lines:
        lines.write(json.dumps({"id": "late", "embedding": [1.0] * 24}) + "\n")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


def replaced_by_a_copy(path: Path) -> None:
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


@pytest.mark.parametrize("change", [grow, touch, replaced_by_a_copy])
def test_a_source_that_changes_under_us_is_noticed(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    path, options = write_jsonl(tmp_path, rows_of(50))
    options = replace(options, batch_rows=16)

    def change_once(done: int, _: int | None) -> None:
        if done == 32:
            change(path)

    with pytest.raises(MigrationError, match="changed while it was read") as caught:
        migrate(path, tmp_path / "store", options, config=FAST, progress=change_once)
    assert caught.value.kind is ErrorKind.SOURCE_CHANGED
    undone = undo_migration(tmp_path / "store", config=FAST)
    assert not undone.is_whole
    assert migrate(path, tmp_path / "store", options, config=FAST).added >= 50


def test_a_lance_table_that_gets_a_version_meanwhile_is_noticed(tmp_path: Path) -> None:
    import lancedb

    path, options = WRITERS["lance"](tmp_path, rows_of(40))

    def add(done: int, _: int | None) -> None:
        if done == 16:
            table = lancedb.connect(str(path)).open_table("chunks")
            table.add([{"id": "late", "text": "", "vector": [1.0] * 24}])

    with pytest.raises(MigrationError, match="changed while it was read"):
        migrate(
            path, tmp_path / "store", replace(options, batch_rows=16), config=FAST, progress=add
        )
    with EmbeddingStore.open(tmp_path / "store", FAST) as store:
        assert "late" not in store  # the version that was there at the beginning was read


# ---------------------------------------------------------------- taking back


def a_line(path: Path, **fields: object) -> Path:
    path.write_text(json.dumps(fields) + "\n")
    return path


def test_undo_gives_back_replaced_vectors_and_keeps_a_way_forward(tmp_path: Path) -> None:
    target = tmp_path / "store"
    old, new = np.array([1, 2], np.float32), np.array([3, 4], np.float32)
    with EmbeddingStore.open(target, FAST) as store:
        store.put("k", old, document="d")
    path = a_line(tmp_path / "a.jsonl", key="k", vector=new.tolist())
    code, output = run(path, target)
    assert (code, "conflict" in output, "--replace" in output) == (2, True, True)
    code, output = run(path, target, "--replace")
    assert (code, "1 replaced" in output) == (0, True)
    with EmbeddingStore.open(target, FAST) as store:
        assert store.get("k").tobytes() == new.tobytes()
        assert store.document_keys("d") == ["k"]
    undone = undo_migration(target, config=FAST)
    with EmbeddingStore.open(target, FAST) as store:
        assert store.get("k").tobytes() == old.tobytes()
        assert undone.left is not None
        store.rollback(undone.left.number)
        assert store.get("k").tobytes() == new.tobytes()


def test_undo_tells_of_changes_that_others_made_since(tmp_path: Path) -> None:
    target = tmp_path / "store"
    path = a_line(tmp_path / "a.jsonl", key="k", vector=[1.0])
    migrate(path, target, config=FAST)
    with EmbeddingStore.open(target, FAST) as store:
        store.put("mine", np.ones(1, np.float32))
    code, output = run("--undo", target)  # nobody there to answer
    assert code == 1
    assert "1 changes of others since its end go too" in output
    with EmbeddingStore.open(target, FAST) as store:
        assert len(store) == 2


def test_migrations_are_undone_one_by_one_newest_first(tmp_path: Path) -> None:
    target = tmp_path / "store"
    for name in "abc":
        migrate(a_line(tmp_path / f"{name}.jsonl", key=name, vector=[1.0]), target, config=FAST)
    for left in ({"a", "b"}, {"a"}, set()):
        undo_migration(target, config=FAST)
        with EmbeddingStore.open(target, FAST) as store:
            assert {key for key in "abc" if key in store} == left
    with pytest.raises(NotFoundError) as caught:
        undo_migration(target, config=FAST)
    assert caught.value.kind is ErrorKind.UNKNOWN_VERSION


def test_a_version_to_go_back_to_outlives_retention(tmp_path: Path) -> None:
    target, settings = tmp_path / "store", replace(FAST, versions_max=0)
    path, options = write_jsonl(tmp_path, rows_of(20))
    migrate(path, target, options, config=settings)
    with EmbeddingStore.open(target, settings) as store:
        store.maintain()
    undone = undo_migration(target, config=settings)
    assert (undone.before.vectors, undone.later_changes) == (0, None)  # its end is forgotten


def test_a_migration_of_the_same_source_after_its_undo_begins_anew(tmp_path: Path) -> None:
    target = tmp_path / "store"
    path, options = write_jsonl(tmp_path, rows_of(20))
    for _ in range(2):
        assert migrate(path, target, options, config=FAST).added == 20
        with EmbeddingStore.open(target, FAST) as store:
            store.put("between", np.ones(1, np.float32))
        assert undo_migration(target, config=FAST).later_changes == 1
        with EmbeddingStore.open(target, FAST) as store:
            assert len(store) == 0


def test_options_that_differ_are_another_migration(tmp_path: Path) -> None:
    path, options = write_jsonl(tmp_path, rows_of(3))
    same = options.identity(path, "jsonl")
    assert replace(options, batch_rows=2).identity(path, "jsonl") == same
    for other in (SourceOptions(key="id"), SourceOptions(dimension=24)):
        assert other.identity(path, "jsonl") != same
    assert options.identity(tmp_path / "other", "jsonl") != same
