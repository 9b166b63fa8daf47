"""One comparison: build, list, calibrate loops, run rounds, judge, report. Files are its result."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness import environment
from harness.compare import builds, callgrind
from harness.compare.asv_results import write_asv_results
from harness.compare.calibrations import load_calibration, record_compare
from harness.compare.decide import RULE
from harness.compare.documents import RAW, check_document, document_of, seal
from harness.compare.page import write_pages
from harness.compare.preparing import (
    CompareOptions,
    Prepared,
    edited_meanwhile,
    prepare,
    work_folder,
)
from harness.compare.progress import CompareProgress
from harness.compare.rounds import inner_loops
from harness.compare.sides import Side
from harness.compare.timing import Timing
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import read_json, write_json

__all__ = ["CompareOptions", "judge_folder", "run_compare"]


def run_compare(options: CompareOptions, progress: CompareProgress) -> Path | None:
    """Do a whole comparison and return its folder; compare.json in it has the decision.

    None: nothing below `paths` differs, so there is nothing to compare.

    Raises
    ------
    UsageError
        A commit, path or regular expression that does not exist or fit.
    HarnessError
        A side cannot be built, or its process does not start. The folder with the rounds so far is
        kept, as it is after an interruption, and told; it has no verdicts. Without any rounds there
        is no folder.
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
            _keep_or_remove(folder, progress)
            raise
    judge_folder(folder)
    if options.asv_results is not None and not options.instructions:
        write_asv_results(folder, options.root, options.asv_results)
    if is_aa and not options.instructions:
        _record(options, prepared, folder, manifest)
    return folder


def _keep_or_remove(folder: Path, progress: CompareProgress) -> None:
    """Of a comparison that was broken off: a folder that holds no raw result is removed."""
    if any(path.stat().st_size for path in folder.iterdir() if path.name in RAW[:2]):
        progress.note(f"nothing was judged; the raw results so far are in {folder}")
        return
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


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
        "stand_in": prepared.stand_in,
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
            confirms=not prepared.stand_in,
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
    benches = [bench for bench in prepared.benches if bench.name in loops]
    timing.compare(benches, confirms=not prepared.stand_in)
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
