"""The command `harness`."""

from __future__ import annotations

import json
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.anchor_files import make_anchor
from harness.commands import bench, trend
from harness.compare.commands import calibrate as calibrate_command
from harness.compare.commands import compare as compare_command
from harness.compare.commands import show_compare
from harness.compare.documents import is_compare
from harness.compare.page import write_pages
from harness.display import ConsoleProgress
from harness.doctor import diagnose
from harness.environment import project_root
from harness.errors import EvidenceError, HarnessError
from harness.hotpaths.commands import hotpaths, show_hotpaths
from harness.hotpaths.page import is_hotpaths
from harness.limits.commands import limits, show_limits
from harness.limits.page import is_limits
from harness.memory.commands import memory, show_profile
from harness.memory.page import is_profile
from harness.prove.commands import command as prove_command
from harness.record.commands import command as record_command
from harness.recordings import TITANS, recorded_folder
from harness.reliability.commands import command as reliability_command
from harness.report.diff_page import headline, read_diff, row_line, write_diff
from harness.report.model import read_report
from harness.report.terminal import render_terminal
from harness.report.write import write_report
from harness.rivals.commands import rivals, show_rivals
from harness.rivals.page import is_rivals
from harness.run import Options, run_gates
from harness.scale.commands import scale, show_scale
from harness.scale.page import is_scale
from harness.signals import INTERRUPTED, TERMINATED, sigterm_tidies_up
from harness.soak.commands import soak as soak_command
from harness.targets import PROFILES, load_targets
from harness.verifiers import verify_folder
from harness.workload.editing import EditingSession, editing_session
from harness.workload.git import git_replay
from harness.workload.trace import Trace, save_trace

__all__ = ["main"]

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 96}
_INTERRUPTED, _TERMINATED = INTERRUPTED, TERMINATED


class _Group(click.Group):
    """Turns the harness's errors into its exit statuses, and Ctrl-C into 130."""

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().main(*args, **{**extra, "standalone_mode": False})
        except click.exceptions.Abort:
            click.echo("interrupted: nothing was judged, nothing was kept", err=True)
            sys.exit(_INTERRUPTED)
        except click.ClickException as error:
            error.show()
            sys.exit(2)
        except HarnessError as error:
            click.echo(f"harness: {error}", err=True)
            sys.exit(error.exit_code)
        except Exception:
            # Python's own status would be 1, and that means NO-GO
            traceback.print_exc()
            click.echo("harness: this is a fault of the harness, not a verdict", err=True)
            sys.exit(HarnessError.exit_code)


@click.group(cls=_Group, context_settings=_HELP)
def main() -> None:
    """Measure a build of titanstore and decide with evidence whether it may ship.

    Exit status of `gate`: 0 GO, 1 NO-GO, 2 wrong use or configuration, 3 HOLD (something is not
    known), 4 the harness itself failed, 130 interrupted.
    """


main.add_command(prove_command)
main.add_command(compare_command)
main.add_command(calibrate_command)
main.add_command(soak_command)
main.add_command(reliability_command)
main.add_command(record_command)


main.add_command(bench)
main.add_command(trend)
main.add_command(memory)
main.add_command(hotpaths)
main.add_command(scale)
main.add_command(limits)
main.add_command(rivals)


# of folders that are no runs: how to tell, and what writes the pages again
_KINDS = (
    (is_profile, show_profile),
    (is_hotpaths, show_hotpaths),
    (is_limits, show_limits),
    (is_scale, show_scale),
    (is_rivals, show_rivals),
)

_RUN = click.argument(
    "run", type=click.Path(path_type=Path), default=None, required=False, metavar="[RUN]"
)


def _run_folder(run: Path | None) -> Path:
    """A run by path, by its name below reports/, or the latest."""
    reports = project_root() / "reports"
    for folder in (run, reports / run) if run else (reports / "latest",):
        if folder.is_dir():
            return folder.resolve()
    raise click.UsageError(f"no run {run or reports / 'latest'}; make one with `harness gate`")


@main.command()
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="ci",
    show_default=True,
    help="ci: every push, under 5 minutes. nightly: all sizes. release: everything.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="GATE",
    help="Measure only this gate (repeatable); the others stay NOT RUN.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML with settings of the store; one configuration for all gates.",
)
@click.option(
    "--corpus",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of source files.  [default: the running Python's standard library]",
)
@click.option(
    "--recorded",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of recorded Titan vectors.  [default: ../shared/data/titan if there]",
)
@click.option(
    "--titan",
    type=click.Choice(TITANS),
    default="recorded",
    show_default=True,
    help="live: what harness record made on this machine. emulated: no recordings.",
)
@click.option(
    "--git",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Also replay the history of this repository; its row then decides.",
)
@click.option(
    "--waivers",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML with accepted misses (docs/reference/waivers.md).",
)
@click.option(
    "--anchor",
    type=click.Path(exists=True, path_type=Path),
    help="Anchor to show each row beside.  [default: the newest of reports/anchors]",
)
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where runs are kept.  [default: reports/]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=20_261_124,
    show_default=True,
    help="Of every random choice.",
)
@click.option("--strict", is_flag=True, help="HOLD exits with 1 instead of 3.")
@click.option("--keep", is_flag=True, help="Keep the prepared stores in the run's folder.")
def gate(**given: Any) -> None:
    """Measure, judge, and write a report; the exit status is the decision."""
    console = Console(stderr=True)
    reports = given.pop("reports") or project_root() / "reports"
    recorded = recorded_folder(given["titan"], given.pop("recorded"))
    options = Options(
        reports=reports,
        recorded=recorded,
        command=["harness", *(shlex.quote(word) for word in sys.argv[1:])],
        **{**given, "only": tuple(given["only"])},
    )
    with sigterm_tidies_up(), ConsoleProgress(console) as progress:
        run = run_gates(options, progress)
    _show(run)
    sys.exit(json.loads((run / "verdicts.json").read_text())["decision"]["exit_code"])


def _show(run: Path) -> None:
    console = Console()
    console.print(render_terminal(read_report(run), width=min(console.width, 110)))
    shown = os.path.relpath(run.parent / "latest" / "report.html")
    console.print(f"Report: {shown}", highlight=False, soft_wrap=True)


@main.command()
@_RUN
def verify(run: Path | None) -> None:
    """Recompute every verdict of RUN from its raw samples.

    RUN is a folder, or its name below reports/; without it, reports/latest. A proof
    (reports/proofs/...) and an anchor (reports/anchors/...) are recomputed likewise. Exit status 0
    if verdicts and evidence agree, 1 if they do not.
    """
    folder = _run_folder(run)
    faults = verify_folder(folder)
    for fault in faults:
        click.echo(fault)
    if faults:
        raise EvidenceError(f"{folder.name} does not stand: {len(faults)} differences")
    click.echo(f"{folder.name}: every verdict follows from the raw samples")


@main.command()
@_RUN
@click.option("--label", required=True, help="Name of the release: its tag, say.")
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where anchors are kept, in a folder anchors.  [default: reports/]",
)
def anchor(run: Path | None, label: str, reports: Path | None) -> None:
    """Keep RUN as the anchor of a release: later reports show each row beside its value.

    RUN is a folder, or its name below reports/; without it, reports/latest. It must stand
    (`harness verify`). Its raw samples are kept with it.
    """
    kept = make_anchor(_run_folder(run), label, reports or project_root() / "reports")
    click.echo(f"{os.path.relpath(kept)}: anchor {label}")


@main.command()
@_RUN
def report(run: Path | None) -> None:
    """Write the pages of RUN again from its files, and show the table.

    RUN may also be the folder of a comparison (of branches, with rivals), of a memory profile, of a
    profile of hot paths, of `harness scale` or of `harness limits`.
    """
    folder = _run_folder(run)
    for is_of_kind, show in _KINDS:
        if is_of_kind(folder):
            show(folder)
            return
    if is_compare(folder):
        write_pages(folder)
        show_compare(folder)
        return
    try:
        write_report(folder)
    except (OSError, ValueError) as error:
        raise EvidenceError(str(error)) from error
    _show(folder)


@main.command()
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write into.  [default: diff/ below the folder of AFTER]",
)
def diff(before: Path, after: Path | None, out: Path | None) -> None:
    """Set two runs side by side: verdicts that changed, values that moved.

    BEFORE and AFTER are folders, or names below reports/; without AFTER, reports/latest. Writes
    diff.html and diff.json. Shows and never judges: exit status 0, or 3 if the runs are of
    different machines or configurations, so that their values are not comparable.
    """
    folders = _run_folder(before), _run_folder(after)
    try:
        found = read_diff(*folders)
    except (OSError, ValueError, KeyError) as error:
        raise EvidenceError(f"no two whole runs: {error}") from error
    for row in found.rows:
        if row.changed or row.seen in ("worse", "better"):
            click.echo(row_line(row))
    page = write_diff(found, out or folders[1].parent / "diff")
    if found.strange:
        click.echo(f"not comparable: {found.strange}")
    click.echo(f"{headline(found)}; {os.path.relpath(page)}")
    sys.exit(3 if found.strange else 0)


@main.command()
def doctor() -> None:
    """Say what this machine can and cannot measure, and what would make it better.

    Exit status 0 if every gate of this build can be measured, 3 if some cannot.
    """
    findings = diagnose()
    marks = {"good": "ok  ", "worse": "note", "missing": "MISS"}
    for finding in findings:
        click.echo(f"{marks[finding.state]}  {finding.what}: {finding.seen}")
        if finding.advice:
            click.echo(f"      {finding.advice}")
    if any(finding.state == "missing" for finding in findings):
        sys.exit(3)


@main.command()
def targets() -> None:
    """List the promises: each gate with its rows, limits, and where it decides."""
    for one in load_targets().gates:
        where = ", ".join(one.blocking) or "nowhere"
        click.echo(f"{one.id}  (decides in: {where}; owner: {one.owner})\n  {one.claim}")
        for row in one.rows:
            kind = "" if row.blocking else "  advisory"
            click.echo(
                f"    {row.id}: {row.statistic} of {row.metric} {row.comparator} "
                f"{row.limit:g} {row.unit}{kind}"
            )


@main.group()
def trace() -> None:
    """Write traces that replay exactly."""


_OUT = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File to write, JSON lines, gzip'd.",
)
_SEED = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of every random choice.",
)
_READS = click.option(
    "--reads",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="Length of the trace.",
)


def _write_trace(make: Callable[[], Trace], out: Path) -> None:
    try:
        made = make()
        save_trace(made, out)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {len(made)} accesses, {made.reads} reads, digest {made.digest[:16]}")


@trace.command("git")
@click.argument("repository", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_OUT
@_SEED
@_READS
def trace_git(repository: Path, out: Path, seed: int, reads: int) -> None:
    """Derive a trace from the history of REPOSITORY: each commit saves its files."""
    _write_trace(lambda: git_replay(repository, seed, reads_max=reads), out)


@trace.command("editing")
@_OUT
@_SEED
@_READS
def trace_editing(out: Path, seed: int, reads: int) -> None:
    """Generate an editing session: one developer at work on 100 files."""
    _write_trace(lambda: editing_session(seed, EditingSession(reads=reads)), out)
