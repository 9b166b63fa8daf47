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
