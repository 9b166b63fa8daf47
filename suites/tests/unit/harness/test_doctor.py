"""Risk: a machine that cannot measure is called fit, or advice is missing where it is needed."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from harness import doctor
from harness.doctor import Finding, diagnose


@pytest.fixture
def findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Finding]:
    monkeypatch.chdir(tmp_path)
    found = {finding.what: finding for finding in diagnose()}
    assert list(tmp_path.iterdir()) == []  # probes are tidied up
    return found


def test_everything_a_measure_needs_is_looked_at(findings: dict[str, Finding]) -> None:
    assert set(findings) == {
        "Python on Linux",
        "processor",
        "load",
        "memory by page type",
        "clock",
        "disk",
        "dropping cached pages",
        "numpy's kernels",
        "recorded vectors",
        "git",
        "killing a child before each write call",
        "programs of the runbooks",
        "LanceDB",
        "profilers",
    }


def test_whatever_is_not_good_comes_with_advice(findings: dict[str, Finding]) -> None:
    for finding in findings.values():
        assert finding.seen
        assert bool(finding.advice) is (finding.state != "good"), finding


Usage = namedtuple("Usage", "total used free")  # as shutil's


def test_a_full_disk_cannot_be_measured_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**8))
    found = doctor._disk()
    assert (found.state, found.seen) == ("missing", "0.1 GB free")


def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (64.0, 1.0, 1.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert doctor._load().state == "worse"


def test_a_kernel_without_page_types_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> dict[str, int]:
        raise FileNotFoundError("no smaps_rollup")

    monkeypatch.setattr(doctor, "page_types", missing)
    found = doctor._proc()
    assert found.state == "missing"
    assert "memory.steady" in found.advice


def test_slow_kernels_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_L2_SIZE", raising=False)
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    assert doctor._blas().state == "good"
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    assert doctor._blas().state == "worse"


def test_a_machine_without_git_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert doctor._git().state == "worse"


def test_a_missing_profiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_is_installed", lambda name: name != "py_spy")
    found = doctor._profilers()
    assert (found.state, found.seen) == ("worse", "py_spy not installed")
    monkeypatch.undo()
    assert not doctor._is_installed("a-distribution-that-nobody-made")
