"""One comparison: build, list, calibrate loops, run rounds, judge, report. Files are its result."""

from __future__ import annotations

import datetime
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import environment
from harness.compare import builds, callgrind
from harness.compare.asv_results import write_asv_results
from harness.compare.bodies import read_bodies
from harness.compare.calibrations import load_calibration, record_compare
from harness.compare.comparable import incomparable
from harness.compare.decide import RULE
from harness.compare.documents import check_document, document_of, seal
from harness.compare.environments import running_environment
from harness.compare.page import write_pages
from harness.compare.progress import CompareProgress
from harness.compare.rounds import Listing, inner_loops, list_benches
from harness.compare.sides import Bench, Side, Suite
from harness.compare.timing import Timing
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import read_json, write_json

__all__ = [
    "CompareOptions",
    "Prepared",
    "edited_meanwhile",
    "judge_folder",
    "prepare",
    "run_compare",
    "work_folder",
]


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
    """

    sides: tuple[Side, Side]
    base: Listing
    benches: tuple[Bench, ...]
    incomparable: Mapping[str, str]
    bodies: Mapping[str, str]
    data: str


def prepare(
    options: CompareOptions,
    revisions: tuple[builds.Revision, builds.Revision],
    work: Path,
    progress: CompareProgress,
) -> Prepared:
    """Build both sides and find out what can be compared.

    Raises
    ------
    UsageError
        No benchmark has such a name, or a file of benchmarks is no Python.
    HarnessError
        A side cannot be built or imported.
    """
    running = running_environment(options.root)
    made = []
    for name, revision in zip(("base", "head"), revisions, strict=True):
        progress.stage(f"{name.upper()}: {revision.label} ({revision.commit[:10]})")
        side = builds.build_side(name, revision, options.root, options.cache, running)
        progress.note(f"  runs in {side.environment}")
        made.append(side)
    sides = (made[0], made[1])
    used = [side.source.parent for side in sides] + [side.python.parents[1] for side in sides]
    builds.prune(options.cache, keep=used)
    base, head = (list_benches(side, options.suite, work) for side in sides)
    place = options.suite.timings.relative_to(options.suite.root)
    trees = [_bodies(side.label, side.source.parent / place) for side in sides]
    if not trees[0]:
        progress.note(f"  BASE has no {place}: the checkout's benchmarks stand for it")
    pattern = _pattern(options.benchmark)
    unfit = incomparable(base, head, trees[0], trees[1])
    unfit = {name: why for name, why in unfit.items() if pattern.search(name)}
    benches = [
        bench for bench in base.benches if pattern.search(bench.name) and bench.name not in unfit
    ]
    if not benches and not unfit:
        known = ", ".join(bench.name for bench in base.benches[:4])
        raise UsageError(f"--benchmark {options.benchmark!r}: none of {known}, ...")
    own = _bodies("the checkout", options.suite.timings)
    return Prepared(
        sides=sides,
        base=base,
        benches=tuple(benches),
        incomparable=unfit,
        bodies={bench.name: own.get(bench.benchmark, "") for bench in benches},
        data=_digest_of(base.evidence),
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


def run_compare(options: CompareOptions, progress: CompareProgress) -> Path | None:
    """Do a whole comparison and return its folder; compare.json in it has the decision.

    None: nothing below `paths` differs, so there is nothing to compare.

    Raises
    ------
    UsageError
        A commit, path or regular expression that does not exist or fit.
    HarnessError
        A side cannot be built, or its process broke. The folder with the rounds so far is kept,
        as it is after an interruption; it has no verdicts.
    """
    environment.require_linux()
    if options.instructions:
        callgrind.require_valgrind()
    revisions = (
        builds.find_revision(options.root, options.base, is_head=False),
        builds.find_revision(options.root, options.head, is_head=True),
    )
    if options.paths:
        changed = builds.changed_paths(options.root, *revisions, options.paths)
        if not changed:
            return None
        progress.note(f"{len(changed)} files differ below {', '.join(options.paths)}")
    started = datetime.datetime.now(datetime.UTC)
    with work_folder() as work:
        prepared = prepare(options, revisions, work, progress)
        base, head = prepared.sides
        is_aa = base.content_digest == head.content_digest
        if head.dirty:
            progress.note(f"HEAD is the working tree, content digest {head.content_digest}")
        if is_aa:
            progress.note("both sides are the same code: an A/A comparison")
        name = f"compare-{started:%Y-%m-%dT%H%M%SZ}-{base.commit[:8]}-{head.commit[:8]}"
        folder = options.reports / name
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"a comparison cannot be kept in {folder}: {error}") from error
        manifest = _manifest(options, prepared, name, started, is_aa=is_aa)
        try:
            _measure(options, prepared, folder, manifest, work, progress)
        except BaseException:
            if not any(folder.iterdir()):
                folder.rmdir()
            raise
    judge_folder(folder)
    if options.asv_results is not None and not options.instructions:
        write_asv_results(folder, options.root, options.asv_results)
    if is_aa and not options.instructions:
        _record(options, prepared, folder, manifest)
    return folder


@contextmanager
def work_folder() -> Iterator[Path]:
    """A temporary folder for the sides, removed whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="harness-compare-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _manifest(
    options: CompareOptions,
    prepared: Prepared,
    name: str,
    started: datetime.datetime,
    *,
    is_aa: bool,
) -> dict[str, Any]:
    machine = environment.machine()
    load = environment.load_now()
    return {
        "schema_version": 1,
        "id": name,
        "tier": "instructions" if options.instructions else "time",
        "command": list(options.command),
        "started": started.isoformat(timespec="seconds"),
        "seed": options.seed,
        "strict": options.strict,
        "is_aa": is_aa,
        "rule": asdict(RULE),
        **{side.name: _side_as_json(side) for side in prepared.sides},
        "machine": {
            "id": environment.machine_id(machine),
            **machine,
            "load_before": load.load,
            "steal_before_s": load.steal_s,
        },
        "packages": environment.package_versions(),
        "evidence": prepared.base.evidence,
        "data": prepared.data,
        "benchmarks": {
            bench.name: {
                "benchmark": bench.benchmark,
                "place": bench.place,
                "body": prepared.bodies[bench.name],
            }
            for bench in prepared.benches
        },
        "described": prepared.base.described,
        "incomparable": dict(prepared.incomparable),
        "loops": {},
        "is_complete": True,
    }


def _side_as_json(side: Side) -> dict[str, Any]:
    names = ("label", "commit", "content_digest", "dirty", "environment")
    return {name: getattr(side, name) for name in names}


def _measure(
    options: CompareOptions,
    prepared: Prepared,
    folder: Path,
    manifest: dict[str, Any],
    work: Path,
    progress: CompareProgress,
) -> None:
    """Fill the folder with raw results, and the manifest with what came of it."""
    machine_id = manifest["machine"]["id"]
    if options.instructions:
        manifest["is_complete"] = callgrind.count(
            prepared.sides,
            prepared.benches,
            options.suite,
            folder,
            work,
            progress,
            seconds_max=_seconds(options),
        )
    else:
        _time(options, prepared, folder, manifest, work, progress)
    manifest["incomparable"] |= edited_meanwhile(options, prepared)
    calibration = load_calibration(options.calibrations, machine_id, prepared.bodies, prepared.data)
    write_json(folder / "calibration.json", calibration.as_json())
    load = environment.load_now()
    manifest["machine"] |= {
        "id_after": environment.machine_id(environment.machine()),
        "load_after": load.load,
        "steal_after_s": load.steal_s,
    }
    manifest["ended"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    manifest["raw"] = seal(folder)
    write_json(folder / "manifest.json", manifest)


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


def _seconds(options: CompareOptions) -> float | None:
    return None if options.minutes_max is None else 60 * options.minutes_max


def _time(
    options: CompareOptions,
    prepared: Prepared,
    folder: Path,
    manifest: dict[str, Any],
    work: Path,
    progress: CompareProgress,
) -> None:
    clock = time.monotonic()
    progress.stage(f"calls a sample, found on BASE for {len(prepared.benches)} benchmarks")
    loops, failed = inner_loops(prepared.sides[0], options.suite, prepared.benches, work)
    manifest["loops"] = loops
    manifest["incomparable"] |= failed
    timing = Timing(
        sides=prepared.sides,
        suite=options.suite,
        loops=loops,
        work=work,
        path=folder / "rounds.jsonl",
        rng=np.random.default_rng(options.seed),
        begun=clock,
        seconds_max=_seconds(options),
        progress=progress,
    )
    timing.compare([bench for bench in prepared.benches if bench.name in loops])
    manifest["is_complete"] = timing.is_complete


def judge_folder(folder: Path) -> None:
    """Write compare.json from the files just written, as `harness verify` will, and the pages.

    Raises
    ------
    HarnessError
        The files do not agree with each other, or the document would break its schema.
    """
    try:
        document, faults = document_of(folder)
    except EvidenceError as error:  # here it is no verdict on the code: exit status 4, not 1
        raise HarnessError(f"the comparison's own files cannot be read: {error}") from error
    faults += [fault for fault in [check_document(document)] if fault]
    if faults:
        raise HarnessError(f"the comparison's own files do not agree: {faults[0]}")
    write_json(folder / "compare.json", document)
    write_pages(folder)


def _record(
    options: CompareOptions, prepared: Prepared, folder: Path, manifest: Mapping[str, Any]
) -> None:
    """A real A/A comparison: from now on it counts in the calibration."""
    document = read_json(folder / "compare.json")
    verdicts = {
        one["id"]: one["first"]["verdict"]
        for one in document["benchmarks"]
        if one["first"] is not None and one["first"]["look"] is not None
    }
    record_compare(
        options.calibrations,
        manifest["machine"]["id"],
        when=time.time(),
        run=folder.name,
        bodies=prepared.bodies,
        data=prepared.data,
        verdicts=verdicts,
    )
