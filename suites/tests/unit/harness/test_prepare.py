"""What runs of one proof are measured on is made once, and taken only where it is the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import prepare
from harness.measurement import Process
from harness.measures.base import Sizes
from harness.population import Population
from harness.progress import Progress
from harness.worker import Task

FILES = Sizes(files=1)


def made(folder: Path, kept: Path | None, **given: Any) -> dict[str, Population]:
    wanted: dict[str, Any] = {"corpus": None, "seed": 1, "empty_body": False, **given}
    found = prepare.prepare(folder, FILES, (), progress=Progress(), kept=kept, **wanted)
    return found.populations


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """Tasks that were given to workers, which write a population of zeros here."""
    found: list[Task] = []

    def run_tasks(tasks: Sequence[Task], **_: Any) -> list[Process]:
        for measure, job in tasks:
            found.append((measure, job))
            folder = Path(job["folder"])
            folder.mkdir(parents=True)
            np.save(folder / "vectors.npy", np.full((1, 4), len(found), np.float32))
            content = {
                "name": folder.name,
                "model": job["serving"],
                "dimension": 4,
                "documents": ["a"],
                "chunks_per_document": 1,
                "keys": ["b"],
                "corpus": "c",
                "corpus_digest": "d",
                "evidence": "emulated",
                "embedded": "by a test",
            }
            (folder / "population.json").write_text(json.dumps(content))
        return []

    monkeypatch.setattr(prepare, "run_tasks", run_tasks)
    return found


def test_the_second_run_takes_what_the_first_has_kept(tmp_path: Path, asked: list[Task]) -> None:
    kept = tmp_path / "kept"
    first = made(tmp_path / "first", kept)
    assert len(asked) == len(first) == 2
    second = made(tmp_path / "second", kept)
    assert len(asked) == 2
    for name, population in second.items():
        assert population.folder.is_relative_to(tmp_path / "second")
        assert np.array_equal(population.vectors(), first[name].vectors())


@pytest.mark.parametrize("other", [{"seed": 2}, {"empty_body": True}])
def test_another_job_is_done(tmp_path: Path, asked: list[Task], other: dict[str, Any]) -> None:
    kept = tmp_path / "kept"
    first = made(tmp_path / "first", kept)
    second = made(tmp_path / "second", kept, **other)
    assert len(asked) == 4
    assert not np.array_equal(second["files-1024"].vectors(), first["files-1024"].vectors())
    made(tmp_path / "third", kept)
    assert len(asked) == 4


def test_two_tasks_that_make_the_same_are_kept_once(tmp_path: Path) -> None:
    tasks = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vectors.npy").write_text("the same")
        tasks.append(("preparing", {"seed": 1, "folder": str(tmp_path / name)}))
    prepare._keep(tmp_path / "kept", tasks)
    (kept,) = (tmp_path / "kept").iterdir()
    assert (kept / "vectors.npy").read_text() == "the same"


def test_nothing_is_kept_unless_asked_for(tmp_path: Path, asked: list[Task]) -> None:
    made(tmp_path / "first", None)
    made(tmp_path / "second", None)
    assert len(asked) == 4


def test_a_run_that_fails_keeps_nothing(
    tmp_path: Path, asked: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    with monkeypatch.context() as broken:
        broken.setattr(prepare, "run_tasks", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path / "first", kept)
    made(tmp_path / "second", kept)
    assert len(asked) == 2


def _interrupted(*_: Any, **__: Any) -> list[Process]:
    raise KeyboardInterrupt
