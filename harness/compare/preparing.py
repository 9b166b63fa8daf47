"""Both sides of a comparison made ready: built, listed, and what cannot be compared told apart."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.compare import builds
from harness.compare.bodies import read_bodies
from harness.compare.comparable import incomparable
from harness.compare.environments import running_environment
from harness.compare.progress import CompareProgress
from harness.compare.rounds import Listing, list_benches
from harness.compare.sides import Bench, Side, Suite
from harness.errors import UsageError

__all__ = ["CompareOptions", "Prepared", "edited_meanwhile", "prepare", "work_folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """What a comparison is asked for.

    Attributes
    ----------
    cache
        Where trees and environments are kept between comparisons.
    calibrations
        Folder of `harness calibrate`.
    paths
        Only if something below one of them differs is there anything to compare.
    benchmark
        A regular expression that is searched in the names.
    minutes_max
        Of all rounds together; None: no limit.
    instructions
        Count instructions under callgrind instead of measuring time.
    asv_results
        Folder of asv's results that gets ours too; None: none does.
    """

    base: str
    head: str
    root: Path
    reports: Path
    cache: Path
    calibrations: Path
    suite: Suite
    command: Sequence[str]
    seed: int = 20_261_125
    paths: Sequence[str] = ()
    benchmark: str = ""
    minutes_max: float | None = None
    instructions: bool = False
    strict: bool = False
    asv_results: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Both sides, ready to run.

    Attributes
    ----------
    benches
        What can be compared; `incomparable` says why the others cannot.
    bodies
        Digest of each bench's body in the checkout, which is the one that runs.
    data
        Digest of what the suite tells of its data.
    stand_in
        Not "": BASE has no benchmarks of its own, so that the checkout's are run in their place.
        They are shown, and NOT COMPARABLE for this reason.
    """

    sides: tuple[Side, Side]
    base: Listing
    benches: tuple[Bench, ...]
    incomparable: Mapping[str, str]
    bodies: Mapping[str, str]
    data: str
    stand_in: str = ""


def prepare(
    options: CompareOptions,
    revisions: tuple[builds.Revision, builds.Revision],
    work: Path,
    progress: CompareProgress,
) -> Prepared:
    """Build both sides and find out what can be compared.

    A side whose titanstore cannot be imported leaves nothing that can.

    Raises
    ------
    UsageError
        No benchmark has such a name, or a file of benchmarks is no Python.
    HarnessError
        A side cannot be built, or its process does not start.
    """
    running = running_environment(options.root)
    made = []
    for name, revision in zip(("base", "head"), revisions, strict=True):
        progress.stage(f"{name.upper()}: {revision.label} ({revision.commit[:10]})")
        side = builds.build_side(
            name, revision, options.root, options.cache, running, progress.note
        )
        progress.note(f"  runs in {side.environment}")
        made.append(side)
    sides = (made[0], made[1])
    used = [side.source.parent for side in sides] + [side.python.parents[1] for side in sides]
    builds.prune(options.cache, keep=used)
    base, head = (list_benches(side, options.suite, work) for side in sides)
    for side, listing in zip(sides, (base, head), strict=True):
        if listing.unusable:
            progress.note(f"{side.name.upper()} is NOT COMPARABLE: {listing.unusable}")
    place = options.suite.timings.relative_to(options.suite.root)
    trees = [_bodies(side.label, side.source.parent / place) for side in sides]
    stand_in = "" if trees[0] else _stand_in(str(place), head_has_some=bool(trees[1]))
    if stand_in:
        progress.note(f"  {stand_in}")
    pattern = _pattern(options.benchmark)
    own = _bodies("the checkout", options.suite.timings)
    unfit = incomparable(base, head, trees[0], trees[1])
    if base.unusable and head.unusable and not unfit:  # older than any benchmark, and broken
        unfit = dict.fromkeys(own, f"BASE: {base.unusable}; HEAD: {head.unusable}")
    chosen = {name: why for name, why in unfit.items() if pattern.search(name)}
    if chosen or not (base.unusable or head.unusable):
        unfit = chosen  # else parameters that are meant are not known: nothing to choose by
    benches = [
        bench for bench in base.benches if pattern.search(bench.name) and bench.name not in unfit
    ]
    if not benches and not unfit:
        known = ", ".join([bench.name for bench in base.benches[:4]] or list(own)[:4])
        raise UsageError(f"--benchmark {options.benchmark!r}: none of {known}, ...")
    return Prepared(
        sides=sides,
        base=base,
        benches=tuple(benches),
        incomparable=unfit,
        bodies={bench.name: own.get(bench.benchmark, "") for bench in benches},
        data=_digest_of(base.evidence),
        stand_in=stand_in,
    )


def _stand_in(place: str, *, head_has_some: bool) -> str:
    who = "BASE has" if head_has_some else "neither BASE nor HEAD has"
    return (
        f"{who} no {place}: the checkout's benchmarks are run on both sides and shown, which is no "
        "verdict on this pair"
    )


def _bodies(label: str, folder: Path) -> dict[str, str]:
    try:
        return read_bodies(folder)
    except ValueError as error:
        raise UsageError(f"{label}: a file of benchmarks cannot be read: {error}") from error


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"--benchmark {text!r}: {error}") from error


def _digest_of(evidence: Mapping[str, Any]) -> str:
    parts = (f"{name}: {told}" for name, told in sorted(evidence.items()))
    return "; ".join(str(part) for part in parts) or "none told"


def edited_meanwhile(options: CompareOptions, prepared: Prepared) -> dict[str, str]:
    """Benchmarks whose body in the checkout, which runs on both sides, is no longer the same.

    All of them while a file is no Python: nobody knows what ran.
    """
    try:
        now = read_bodies(options.suite.timings)
    except ValueError:
        now = {}
    return {
        bench.name: "its body was edited during the comparison"
        for bench in prepared.benches
        if now.get(bench.benchmark, "") != prepared.bodies[bench.name]
    }


@contextmanager
def work_folder() -> Iterator[Path]:
    """A temporary folder for the sides, removed whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="harness-compare-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
