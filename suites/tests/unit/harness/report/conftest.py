from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.report.figures import Figure, build_figures
from harness.report.model import Report, read_report
from harness.report.write import write_report
from suites.tests.unit.harness.report.synthetic_run import build_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One synthetic run with its report; shared by the tests, which only read it."""

    folder: Path
    files: list[Path]
    report: Report
    figures: tuple[Figure, ...]
    page: str


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    folder = build_run(tmp_path_factory.mktemp("run"))
    files = write_report(folder)
    report = read_report(folder)
    return Rendered(
        folder=folder,
        files=files,
        report=report,
        figures=build_figures(report, folder),
        page=(folder / "report.html").read_text(encoding="utf-8"),
    )
