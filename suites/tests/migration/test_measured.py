"""Risk: the measurement that a page shows cannot be run, or leaves gigabytes behind."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

from suites.bench import migration_memory


@pytest.mark.parametrize("is_kept", [False, True])
def test_only_a_folder_that_was_named_is_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    is_kept: bool,
) -> None:
    for name in ("tmp", "kept"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    kept = ["--folder", str(tmp_path / "kept")] if is_kept else []
    words = ["migration_memory.py", "60", "--dimension", "8", "--undo", *kept]
    monkeypatch.setattr(sys, "argv", words)
    migration_memory.main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["vectors"] == told["added"] == 60
    assert told["raw_bytes"] == 60 * 8 * 4
    assert told["undo_anonymous_bytes_max"] > 1_000_000
    assert list((tmp_path / "tmp").iterdir()) == []
    assert any((tmp_path / "kept").iterdir()) == is_kept
