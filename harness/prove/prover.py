"""One proof: each fault is put in, looked at, and kept with its evidence; it can be resumed."""

from __future__ import annotations

import datetime
import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import EvidenceError, HarnessError, UsageError
from harness.evidence import read_json, write_json
from harness.kept import alone_in
from harness.progress import Progress
from harness.prove import compares, runs, soaks
from harness.prove.catalogue import CATALOGUE, by_id
from harness.prove.fault import LEFT_OUT, Fault
from harness.prove.matrix import (
    AS_EXPECTED,
    NOT_RUN,
    left_out,
    not_run_row,
    row_of,
    verdict_of,
)
from harness.prove.proof import (
    AGE_DAYS_MAX,
    CLOCK_STEP_S,
    SCHEMA_VERSION,
    Identity,
    check_proof,
    gates_digest,
    moment,
    proofs_folder,
)
from harness.prove.seen import CannotRunError, Seen

__all__ = ["Proof", "prove", "verify_proof"]

_KINDS = {"run": runs, "soak": soaks, "compare": compares}
_ROW, _ORIGIN = "row.json", "origin.json"
_OWN = ("seconds", "started", "identity", "files")  # of a row: what no judge says


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
    """Put in every fault of the catalogue, or those named and their controls; write proof.json.

    A row of the same commit, content and machine that was as expected, whose evidence still says
    so, is kept for half of the age that counts, unless `is_fresh`. Interrupted, the rows that are
    done stay, and nothing else.

    Raises
    ------
    UsageError
        An unknown fault, or a folder that cannot be written.
    HarnessError
        A fault could not be injected for a reason that is the harness's own; or the tree was
        changed meanwhile: the row under way is then not kept.
    """
    environment.require_linux()
    try:
        named = {fault.id for fault in map(by_id, only)}
    except KeyError as error:
        known = ", ".join(fault.id for fault in CATALOGUE)
        raise UsageError(f"no fault {error.args[0]!r}; there are {known}") from error
    # a fault's row looks at its control too, which comes before it in the catalogue
    named |= {by_id(name).control for name in named}
    chosen = [fault for fault in CATALOGUE if not named or fault.id in named]
    identity = _identity()
    folder = proofs_folder(reports) / identity.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"a proof cannot be kept in {reports}: {error}") from error
    prepared = folder / runs.PREPARED
    with alone_in(folder, "prove"):
        # what a killed proof left may be half of it: it was perhaps killed as it removed this
        shutil.rmtree(prepared, ignore_errors=True)
        try:
            return _prove(folder, chosen, progress, is_fresh, command, identity)
        finally:
            shutil.rmtree(prepared, ignore_errors=True)


def _identity() -> Identity:
    """Of the tree and the machine as they are at this moment."""
    root = environment.project_root()
    code = environment.code_of(root)
    return Identity(
        commit=code.commit,
        content_digest=code.content_digest,
        gates_digest=gates_digest(root),
        machine=environment.machine_id(environment.machine()),
    )


def _prove(
    folder: Path,
    chosen: Sequence[Fault],
    progress: Progress,
    is_fresh: bool,
    command: Sequence[str],
    identity: Identity,
) -> Proof:
    asked = []
    for place, fault in enumerate(chosen, start=1):
        kept = None if is_fresh else _kept(folder, fault, identity)
        if kept is not None:
            progress.note(f"{place}/{len(chosen)} {fault.id}: kept from {kept['started']}")
        else:
            progress.stage(f"{place}/{len(chosen)} {fault.id}", 0)
            kept = _row(fault, folder, identity, _Steps(progress))
            if kept["state"] != AS_EXPECTED:
                progress.note(f"    {kept['state']} {kept['reason']}".rstrip())
        asked.append(kept)
    rows = _rows(folder, asked, identity)
    _write(folder, rows, identity, command)
    return Proof(folder=folder, verdict=verdict_of(rows), rows=tuple(rows), asked=tuple(asked))


def _kept(home: Path, fault: Fault, identity: Identity) -> dict[str, Any] | None:
    """A row that need not be made again: young, of this tree and machine, its evidence whole."""
    row = _earlier(home, fault, identity)
    if row is None or row["state"] != AS_EXPECTED:
        return None
    age_s = _now().timestamp() - moment(row["started"])
    return row if -CLOCK_STEP_S <= age_s < AGE_DAYS_MAX / 2 * 86_400 else None


def _earlier(home: Path, fault: Fault, identity: Identity) -> dict[str, Any] | None:
    """The row of an earlier call, if it stands: what was edited since is not taken over."""
    try:
        row = read_json(home / fault.id / _ROW)
        stands = row["fault"] == fault.id and not _row_faults(home, row, identity)
    except (EvidenceError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return row if stands else None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _row(fault: Fault, home: Path, identity: Identity, progress: Progress) -> dict[str, Any]:
    """Inject one fault, look, and keep row and evidence together, or nothing."""
    making, folder = home / f".{fault.id}.new", home / fault.id
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    started, begin = _now().isoformat(timespec="seconds"), time.monotonic()
    whose = {"started": started, "identity": asdict(identity)}
    try:
        try:
            _KINDS[fault.kind].inject(fault, making, progress)
            seen: Seen | None = _look(fault, making, home, {})
            reason = ""
        except CannotRunError as error:
            seen, reason = None, str(error)
        other = identity.difference(asdict(_identity()))
        if other:
            raise HarnessError(f"another {other} than when the proof began: let the tree rest")
        write_json(making / _ORIGIN, {"fault": fault.id, **whose})
        facts = {
            "seconds": round(time.monotonic() - begin, 1),
            **whose,
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


def _look(fault: Fault, folder: Path, home: Path, controls: dict[str, Seen]) -> Seen:
    """What the judges say of a fault's evidence, and its own cells of its control's.

    `controls` keeps what was seen of them, for the next fault that has the same.
    """
    seen: Seen = _KINDS[fault.kind].look(fault, folder)
    if fault.control and (home / fault.control / _ROW).is_file():
        if fault.control not in controls:
            control = by_id(fault.control)
            controls[control.id] = _KINDS[control.kind].look(control, home / control.id)
        state = left_out(fault, controls[fault.control])
        seen.add(LEFT_OUT, state, f"judged on the evidence of {fault.control}")
    return seen


def _seal(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _ROW
    }


def _rows(
    folder: Path, asked: Sequence[Mapping[str, Any]], identity: Identity
) -> list[Mapping[str, Any]]:
    """The rows just made, and those of earlier calls that stand, in the order of the catalogue."""
    fresh = {row["fault"]: row for row in asked}
    rows: list[Mapping[str, Any]] = []
    for fault in CATALOGUE:
        row = fresh.get(fault.id) or _earlier(folder, fault, identity)
        if row is not None:
            rows.append(row)
    return rows


def _write(
    folder: Path, rows: Sequence[Mapping[str, Any]], identity: Identity, command: Sequence[str]
) -> None:
    proof = {
        "schema_version": SCHEMA_VERSION,
        "id": folder.name,
        "verdict": verdict_of(rows),
        "identity": asdict(identity),
        "dirty": environment.code_of(environment.project_root()).dirty,
        "machine": environment.machine(),
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
    identity = Identity(**proof["identity"])
    if identity.gates_digest != gates_digest(environment.project_root()):
        faults.append("proof.json is of other code that judges than this checkout's")
    if proof["verdict"] != verdict_of(proof["rows"]):
        faults.append(f"verdict: claimed {proof['verdict']}, its rows give another")
    if proof["rows"] and proof["started"] != min(row["started"] for row in proof["rows"]):
        faults.append("started: not when its oldest row began")
    controls: dict[str, Seen] = {}
    for row in proof["rows"]:
        found = _row_faults(folder, row, identity, controls)
        faults += [f"{row['fault']}: {fault}" for fault in found]
    return faults


def _row_faults(
    home: Path,
    row: Mapping[str, Any],
    identity: Identity,
    controls: dict[str, Seen] | None = None,
) -> list[str]:
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
    try:
        found += _origin_faults(fault, read_json(folder / _ORIGIN), row, identity)
        if row["state"] == NOT_RUN:
            return found
        seen = _look(fault, folder, home, {} if controls is None else controls)
    except (EvidenceError, OSError, KeyError, TypeError, ValueError) as error:
        return [*found, f"its evidence cannot be read: {error}"]
    found += _foreign(seen, row, identity)
    again = row_of(fault, seen, **{name: row[name] for name in _OWN})
    return found + [
        f"{name}: claimed {row[name]!r:.80}, the evidence gives {again[name]!r:.80}"
        for name in again
        if again[name] != row[name]
    ]


def _origin_faults(
    fault: Fault, origin: Mapping[str, Any], row: Mapping[str, Any], identity: Identity
) -> list[str]:
    """Was this evidence made for this row, at the time it names, by what the proof is of?"""
    found = [
        f"{name}: claimed {row[name]!r:.80}, {_ORIGIN} has {origin.get(name)!r:.80}"
        for name in ("started", "identity")
        if row[name] != origin.get(name)
    ]
    if origin.get("fault") != fault.id:
        found.append(f"its evidence is that of {origin.get('fault')}")
    other = identity.difference(row["identity"])
    return [*found, f"it is of another {other} than the proof"] if other else found


def _foreign(seen: Seen, row: Mapping[str, Any], identity: Identity) -> list[str]:
    """What the evidence says of itself, where it does, against what the row says of it."""
    wanted = asdict(identity)
    found = [
        f"its evidence is of another {name.replace('_', ' ')} than the proof"
        for name, value in seen.origin.items()
        if value != wanted[name]
    ]
    if seen.started is not None:
        since = seen.started - moment(row["started"])
        if not -CLOCK_STEP_S <= since <= row["seconds"] + CLOCK_STEP_S:
            found.append(f"started: its evidence was begun {since:.0f} s later")
    return found
