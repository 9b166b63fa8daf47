"""`titanstore config`: what is in force and why, on a terminal and for a script."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from titanstore import EmbeddingStore, StoreConfig, load_config
from titanstore.cli import main
from titanstore.config import ENVIRONMENT_PREFIX


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["config", *(str(word) for word in words)])


def test_the_page_shows_every_setting_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITANSTORE_POLICY", "lru")
    monkeypatch.setenv("TITANSTORE_FALLBACK", "1")
    shown = run()
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line for line in lines if line and not line.startswith(" ") and " = " in line]
    assert [head.split(" = ")[0] for head in heads] == list(asdict(StoreConfig()))
    by_name = {head.split(" = ")[0]: " ".join(head.split()) for head in heads}
    assert by_name["policy"] == 'policy = "lru" variable TITANSTORE_POLICY'
    assert by_name["versions_max"] == "versions_max = 64 versions default"
    assert by_name["compression"] == ("compression = false fallback TITANSTORE_FALLBACK, else true")
    assert by_name["dimension"] == "dimension = nothing default"
    told = " ".join(shown.stdout.split())
    assert told.count(" Costs: ") == told.count(" Range: ") == len(heads)


def test_a_long_place_goes_on_a_line_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / ("x" * 60) / "store.toml"
    file.parent.mkdir()
    file.write_text("versions_max = 3\n")
    lines = run("--file", file).stdout.splitlines()
    place = lines.index("versions_max = 3 versions")
    assert "".join(lines[place + 1 : place + 3]).split()[:2] == ["file", f"{file}:1"]


def test_json_is_the_same_for_programs(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text('[titanstore]\npolicy = "lru"\nrollout_percent = 12.5\n')
    shown = run("--file", file, "--set", "hot_bytes_max=5", "--json")
    found = json.loads(shown.stdout)
    values = {each["name"]: each["value"] for each in found["settings"]}
    assert values == asdict(load_config(file=file, environment={}, hot_bytes_max=5))
    by_name = {each["name"]: each for each in found["settings"]}
    assert (by_name["policy"]["origin"], by_name["policy"]["place"]) == ("file", f"{file}:2")
    assert by_name["hot_bytes_max"]["place"] == "hot_bytes_max=5"
    assert by_name["hot_bytes_max"]["unit"] == "bytes"
    assert by_name["dimension"]["place"] is None
    assert found["troubles"] == found["store"] == []


def test_what_is_wrong_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "store.toml"
    file.write_text("hot_bytes = 1\n")
    monkeypatch.setenv("TITANSTORE_POLICY", "fifo")
    shown = run("--file", file)
    assert (shown.exit_code, shown.stdout) == (2, "")
    lines = shown.stderr.splitlines()
    assert lines[0].startswith(f"{file}:1: there is no setting 'hot_bytes'. Did you mean hot_")
    assert lines[1].startswith("TITANSTORE_POLICY: policy cannot be 'fifo'. It may be: ")
    assert all(line.endswith("[bad-setting]") for line in lines)
    told = run("--file", file, "--json")
    assert told.exit_code == 2
    found = json.loads(told.stdout)
    assert [each["place"] for each in found["troubles"]] == [f"{file}:1", "TITANSTORE_POLICY"]
    assert found["settings"] == []


@pytest.mark.parametrize("words", [["--set", "policy"], ["--set"], ["--unknown"], ["a", "b"]])
def test_wrong_use(words: list[str]) -> None:
    shown = run(*words)
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "Error: " in shown.stderr


def test_a_store_says_what_its_settings_do_not_undo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "s"
    with EmbeddingStore.open(folder, StoreConfig(bloom=True)) as store:
        store.put_many(["a", "b"], np.ones((2, 64), np.float32), "doc")
        for _ in range(3):
            store.snapshot()
        store.tag(1, "kept")
    said = run(folder).stdout
    assert "2 vectors, 1 documents" in said
    assert "bloom: there is a filter; the next writer with these settings deletes it" in said
    assert "versions_max" not in said[said.index("STORE") :]
    assert "there is a filter" not in run(folder, "--set", "bloom=true").stdout
    told = " ".join(run(folder, "--set", "versions_max=1").stdout.split())
    assert "the next maintain gives up 1 of 2 versions without a tag" in told
    with EmbeddingStore.open(folder, StoreConfig()) as store:  # beside a writer
        found = json.loads(run(folder, "--set", "bloom=yes", "--json").stdout)
        assert found["store"][1] == "bloom: there is no filter yet; the next writer builds it"
        assert len(store) == 2
    monkeypatch.setenv("TITANSTORE_FALLBACK", "1")
    assert run(folder).exit_code == 0


def test_no_store(tmp_path: Path) -> None:
    shown = run(tmp_path / "absent")
    assert (shown.exit_code, "[no-store]" in shown.stderr) == (2, True)
    assert not (tmp_path / "absent").exists()
