"""The files of a report, written beside the run they show."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.pages import seal_pages
from harness.report.figures import build_figures
from harness.report.junit import render_junit
from harness.report.model import read_report
from harness.report.page import render_page
from harness.report.summary import render_summary

__all__ = ["write_report"]


def write_report(run_dir: Path) -> list[Path]:
    """Write report.html, report.pdf, figures/*.png, junit.xml and summary.md into a run.

    pages.json beside them vouches for them.

    Parameters
    ----------
    run_dir
        Holds verdicts.json, manifest.json and the raw samples they name; these are only read.

    Returns
    -------
    list of Path
        The files written, report.html first. A figure without data is not among them, and an
        older picture of it is removed.

    Raises
    ------
    FileNotFoundError, ValueError
        From `read_report`; then nothing was written.

    Notes
    -----
    Everything is rendered before the first file is written, and each file appears whole or not at
    all. Equal runs give equal bytes with equal versions of the drawing packages.
    """
    from harness.report.pdf import render_pdf  # fonts take a second to load: not at each start

    report = read_report(run_dir)
    figures = build_figures(report, run_dir)
    contents = {
        "report.html": render_page(report, figures).encode(),
        "report.pdf": render_pdf(report, figures),
        "junit.xml": b'<?xml version="1.0" encoding="UTF-8"?>\n' + render_junit(report).encode(),
        "summary.md": render_summary(report).encode(),
    }
    contents |= {f"figures/{f.name}.png": f.png for f in figures if not f.missing}
    (run_dir / "figures").mkdir(exist_ok=True)
    for figure in figures:
        if figure.missing:
            (run_dir / "figures" / f"{figure.name}.png").unlink(missing_ok=True)
    written = [_replace(run_dir / name, content) for name, content in contents.items()]
    seal_pages(run_dir, contents)
    return written


def _replace(path: Path, content: bytes) -> Path:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)  # mkstemp's 0600 would hide it from a web server
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
