"""Proofs: a run that cannot be finished leaves no folder, hence no verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import run as run_module
from harness.errors import HarnessError
from harness.measures import quality
from harness.measures.base import Sizes
from harness.progress import Progress
from harness.run import Options, run_gates

TINY = Sizes(files=1, hostile_vectors=200)
BITS = "quality.bits"


def test_a_run_that_cannot_go_on_leaves_nothing(tmp_path: Path) -> None:
    def full(_store: Path) -> None:
        raise OSError(28, "No space left on device")

    options = Options(
        profile="ci",
        reports=tmp_path,
        command=["harness", "gate"],
        only=(BITS,),
        sizes=TINY,
        after_build=full,
    )
    with pytest.raises(OSError, match="No space left"):
        run_gates(options, Progress())
    assert list(tmp_path.iterdir()) == []


def test_two_measurements_of_one_name_are_an_error_of_the_harness(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def twice(context: Any) -> list[Any]:
        found: list[Any] = context.together([quality._hostile(context)])
        return found * 2

    monkeypatch.setattr(run_module, "MEASURES", {BITS: twice})
    monkeypatch.setattr(run_module, "PLANS", {})
    options = Options(
        profile="ci",
        reports=tmp_path,
        command=["harness", "gate"],
        sizes=replace(TINY, hostile_vectors=4),
    )
    with pytest.raises(HarnessError, match="two measurements of one name"):
        run_gates(options, Progress())
    assert list(tmp_path.iterdir()) == []
