"""Risk: the sampler sees something else than the path, or nothing, and the page looks as if."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import harness.cli
import harness.progress
from harness.errors import EvidenceError, HarnessError
from harness.hotpaths import profile as profile_module
from harness.hotpaths.page import read_paths, write_hotpaths_page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile of two paths."""
    reports = tmp_path_factory.mktemp("hot")
    words = ["hotpaths", "--only", "decode", "--only", "search", "--seconds", "1.5"]
    harness.cli.main([*words, "--reports", str(reports)])
    return (reports / "hotpaths" / "latest").resolve()


def test_the_stores_functions_are_seen(folder: Path) -> None:
    document, paths = read_paths(folder)
    assert [path.name for path in paths] == ["decode", "search"]
    for path in paths:
        assert path.samples > 50
        assert 1e-6 < path.call_s < 0.5
        own = [one for one in path.functions if "titanstore/" in one.name]
        assert sum(one.own for one in own) > 0.2
        assert not any("build_store" in one.name for one in path.functions)
    assert document["paths"]["decode"]["instruments"] == []


def test_the_page_has_graph_and_table_and_fetches_nothing(folder: Path) -> None:
    text = write_hotpaths_page(folder).read_text()
    assert text.count('class="flame"') == 2
    assert "http" not in text.replace("http-equiv", "")
    assert "titanstore" in text


def test_damaged_stacks_are_no_page(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "hotpaths.json").write_text((folder / "hotpaths.json").read_text())
    with pytest.raises(EvidenceError, match=r"decode\.stacks"):
        write_hotpaths_page(tmp_path)


def test_a_sampler_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "py-spy"
    program.write_text("#!/bin/sh\necho 'Permission denied: ask for SYS_PTRACE' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(profile_module, "sampler", lambda: program)
    options = profile_module.HotOptions(
        reports=tmp_path, recorded=None, only=("get",), seconds=1.0, files=12
    )
    with pytest.raises(HarnessError, match="SYS_PTRACE"):
        profile_module.profile_paths(options, harness.progress.Progress())
    assert not list(tmp_path.rglob("hotpaths.json"))


def test_wrong_use_is_said(tmp_path: Path) -> None:
    for words in (["--only", "rename"], ["--seconds", "0"], ["--dimension", "7"]):
        with pytest.raises(SystemExit) as ended:
            harness.cli.main(["hotpaths", "--reports", str(tmp_path), *words])
        assert ended.value.code == 2
    assert json.dumps([str(path) for path in tmp_path.iterdir()]) == "[]"
