"""`harness calibrate`: A/A rounds of the checkout's code until each benchmark has enough."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.console import RenderableType
from rich.table import Table

from harness import environment
from harness.compare import builds
from harness.compare.calibrate import ROUNDS, Standing
from harness.compare.calibrations import Calibration, Session, load_calibration, set_aside
from harness.compare.preparing import (
    CompareOptions,
    Prepared,
    edited_meanwhile,
    prepare,
    work_folder,
)
from harness.compare.progress import CompareProgress
from harness.compare.rounds import inner_loops, run_round
from harness.compare.sides import Bench
from harness.errors import UsageError

__all__ = ["Calibrated", "render_standings", "run_calibration"]

_NAME = 28  # columns of a name
_TOLD_EVERY = 8  # rounds between two lines of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What came of it.

    Attributes
    ----------
    standings
        By benchmark.
    made
        Rounds of this call.
    """

    machine: str
    standings: Mapping[str, Standing]
    failed: Mapping[str, str]
    made: int


def run_calibration(
    options: CompareOptions,
    progress: CompareProgress,
    *,
    rounds: int = ROUNDS,
    is_fresh: bool = False,
) -> Calibrated:
    """Make the rounds that are missing on this machine, all benchmarks in each pair of processes.

    Each round is on the disk before the next begins: after an interruption, or when time was up,
    the same call goes on. `options.head` is what is compared with itself.

    Parameters
    ----------
    is_fresh
        What was known of this machine counts no more; it is kept aside.

    Raises
    ------
    UsageError, HarnessError
        As from `run_compare`; or a benchmark was edited meanwhile.
    """
    environment.require_linux()
    machine = environment.machine()
    machine_id = environment.machine_id(machine)
    revision = builds.find_revision(options.root, options.head, is_head=True)
    begun = time.monotonic()
    made = 0
    with work_folder() as work:
        prepared = prepare(options, (revision, revision), work, progress)
        base, head = prepared.sides
        if base.content_digest != head.content_digest:
            raise UsageError("the working tree was edited while it was copied: start it again")

        def known() -> Calibration:
            return load_calibration(
                options.calibrations, machine_id, prepared.bodies, prepared.data
            )

        if is_fresh:
            kept = set_aside(options.calibrations, machine_id, _now())
            if kept is not None:
                progress.note(f"what was known before is set aside in {kept}")
        missing = _missing(known(), prepared.benches, rounds)
        failed = dict(prepared.incomparable)
        if missing:
            progress.stage(f"{missing} A/A rounds of {len(prepared.benches)} benchmarks")
            loops, faults = inner_loops(prepared.sides[0], options.suite, prepared.benches, work)
            failed |= faults
            session = _session(options, prepared, machine_id, machine, loops)
            rng = np.random.default_rng()  # sessions must not repeat each other's draws
            benches = [bench for bench in prepared.benches if bench.name in loops]
            while benches and made < missing and not _is_over(options, begun):
                made += 1
                one = run_round(
                    prepared.sides, options.suite, benches, loops, rng, work, run=1, number=made
                )
                _refuse_edited(options, prepared)
                session.add(one)
                failed |= one.failed
                benches = [bench for bench in benches if bench.name not in failed]
                if made % _TOLD_EVERY == 0 or made == missing:
                    progress.note(_told(made, missing, time.monotonic() - begun))
        calibration = known()
    standings = {
        bench.name: calibration.standing(bench.name)
        for bench in prepared.benches
        if bench.name not in failed
    }
    return Calibrated(machine=machine_id, standings=standings, failed=failed, made=made)


def _missing(calibration: Calibration, benches: Sequence[Bench], rounds: int) -> int:
    """Rounds that the benchmark with the fewest still needs."""
    counts = [len(calibration.rounds.get(bench.name, ())) for bench in benches]
    return max(0, rounds - min(counts, default=0)) if benches else 0


def _refuse_edited(options: CompareOptions, prepared: Prepared) -> None:
    """A round of an edited benchmark must not be kept under the digest of the body before."""
    edited = edited_meanwhile(options, prepared)
    if edited:
        raise UsageError(
            f"{', '.join(edited)}: edited during the calibration; the rounds before are kept, "
            "start it again for the others"
        )


def _now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H%M%SZ}-{os.getpid()}"


def _session(
    options: CompareOptions,
    prepared: Prepared,
    machine_id: str,
    machine: Mapping[str, Any],
    loops: Mapping[str, int],
) -> Session:
    side = prepared.sides[0]
    return Session.begin(
        options.calibrations,
        machine_id,
        _now(),
        {
            "facts": machine,
            "commit": side.commit,
            "content_digest": side.content_digest,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "bodies": prepared.bodies,
            "data": prepared.data,
            "loops": loops,
        },
    )


def _is_over(options: CompareOptions, begun: float) -> bool:
    limit = options.minutes_max
    return limit is not None and time.monotonic() - begun >= 60 * limit


def _told(made: int, missing: int, spent: float) -> str:
    left = spent / made * (missing - made)
    return f"  {made} of {missing} rounds, about {left / 60:.0f} minutes to go"


def render_standings(found: Calibrated, width: int) -> RenderableType:
    """A line a benchmark: may it decide, and why not."""
    table = Table(box=box.SIMPLE_HEAD, width=width, padding=(0, 1, 0, 0), pad_edge=False)
    heads = ("Benchmark", "Standing", "Rounds", "False REGRESSED", "5 % found", "Correlated")
    for head in heads:
        is_name = head == "Benchmark"
        table.add_column(head, overflow="fold", min_width=_NAME if is_name else None)
    for name, one in sorted(found.standings.items()):
        rates = ("not known", "not known")
        if one.state != "uncalibrated":
            false, seen = one.false_regressed, one.found
            rates = (
                f"{false.count} of {false.of}, at most {false.high:.2%}",
                f"{seen.count} of {seen.of}, at least {seen.low:.1%}",
            )
        auto = "-" if one.autocorrelation is None else f"{one.autocorrelation:.2f}"
        table.add_row(name, one.state, str(one.rounds), *rates, auto)
    for name, why in sorted(found.failed.items()):
        table.add_row(name, "failed", "-", why, "", "")
    return table
