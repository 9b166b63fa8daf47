"""One comparison: what its parts have in common, where they are kept, and their document."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import UsageError
from harness.evidence import write_json
from harness.kept import alone_in, name_of, point_latest, recording_digests
from harness.progress import Progress
from harness.rivals.catalogue import OURS, SEARCHERS, STORES, why_not
from harness.rivals.making import Maker
from harness.rivals.options import RivalOptions

__all__ = ["FILE", "compare_rivals"]

FILE = "rivals.json"


def compare_rivals(options: RivalOptions, progress: Progress, *, is_fresh: bool = False) -> Path:
    """Make every part that an interrupted call with the same options has not made; their folder.

    Raises
    ------
    UsageError
        Recordings that are damaged, instruments that are on, or a folder that cannot be written.
    HarnessError
        Our own store could not be measured.
    """
    environment.require_linux()
    facts = _facts(options)
    folder = options.reports / "rivals" / name_of(facts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"nothing can be kept in {options.reports}: {error}") from error
    with alone_in(folder, "rivals"):
        if is_fresh:
            shutil.rmtree(folder / "parts", ignore_errors=True)
        work = folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        before = environment.load_now()
        try:
            told, parts = Maker(options, folder, work, progress).make()
        finally:
            shutil.rmtree(work, ignore_errors=True)
        after = environment.load_now()
    document = {
        **facts,
        "command": list(options.command),
        "only": list(options.only),
        "load": {"before": before.load, "after": after.load},
        "told": told,
        "subjects": _told_of_subjects(options),
        "parts": parts,
    }
    write_json(folder / FILE, document)
    point_latest(folder)
    return folder


def _facts(options: RivalOptions) -> dict[str, Any]:
    """What parts must have in common to stand in one table; it names the folder."""
    code, machine = environment.code_of(environment.project_root()), environment.machine()
    on = [name for name, is_on in environment.instruments().items() if is_on]
    distorting = [name for name in on if name != "slow_blas"]  # workers are started without it
    if distorting:
        raise UsageError(f"{', '.join(distorting)} is on: no time would be worth anything")
    return {
        "commit": code.commit,
        "content_digest": code.content_digest,
        "dirty": code.dirty,
        "machine": {**machine, "id": environment.machine_id(machine)},
        "sizes": options.sizes.name,
        "timed": list(options.timed),
        "seed": options.seed,
        "recordings": recording_digests(options.recorded),
        "versions": {
            name: rival.versions()
            for name, rival in {**STORES, **SEARCHERS}.items()
            if not why_not(name)
        },
        "packages": environment.package_versions(),
    }


def _told_of_subjects(options: RivalOptions) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "what": rival.what,
            "settings": rival.settings,
            "durable": rival.durable,
            "not_kept": rival.not_kept,
            "missing": why_not(name),
        }
        for name, rival in {**STORES, **SEARCHERS}.items()
        if not options.subjects or name in (OURS, *options.subjects)
    }
