"""`titanstore`: what it prints, and an exit status that a script can trust."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from titanstore import EmbeddingStore, StoreConfig
from titanstore.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = StoreConfig(durability="power_cut_may_lose_store")
    with EmbeddingStore.open(tmp_path / "s", config) as store:
        store.put_many(["a", "b", "c"], np.ones((3, 64), np.float32), "doc")
        store.delete(["a", "b"])
    return tmp_path / "s"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_info(folder: Path) -> None:
    shown = run("info", folder)
    assert shown.exit_code == 0
    words = [line.split() for line in shown.output.splitlines()]
    assert ["vectors", "1"] in words
    assert ["documents", "1"] in words
    assert any(word[0] == "bytes/vector" for word in words)


def test_check_while_a_writer_has_it_open(folder: Path) -> None:
    with EmbeddingStore.open(folder, StoreConfig()):
        shown = run("check", folder)
    assert shown.exit_code == 0
    assert shown.output == "1 vectors, 1 documents, 1 segments: no problems\n"


def test_maintain(folder: Path) -> None:
    shown = run("maintain", folder)
    assert shown.exit_code == 0
    assert shown.output.startswith("removed 1 segment files, freed ")
    assert run("check", folder).exit_code == 0


def test_an_interrupted_check_does_not_say_that_the_store_is_damaged(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EmbeddingStore, "check", interrupted)
    shown = run("check", folder)
    assert (shown.exit_code, shown.output.strip()) == (130, "interrupted")


@pytest.mark.parametrize("command", ["info", "check", "maintain"])
def test_what_cannot_be_carried_out(command: str, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, kind in ((tmp_path / "absent", "no-store"), (tmp_path, "no-store")):
        shown = run(command, path)
        assert shown.exit_code == 2
        assert f"[{kind}]" in shown.output
    assert run(command).exit_code == 2
    assert run(command, folder, "--unknown").exit_code == 2
    assert run("unknown", folder).exit_code == 2
    assert run().exit_code == 2
    (folder / "STORE").write_text('{"format": 9, "store_id": ""}')
    shown = run(command, folder)
    assert (shown.exit_code, "[newer-format]" in shown.output) == (2, True)
    assert not (tmp_path / "absent").exists()


def test_busy(folder: Path) -> None:
    with EmbeddingStore.open(folder, StoreConfig()):
        shown = run("maintain", folder)
    assert (shown.exit_code, "[already-open]" in shown.output) == (2, True)


def test_bad_settings_in_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITANSTORE_POLICY", "fifo")
    shown = run("check", folder)
    assert (shown.exit_code, "[bad-setting]" in shown.output) == (2, True)
    assert "Traceback" not in shown.output


def test_help_and_version() -> None:
    for words in (["--help"], ["-h"], ["check", "--help"], ["--version"]):
        assert run(*words).exit_code == 0
    assert "0 all is well, 1 the store is damaged, 2" in " ".join(run("--help").output.split())


def test_installed_as_a_command(folder: Path) -> None:
    command = Path(sys.executable).with_name("titanstore")
    done = subprocess.run([command, "check", folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("no problems\n")


# -- versions ------------------------------------------------------------------------------


def fingers(folder: Path) -> dict[str, bytes]:
    with EmbeddingStore.open(folder, read_only=True) as store:
        return {key: store.get(key).tobytes() for key in ("a", "b", "c") if key in store}


def test_versions_by_command(folder: Path) -> None:
    assert run("versions", folder).output == "no versions\n"
    before = fingers(folder)
    shown = run("snapshot", folder, "--label", "clean")
    assert shown.exit_code == 0
    words = shown.output.split()
    assert (words[0], words[2]) == ("1", "snapshot")
    assert shown.output.endswith("1 vectors, 1 documents  'clean'\n")
    with EmbeddingStore.open(folder, StoreConfig()) as store:
        store.put_many(["a", "c"], -np.ones((2, 64), np.float32), "doc")
        store.tag(1, "stable")
        assert "tag 'stable'" in run("versions", folder).output  # beside a writer
    shown = run("diff", folder, "clean")
    assert (shown.exit_code, shown.output) == (0, "+ a\n~ c\nD doc\n")
    shown = run("rollback", folder, "stable", "--yes")
    assert (shown.exit_code, "rollback" in shown.output) == (0, True)
    assert fingers(folder) == before
    assert run("diff", folder, "1").output == "no difference\n"
    assert run("diff", folder, "1", "2").output == "+ a\n~ c\nD doc\n"
    assert len(run("versions", folder).output.splitlines()) == 3
    assert run("check", folder).exit_code == 0


@pytest.mark.parametrize(("answer", "is_done"), [("y\n", True), ("n\n", False), ("", False)])
def test_rollback_asks(folder: Path, answer: str, is_done: bool) -> None:
    before = fingers(folder)
    assert run("snapshot", folder).exit_code == 0
    with EmbeddingStore.open(folder, StoreConfig()) as store:
        store.put("c", -np.ones(64, np.float32))
    shown = CliRunner().invoke(main, ["rollback", str(folder), "1"], input=answer)
    assert "takes back: 0 added, 1 replaced, 0 removed vectors; 1 documents changed" in shown.output
    assert (fingers(folder) == before) is is_done
    assert shown.exit_code == (0 if is_done else 2)
    assert ("left as it was" in shown.output) is (not is_done)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["rollback", "7", "--yes"], "unknown-version"),
        (["rollback", "nope"], "unknown-version"),
        (["rollback", "1", "--yes"], "version-gone"),
        (["diff", "1"], "version-gone"),
        (["diff", "2", "nope"], "unknown-version"),
        (["snapshot", "--label", ""], "empty-key"),
    ],
)
def test_versions_that_are_not_there(folder: Path, words: list[str], kind: str) -> None:
    with EmbeddingStore.open(folder, StoreConfig()) as store:
        for _ in range(2):
            store.snapshot()
        store.drop_versions(keep=1)
    shown = run(words[0], folder, *words[1:])
    assert (shown.exit_code, f"[{kind}]" in shown.output) == (2, True)
    assert "Traceback" not in shown.output


@pytest.mark.parametrize(
    "words", [["rollback"], ["diff"], ["rollback", "1", "2"], ["versions", "x"]]
)
def test_wrong_use_of_versions(folder: Path, words: list[str]) -> None:
    assert run(words[0], folder, *words[1:]).exit_code == 2
    shown = run(words[0], "--help")
    assert shown.exit_code == 0
    assert "PATH" in shown.output


@pytest.mark.parametrize("words", [["versions"], ["snapshot"], ["rollback", "1"], ["diff", "1"]])
def test_versions_of_no_store(tmp_path: Path, words: list[str]) -> None:
    shown = run(words[0], tmp_path / "absent", *words[1:])
    assert (shown.exit_code, "[no-store]" in shown.output) == (2, True)
    assert not (tmp_path / "absent").exists()
