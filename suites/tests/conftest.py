"""Fixtures of tests that make real runs, proofs and comparisons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import environment
from harness.prove.clones import clone_as_it_is


@pytest.fixture(scope="module")
def resting_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of this checkout, with a commit of its own, that is the project until the module ends.

    A run is bound to one commit and content, and is INVALID if its tree is edited or committed to
    meanwhile; in the checkout itself a developer may do so at any time. Workers run from the copy.
    """
    copy = tmp_path_factory.mktemp("resting") / "checkout"
    clone_as_it_is(copy)
    with pytest.MonkeyPatch.context() as patch:
        # what `project_root` goes by
        patch.setattr(environment, "__file__", str(copy / "harness" / "environment.py"))
        patch.setenv("PYTHONPATH", str(copy / "src"))
        yield copy
