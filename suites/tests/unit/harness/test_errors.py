"""Risk: a failure of the harness leaves with the exit status of a verdict."""

from __future__ import annotations

import pickle

import pytest

from harness.errors import EvidenceError, HarnessError, UsageError
from harness.gates import EXIT_CODES


@pytest.mark.parametrize(
    ("kind", "status"), [(HarnessError, 4), (UsageError, 2), (EvidenceError, 1)]
)
def test_each_error_has_its_exit_status(kind: type[HarnessError], status: int) -> None:
    assert kind("why").exit_code == status


def test_no_error_of_a_run_looks_like_a_verdict() -> None:
    assert {HarnessError.exit_code, UsageError.exit_code}.isdisjoint(EXIT_CODES.values())


@pytest.mark.parametrize("kind", [HarnessError, UsageError, EvidenceError])
def test_errors_survive_the_way_to_another_process(kind: type[HarnessError]) -> None:
    again = pickle.loads(pickle.dumps(kind("seen 1, wanted 2")))  # noqa: S301
    assert type(again) is kind
    assert str(again) == "seen 1, wanted 2"
