"""Proofs: wrong use ends before anything is measured, with status 2 and a word on what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness import cli

WAIVER = """
[[waiver]]
gate = "quality.search"
reason = "search comes with a later part"
owner = "release manager"
expires = 2999-12-31
commits = "{commit}"

[[waiver]]
gate = "query.latency"
reason = "it was to be measured by then"
owner = "search"
expires = 2020-01-31
commits = "{commit}"
"""


def wrong_use(tmp_path: Path, words: Sequence[str]) -> str:
    """The message of a `gate` that ends before it measures, with status 2 and no run folder."""
    reports = tmp_path / "reports"
    found = CliRunner().invoke(cli.main, ["gate", "--reports", str(reports), *words])
    assert found.exit_code == 2, found.stderr
    assert not reports.exists() or list(reports.iterdir()) == []
    return found.stderr


def test_a_corpus_without_source_files_says_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    message = wrong_use(tmp_path, ["--corpus", str(tmp_path / "corpus")])
    assert "has 0 UTF-8 source files" in message
    assert "100 wanted (--corpus DIR)" in message


def test_an_unknown_gate_says_which_there_are(tmp_path: Path) -> None:
    message = wrong_use(tmp_path, ["--only", "latency.warm"])
    assert "no gate 'latency.warm'; there are quality.bits, " in message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[titanstore", "titanstore.toml"),
        ("[titanstore]\nspeed = 3\n", "speed"),
        ("[titanstore]\npolicy = 'best'\n", "policy: 'best', wanted"),
        ("[titanstore]\nhot_bytes_max = -1\n", "hot_bytes_max: -1, wanted"),
    ],
)
def test_a_broken_configuration_says_where(tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "titanstore.toml").write_text(content)
    assert word in wrong_use(tmp_path, ["--config", str(tmp_path / "titanstore.toml")])


def test_a_waiver_of_an_unknown_gate_says_which_there_are(tmp_path: Path) -> None:
    text = WAIVER.format(commit="c" * 40).replace("quality.search", "quality.serach")
    (tmp_path / "waivers.toml").write_text(text)
    message = wrong_use(tmp_path, ["--waivers", str(tmp_path / "waivers.toml")])
    assert "no gate 'quality.serach'; there are quality.bits, " in message


def test_a_folder_without_recorded_vectors_says_so(tmp_path: Path) -> None:
    (tmp_path / "recorded").mkdir()
    message = wrong_use(tmp_path, ["--recorded", str(tmp_path / "recorded")])
    assert f"recorded vectors in {tmp_path / 'recorded'}" in message


def test_a_folder_without_history_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    message = wrong_use(tmp_path, ["--git", str(tmp_path / "empty")])
    assert "--git: git log" in message


def test_reports_that_cannot_be_kept_say_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = CliRunner().invoke(cli.main, ["gate", "--reports", str(tmp_path / "file" / "x")])
    assert found.exit_code == 2
    assert "a run cannot be kept in" in found.stderr


def test_a_folder_in_the_place_of_the_link_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    found = CliRunner().invoke(cli.main, ["gate", "--reports", str(tmp_path)])
    assert found.exit_code == 2
    assert "move what is there away" in found.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]
