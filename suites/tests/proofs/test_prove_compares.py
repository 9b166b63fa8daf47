"""Proofs: what a proof reads out of a comparison, of a real one between tiny commits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.compare.decide import RULE
from harness.compare.progress import CompareProgress
from harness.compare.run import run_compare
from harness.environment import machine, machine_id
from harness.evidence import read_json, write_json
from harness.prove import compares
from harness.prove.catalogue import by_id
from harness.prove.matrix import row_of
from suites.tests.unit.harness.compare.tiny import make_repository, options_of

SAME = by_id("same-code")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of a commit with itself that had hardly any time, kept as a proof keeps it."""
    root = tmp_path_factory.mktemp("tiny") / "repo"
    make_repository(root)
    options = options_of(root, "HEAD", "HEAD", benchmark="Same.*3", minutes_max=0.05)
    folder = run_compare(options, CompareProgress())
    assert folder is not None
    folder.rename(folder.parent / "compare")
    return folder.parent


def test_a_pair_that_was_hardly_looked_at_has_not_kept_quiet(kept: Path) -> None:
    """INCONCLUSIVE is what no rounds at all would say too."""
    seen = compares.look(SAME, kept)
    (line,) = read_json(kept / "compare" / "compare.json")["benchmarks"]
    rounds = line["first"]["rounds"] if line["first"] else 0
    assert seen.values["compare: rounds"] == rounds
    assert (seen.verdicts["compare: rounds"] == "enough") is (rounds >= RULE.looks[0])
    cells = {cell["judge"]: cell["right"] for cell in row_of(SAME, seen)["cells"]}
    assert cells["compare: rounds"] is (rounds >= RULE.looks[0])


def test_it_says_where_and_when_it_was_made_and_that_both_sides_are_one(kept: Path) -> None:
    seen = compares.look(SAME, kept)
    assert seen.verdicts["compare: sides"] == "the same"
    assert seen.verdicts["harness verify"] == "stands"
    assert seen.origin == {"machine": machine_id(machine())}
    assert seen.started is not None
    assert 0 <= time.time() - seen.started < 3_600


def test_two_different_sides_are_no_pair(kept: Path) -> None:
    path = kept / "compare" / "manifest.json"
    manifest = read_json(path)
    try:
        write_json(path, {**manifest, "head": {**manifest["head"], "content_digest": "0" * 32}})
        seen = compares.look(SAME, kept)
    finally:
        write_json(path, manifest)
    assert seen.verdicts["compare: sides"] == "different"
    assert seen.verdicts["harness verify"] == "does not stand"
    assert row_of(SAME, seen)["state"] == "tripped"
