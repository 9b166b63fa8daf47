"""One proof: each fault is put in, looked at, and kept with its evidence; it can be resumed."""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import read_json, write_json
from harness.prove import compares, runs, soaks
from harness.prove.catalogue import CATALOGUE, Fault, by_id
from harness.prove.matrix import AS_EXPECTED, not_run_row, row_of, verdict_of
from harness.prove.proof import (
    AGE_DAYS_MAX,
    SCHEMA_VERSION,
    check_proof,
    gates_digest,
    proofs_folder,
)
from harness.prove.seen import CannotRunError, Seen
from harness.run import Progress

__all__ = ["Proof", "prove", "verify_proof"]

_KINDS = {"run": runs, "soak": soaks, "compare": compares}
_ROW = "row.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Where a proof is kept, and its rows: all of it, and those that were asked for."""

    folder: Path
    verdict: str
    rows: tuple[Mapping[str, Any], ...]
    asked: tuple[Mapping[str, Any], ...]


class _Steps(Progress):
    """Of a run within the proof only the steps are shown: its stages are not the proof's."""

    def __init__(self, outer: Progress) -> None:
        self.step = outer.step  # type: ignore[method-assign]  # handed on as it is


def prove(
    reports: Path,
    progress: Progress,
    *,
    only: Sequence[str] = (),
    is_fresh: bool = False,
    command: Sequence[str] = ("harness", "prove"),
) -> Proof:
    """Put in every fault of the catalogue, or those named, and write proof.json.

    A row of the same gates and machine that was as expected within the age that counts is kept,
    unless `is_fresh`. Interrupted, the rows that are done stay, and nothing else.

    Raises
    ------
    UsageError
        An unknown fault, or a folder that cannot be written.
    HarnessError
        A fault could not be injected for a reason that is the harness's own.
    """
    environment.require_linux()
    try:
        chosen = [by_id(name) for name in only] or list(CATALOGUE)
    except KeyError as error:
        known = ", ".join(fault.id for fault in CATALOGUE)
        raise UsageError(f"no fault {error.args[0]!r}; there are {known}") from error
    root = environment.project_root()
    machine = environment.machine()
    digest = gates_digest(root)
    folder = proofs_folder(reports) / f"{digest[:12]}-{environment.machine_id(machine)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"a proof cannot be kept in {reports}: {error}") from error
    with _alone(folder):
        return _prove(folder, chosen, progress, is_fresh, command, digest, machine)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else makes rows in this folder meanwhile; the kernel ends it with the process."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"another `harness prove` is at work in {folder}") from error
        yield


def _prove(
    folder: Path,
    chosen: Sequence[Fault],
    progress: Progress,
    is_fresh: bool,
    command: Sequence[str],
    digest: str,
    machine: dict[str, Any],
) -> Proof:
    asked = []
    for place, fault in enumerate(chosen, start=1):
        kept = None if is_fresh else _kept(folder / fault.id)
        if kept is not None:
            progress.note(f"{place}/{len(chosen)} {fault.id}: kept from {kept['started']}")
        else:
            progress.stage(f"{place}/{len(chosen)} {fault.id}", 0)
            kept = _row(fault, folder, _Steps(progress))
            if kept["state"] != AS_EXPECTED:
                progress.note(f"    {kept['state']} {kept['reason']}".rstrip())
        asked.append(kept)
    if gates_digest(environment.project_root()) != digest:
        raise HarnessError("harness/ or fixtures/ changed during the proof: start again")
    rows = _rows(folder, asked)
    _write(folder, rows, digest, machine, command)
    return Proof(folder=folder, verdict=verdict_of(rows), rows=tuple(rows), asked=tuple(asked))


def _kept(folder: Path) -> dict[str, Any] | None:
    """A row that need not be made again."""
    try:
        row = read_json(folder / _ROW)
        age = _now() - datetime.datetime.fromisoformat(row["started"])
    except (EvidenceError, KeyError, ValueError, TypeError):
        return None
    young = age < datetime.timedelta(days=AGE_DAYS_MAX / 2)
    return row if young and row.get("state") == AS_EXPECTED else None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _row(fault: Fault, home: Path, progress: Progress) -> dict[str, Any]:
    """Inject one fault, look, and keep row and evidence together, or nothing."""
    making, folder = home / f".{fault.id}.new", home / fault.id
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    started, begin = _now(), time.monotonic()
    try:
        try:
            _KINDS[fault.kind].inject(fault, making, progress)
            seen: Seen | None = _KINDS[fault.kind].look(fault, making)
            reason = ""
        except CannotRunError as error:
            seen, reason = None, str(error)
        facts = {
            "seconds": round(time.monotonic() - begin, 1),
            "started": started.isoformat(timespec="seconds"),
            "files": _seal(making),
        }
        row = row_of(fault, seen, **facts) if seen else not_run_row(fault, reason, **facts)
        write_json(making / _ROW, row)
        shutil.rmtree(folder, ignore_errors=True)
        making.rename(folder)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    return row


def _seal(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _ROW
    }


def _rows(folder: Path, asked: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows just made, and those of earlier calls, in the order of the catalogue."""
    fresh = {row["fault"]: row for row in asked}
    rows: list[Mapping[str, Any]] = []
    for fault in CATALOGUE:
        row = fresh.get(fault.id)
        if row is None and (folder / fault.id / _ROW).is_file():
            row = read_json(folder / fault.id / _ROW)
        if row is not None:
            rows.append(row)
    return rows


def _write(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    digest: str,
    machine: dict[str, Any],
    command: Sequence[str],
) -> None:
    code = environment.code_of(environment.project_root())
    proof = {
        "schema_version": SCHEMA_VERSION,
        "id": folder.name,
        "verdict": verdict_of(rows),
        "gates_digest": digest,
        "commit": code.commit,
        "content_digest": code.content_digest,
        "dirty": code.dirty,
        "machine": machine,
        "machine_id": environment.machine_id(machine),
        "command": list(command),
        "started": min(row["started"] for row in rows),
        "ended": _now().isoformat(timespec="seconds"),
        "rows": list(rows),
    }
    fault = check_proof(proof)
    if fault:
        raise HarnessError(f"proof.json would break its schema: {fault}")
    write_json(folder / "proof.json", proof)


def verify_proof(folder: Path) -> list[str]:
    """Every difference between a proof and what follows from its evidence.

    Raises
    ------
    EvidenceError
        proof.json is missing, or breaks its schema.
    """
    proof = read_json(folder / "proof.json")
    breach = check_proof(proof)
    if breach:
        raise EvidenceError(f"proof.json breaks its schema: {breach}")
    faults = []
    if proof["gates_digest"] != gates_digest(environment.project_root()):
        faults.append("proof.json is of other code that judges than this checkout's")
    if proof["verdict"] != verdict_of(proof["rows"]):
        faults.append(f"verdict: claimed {proof['verdict']}, its rows give another")
    for row in proof["rows"]:
        faults += [f"{row['fault']}: {fault}" for fault in _row_faults(folder, row)]
    return faults


def _row_faults(home: Path, row: Mapping[str, Any]) -> list[str]:
    try:
        fault = by_id(row["fault"])
    except KeyError:
        return ["the catalogue has no such fault"]
    folder = home / fault.id
    seal = _seal(folder)
    found = [
        f"{name}: {'missing' if name not in seal else 'changed' if name in row['files'] else 'new'}"
        for name in sorted(seal.keys() | row["files"].keys())
        if seal.get(name) != row["files"].get(name)
    ]
    if row["state"] == "could not run":
        return found
    try:
        seen = _KINDS[fault.kind].look(fault, folder)
    except (EvidenceError, OSError) as error:
        return [*found, f"its evidence cannot be read: {error}"]
    kept = {name: row[name] for name in ("seconds", "started", "files")}
    again = row_of(fault, seen, **kept)
    return found + [
        f"{name}: claimed {row[name]!r:.80}, the evidence gives {again[name]!r:.80}"
        for name in again
        if again[name] != row[name]
    ]
