"""The commands `harness soak run`, `resume`, `status` and `verify`."""

from __future__ import annotations

import datetime
import os
import shlex
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from harness import environment
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.finite import FiniteRange
from harness.gates import EXIT_CODES, Verdict
from harness.kept import alone_in
from harness.recordings import TITANS, Titan, recorded_folder
from harness.signals import INTERRUPTED, sigterm_tidies_up
from harness.soak.decide import HOURS, Judgement, judge_soak
from harness.soak.driver import Driver
from harness.soak.evidence import read_soak
from harness.soak.facts import FILE, Facts, begin_soak, newest_soak, read_facts
from harness.soak.faults import INJECTIONS
from harness.soak.figure import growth_text
from harness.soak.page import write_page
from harness.soak.progress import ConsoleSoakProgress
from harness.soak.simulate import SimulationError, simulate
from harness.soak.values import Values
from harness.soak.verify import JUDGEMENT, lost_evidence, verify_soak
from harness.subjects.reference import ReferenceSubject, effective_config

__all__ = ["soak"]

_SAMPLE_S, _SAMPLE_S_SIMULATED = 60.0, 300.0


def soaks_folder() -> Path:
    """Where soaks are kept unless another folder is named."""
    return environment.project_root() / "reports" / "soaks"


class _RunByDefault(click.Group):
    """`harness soak --hours 24` is `harness soak run --hours 24`."""

    def parse_args(self, context: click.Context, words: list[str]) -> list[str]:
        if words and words[0].startswith("--") and words[0] != "--help":
            words = ["run", *words]
        return super().parse_args(context, words)


@click.group(cls=_RunByDefault)
def soak() -> None:
    """Random work, kills and restarts on a store for 24 hours, every answer checked.

    Exit status of `run` and `resume`: 0 PASS, 1 FAIL (a wrong answer, growth, a stall, slower), 2
    wrong use, 3 not decided, as before 24 counted hours, 4 the harness itself failed, 130
    interrupted; what was counted until then stays.
    """


def _soak_of(folder: Path | None) -> Path:
    """The folder that was named, or that of the newest soak; raises UsageError if it is none.

    One that has lost its soak.json and still has segments is a soak, whose evidence is damaged.
    """
    if folder is None:
        return newest_soak(soaks_folder())
    if not any((folder / name).exists() for name in (FILE, JUDGEMENT, "segments")):
        raise UsageError(f"no soak in {folder}; without a FOLDER it is the newest one")
    return folder


_FOLDER = click.argument(
    "folder", type=click.Path(file_okay=False, path_type=Path), required=False, metavar="[FOLDER]"
)
_MINUTES = click.option(
    "--minutes",
    type=FiniteRange(min=0, min_open=True),
    help="Stop after so long; `harness soak resume` goes on.  [default: when all is counted]",
)


@soak.command()
@click.option(
    "--hours",
    type=FiniteRange(min=0, min_open=True),
    default=float(HOURS),
    show_default=True,
    help="Hours to count in all; fewer than 24 are never a PASS.",
)
@_MINUTES
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**64 - 1),
    default=None,
    help="Of every choice.  [default: random]",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to keep it; an empty folder.  [default: a new one below reports/soaks]",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML with settings of the process that is never killed; others draw theirs.",
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
    help="live: what harness record made on this machine. emulated: imitations.",
)
@click.option(
    "--inject",
    type=click.Choice(INJECTIONS),
    help="Put in a fault, to see that it is noticed; such a soak never passes.",
)
@click.option(
    "--simulate",
    "is_simulated",
    is_flag=True,
    help="The operations of all hours with an injected clock, in minutes; shown, never judged.",
)
def run(
    hours: float,
    minutes: float | None,
    seed: int | None,
    folder: Path | None,
    config: Path | None,
    recorded: Path | None,
    titan: Titan,
    inject: str | None,
    is_simulated: bool,
) -> None:
    """Begin a soak."""
    if is_simulated and minutes is not None:
        raise UsageError("--minutes is for real time; --simulate does all --hours at once")
    environment.require_linux()
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    try:
        settings, config_digest = effective_config(config)
    except ReferenceSubject.errors as error:
        raise UsageError(str(error)) from error
    source = recorded_folder(titan, recorded)
    try:
        values = Values.from_folder(source, seed)
    except (OSError, ValueError) as error:
        raise UsageError(f"recorded vectors in {source}: {error}") from error
    now = datetime.datetime.now(datetime.UTC)
    kind = "simulated" if is_simulated else "real-time"
    target = folder or soaks_folder() / f"{now:%Y-%m-%dT%H%M%SZ}-{kind}"
    facts = begin_soak(
        target,
        values,
        tier=kind,
        seed=seed,
        hours=hours,
        settings=settings,
        config_digest=config_digest,
        is_recorded=source is not None,
        command=["harness", *(shlex.quote(word) for word in sys.argv[1:])],
        inject=inject or "",
        sample_s=_SAMPLE_S_SIMULATED if is_simulated else _SAMPLE_S,
    )
    click.echo(f"soak {os.path.relpath(target)}, seed {seed}, commit {facts.commit[:12]}", err=True)
    _go_on(target, facts, minutes)


@soak.command()
@_FOLDER
@_MINUTES
def resume(folder: Path | None, minutes: float | None) -> None:
    """Go on with the soak in FOLDER, or the newest, from where it stopped or was killed."""
    target = _soak_of(folder)
    facts = read_facts(target)
    if facts.tier != "real-time":
        raise UsageError(f"{target} is simulated: repeat it by {_replay(facts)}")
    code = environment.code_of(environment.project_root())
    machine = environment.machine_id(environment.machine())
    if (code.content_digest, machine) != (facts.content_digest, facts.machine):
        raise UsageError(
            f"{target} is of other code or another machine (commit {facts.commit[:12]}, machine "
            f"{facts.machine}): hours of two never add up; begin a new one"
        )
    lost = lost_evidence(target, facts, is_going_on=True)
    if lost:
        raise UsageError(f"{target} is over, something of its evidence is gone: {lost[0]}")
    judged = judge_soak(read_soak(target / "segments"))
    if judged.invalid or judged.wrong:
        raise UsageError(f"{target} is over, {judged.verdict}: {judged.reason}")
    _go_on(target, facts, minutes)


def _go_on(folder: Path, facts: Facts, minutes: float | None) -> None:
    try:
        with (
            alone_in(folder, "soak"),
            sigterm_tidies_up(),
            ConsoleSoakProgress(Console(stderr=True)) as progress,
        ):
            if facts.tier == "simulated":
                begin = time.monotonic()
                simulate(folder, facts, progress)
                progress.note(f"simulated in {time.monotonic() - begin:.0f} s")
            else:
                Driver(folder, facts, progress).run(None if minutes is None else 60 * minutes)
    except KeyboardInterrupt:
        judged = judge_soak(read_soak(folder / "segments"))
        click.echo(f"stopped: {_line(judged)}", err=True)
        if facts.tier == "real-time":
            click.echo(f"go on: harness soak resume {os.path.relpath(folder)}", err=True)
        sys.exit(INTERRUPTED)
    except SimulationError as error:
        raise HarnessError(f"the simulation failed: {error}") from error
    judged = _show(folder, facts)
    if judged.verdict is Verdict.FAIL:
        click.echo(f"replay: {_replay(facts)}, at commit {facts.commit}")
    elif judged.hours < facts.hours - 1e-6 and facts.tier == "real-time":
        click.echo(f"go on: harness soak resume {os.path.relpath(folder)}")
    sys.exit(_exit_code(judged, facts))


def _exit_code(judged: Judgement, facts: Facts) -> int:
    if judged.verdict is Verdict.FAIL:
        return EXIT_CODES["NO-GO"]
    is_pass = judged.verdict is Verdict.PASS and not facts.inject
    return EXIT_CODES["GO" if is_pass else "HOLD"]


def _replay(facts: Facts) -> str:
    simulated = " --simulate" if facts.tier == "simulated" else ""
    inject = f" --inject {facts.inject}" if facts.inject else ""
    return f"harness soak run{simulated} --hours {facts.hours:g} --seed {facts.seed}{inject}"


def _line(judged: Judgement) -> str:
    return (
        f"{judged.verdict}: {judged.hours:.1f} of {judged.hours_wanted:g} h counted, "
        f"{judged.operations} operations, {judged.mismatches} wrong, {judged.recovered} of "
        f"{judged.kills} kills recovered"
    )


def _show(folder: Path, facts: Facts) -> Judgement:
    page, judged = write_page(folder)
    click.echo(f"{folder.name} ({facts.tier}, seed {facts.seed})")
    click.echo(f"  {_line(judged)}")
    if judged.reason:
        click.echo(f"  because: {judged.reason}")
    for name, growth in judged.growth.items():
        slope = growth.slope
        seen = (
            f"{growth_text(name, slope.estimate)} an hour "
            f"({growth_text(name, slope.low)} to {growth_text(name, slope.high)})"
            if slope
            else growth.reason
        )
        click.echo(
            f"  {name}: {growth.verdict}, {seen}; at most {growth_text(name, growth.budget)}"
        )
    for drift in judged.drifts:
        ratio = f", {drift.ratio:.3f} times the first quarter" if drift.ratio else ""
        click.echo(f"  latency of {drift.kind}: {drift.verdict or 'too few samples'}{ratio}")
    click.echo(f"  {os.path.relpath(page)}")
    return judged


@soak.command()
@_FOLDER
def status(folder: Path | None) -> None:
    """Say how far the soak in FOLDER, or the newest one, has come, and write its page.

    Exit status 0 whatever the verdict; beside a soak under way it disturbs nothing.
    """
    target = _soak_of(folder)
    _show(target, read_facts(target))


@soak.command()
@_FOLDER
def verify(folder: Path | None) -> None:
    """Recompute the soak in FOLDER, or the newest one, from its segments.

    Exit status 0 if the chain holds and the page says what follows from it, 1 if not.
    """
    target = _soak_of(folder)
    faults = verify_soak(target)
    for fault in faults:
        click.echo(fault)
    if faults:
        raise EvidenceError(f"{target.name} does not stand: {len(faults)} differences")
    click.echo(f"{target.name}: the chain holds, and what was said of it follows from it")
