"""Faults put into real runs of the gates: small ones, but whole, in processes of their own."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import HarnessError, UsageError
from harness.evidence import read_json, seal_samples, verdicts_of_run, write_json
from harness.measures.base import Sizes
from harness.pages import PAGES
from harness.progress import Progress
from harness.prove import injections
from harness.prove.clones import clone_as_it_is
from harness.prove.fault import CATCH, Fault
from harness.prove.proof import moment
from harness.prove.seen import CannotRunError, Seen
from harness.run import Options, run_gates
from harness.verify import verify_run

__all__ = ["PREPARED", "inject", "look"]

PREPARED = ".prepared"  # beside the rows: corpora and edits, which no fault alters
_OUTCOME = "outcome.json"
_EMULATED, _HOSTILE = "quality.bits-emulated.json.gz", "quality.bits-hostile.json.gz"
_WAIVERS = """
[[waiver]]
gate = "quality.search"
reason = "not measured in this proof"
owner = "harness prove"
expires = {later}
commits = "{commit}"

[[waiver]]
gate = "query.latency"
reason = "it was to be measured by then"
owner = "harness prove"
expires = {earlier}
commits = "{commit}"
"""
# In a clone: the same small run, of which one file of samples is then put where it does not belong
_IN_CLONE = """
import sys
from pathlib import Path
from harness.measures.base import Sizes
from harness.progress import Progress
from harness.run import Options, run_gates
options = Options(profile="ci", reports=Path(sys.argv[1]), command=["harness", "gate"],
                  only=("quality.bits",), sizes=Sizes(files=1, hostile_vectors=200))
print(run_gates(options, Progress()))
"""
# Of a small run: fewer samples than a verdict about time needs, which is no fault of the store
_TOO_FEW = "samples in a process, at least"


def inject(fault: Fault, folder: Path, progress: Progress) -> None:
    """Make a run with this fault in `folder`.

    Raises
    ------
    CannotRunError
        This place lacks something that the fault needs.
    HarnessError
        The run could not be made for another reason than the fault.
    """
    settings = fault.settings
    options = Options(
        profile="ci",
        reports=folder,
        command=["harness", "prove", "--only", fault.id],
        only=tuple(settings["only"]),
        sizes=Sizes(**settings["sizes"]),
        empty_body=bool(settings.get("empty_body")),
        prepared=folder.parent / PREPARED,
        after_build=_flip_once() if settings.get("flip") else _nothing,
        waivers=_waivers(folder) if settings.get("waivers") else None,
    )
    if options.empty_body:
        _must_end(options, folder, progress)
        return
    with _environment(_variables(settings)):
        run = run_gates(options, progress)
    _tidy(folder, run)
    match settings.get("tamper"):
        case "deleted":
            (folder / "run" / "samples" / _EMULATED).unlink()
        case "other-commit":
            _put_foreign_evidence(folder)


def _nothing(_: Path) -> None:
    """No damage to a store."""


def _variables(settings: Mapping[str, Any]) -> dict[str, str]:
    injected = settings.get("inject")
    return dict(settings.get("environment", {})) | (
        injections.environment(injected) if injected else {}
    )


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that the workers inherit; this process has read its own already."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _flip_once() -> Callable[[Path], None]:
    """Flips one bit of the newest segment of the first store that it is given."""
    done: list[Path] = []

    def flip(store: Path) -> None:
        if not done:
            path = max((store / "segments").glob("*.seg"))
            content = bytearray(path.read_bytes())
            content[-100] ^= 1
            path.write_bytes(content)
            done.append(path)

    return flip


def _waivers(folder: Path) -> Path:
    commit = environment.code_of(environment.project_root()).commit
    if commit == "none":
        raise CannotRunError("a waiver is for commits, and this is not a git checkout")
    today = datetime.datetime.now(datetime.UTC).date()
    month = datetime.timedelta(days=30)
    path = folder / "waivers.toml"
    text = _WAIVERS.format(commit=commit, later=today + month, earlier=today - month)
    path.write_text(text, encoding="utf-8")
    return path


def _must_end(options: Options, folder: Path, progress: Progress) -> None:
    """A run that is to end without verdicts: what it said, and what it left behind."""
    try:
        run_gates(options, progress)
    except UsageError:
        raise
    except HarnessError as error:
        left = sorted(path.name for path in folder.iterdir() if path.name != "latest")
        outcome = {"exit_code": error.exit_code, "message": str(error), "left": left}
    else:
        outcome = {"exit_code": 0, "message": "the run went on to its verdicts", "left": []}
    write_json(folder / _OUTCOME, outcome)


def _tidy(folder: Path, run: Path) -> None:
    """Keep the evidence of the run under one name; its pages can be made again."""
    (folder / "latest").unlink(missing_ok=True)
    run.rename(folder / "run")
    for name in ("report.html", "report.pdf", "junit.xml", "summary.md", PAGES):
        (folder / "run" / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "run" / "figures", ignore_errors=True)


def _put_foreign_evidence(folder: Path) -> None:
    """Samples measured at another commit in the place of this run's, and the seal renewed.

    The clone has the very same files, so that its commit is all that tells them.
    """
    clone, reports = folder / "clone", folder / "reports"
    clone_as_it_is(clone)
    path = os.pathsep.join([str(clone), str(clone / "src")])
    variables = {**os.environ, "PYTHONPATH": path}
    said = _call([sys.executable, "-c", _IN_CLONE, str(reports)], clone, variables)
    foreign = Path(said.strip().splitlines()[-1]) / "samples" / _HOSTILE
    shutil.copyfile(foreign, folder / "run" / "samples" / _HOSTILE)
    manifest = read_json(folder / "run" / "manifest.json")
    write_json(
        folder / "run" / "manifest.json", {**manifest, "samples": seal_samples(folder / "run")}
    )
    shutil.rmtree(clone)
    shutil.rmtree(reports)


def _call(words: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            words, cwd=folder, env=variables, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise CannotRunError(f"{words[0]}: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise CannotRunError(f"{' '.join(words[:2])}: {last}")
    return done.stdout


def look(fault: Fault, folder: Path) -> Seen:
    """What the judges say about the evidence in `folder`; raises EvidenceError if it is no run."""
    if not (folder / _OUTCOME).is_file():
        return _seen_in_run(fault, folder / "run")
    outcome = read_json(folder / _OUTCOME)
    seen = Seen()
    left = ", ".join(outcome["left"])
    status = f"{outcome['exit_code']}, {'left ' + left if left else 'no verdict'}"
    seen.add("exit", status, str(json.dumps(outcome["message"])))
    return seen


def _seen_in_run(fault: Fault, run: Path) -> Seen:
    """All rows and gates of a gate run, its decision, and `harness verify`."""
    verdicts, _ = verdicts_of_run(run)
    manifest = read_json(run / "manifest.json")
    seen = Seen(
        origin={name: str(manifest[name]) for name in ("commit", "content_digest")}
        | {"machine": str(manifest["machine"]["id"])},
        started=moment(manifest["started"]),
    )
    named = {cell.judge for cell in fault.cells}
    tiers = set()
    for gate in verdicts["gates"]:
        seen.add(gate["id"], gate["verdict"], gate["reason"])
        for row in gate["rows"]:
            seen.add(row["id"], row["verdict"], row["reason"], row["estimate"])
            if row["id"] in named and row["evidence"]:
                tiers.add(row["evidence"])
    seen.tier = ", ".join(sorted(tiers))
    loud = _others(fault, verdicts["gates"])
    seen.add("all other rows", "not quiet" if loud else "quiet", "; ".join(loud))
    decision = verdicts["decision"]
    seen.add("decision", decision["verdict"], "; ".join(decision["reasons"]))
    seen.add("exit", f"{decision['exit_code']}, a verdict", decision["label"])
    faults = verify_run(run)
    seen.add("harness verify", "does not stand" if faults else "stands", "; ".join(faults[:3]))
    return seen


def _others(fault: Fault, gates: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows that decide, were measured, have nothing to do with the fault, and did not keep quiet.

    A gate that must catch the fault, itself or by a row, has to do with it, and so has every row
    that a cell names.
    """
    named = {cell.judge: cell.kind for cell in fault.cells}
    found = []
    for gate in gates:
        judges = [gate["id"], *(row["id"] for row in gate["rows"] if row["blocking"])]
        if any(named.get(judge) == CATCH for judge in judges):
            continue
        for row in gate["rows"]:
            is_small = row["verdict"] == "INVALID" and _TOO_FEW in row["reason"]
            if not row["blocking"] or row["id"] in named or is_small:
                continue
            if row["verdict"] not in ("PASS", "NOT RUN"):
                found.append(f"{row['id']}: {row['verdict']} {row['reason']}".rstrip())
    return found
