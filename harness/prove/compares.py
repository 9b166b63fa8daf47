"""Faults between two commits: real commits of a clone, each built and run by `harness compare`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness import environment
from harness.compare.documents import document_of
from harness.compare.progress import CompareProgress, State
from harness.compare.run import CompareOptions, run_compare
from harness.compare.sides import Suite
from harness.errors import HarnessError, UsageError
from harness.evidence import read_json
from harness.prove.catalogue import Fault
from harness.prove.seen import CannotRunError, Seen
from harness.run import Progress

__all__ = ["inject", "look"]

_MINUTES_MAX = 4.0
# Two benchmarks that share no code of the slowed function, on one serving each
_SERVING = "v1"
_BENCHMARKS = r"^codec\.(Encode\.time_encode_8|Decode\.time_decode_32)\(.?" + _SERVING + r".?\)$"
_SLOWED = """

def _slowed(call):  # put here by `harness prove`
    import time

    def slower(*arguments, **named):
        begin = time.perf_counter_ns()
        result = call(*arguments, **named)
        end = time.perf_counter_ns()
        while time.perf_counter_ns() < end + (end - begin) // 20:
            pass
        return result

    return slower


encode_frame = _slowed(encode_frame)
"""


class _Told(CompareProgress):
    """Each round is a step of the proof's own progress."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def rounds(self, title: str, states: Sequence[State]) -> None:
        """A round has ended."""
        self._outer.step()


def inject(fault: Fault, folder: Path, progress: Progress) -> None:
    """Make two commits that differ by this fault, and compare them.

    Raises
    ------
    CannotRunError
        No git checkout, or the source has no longer the place that is to be changed.
    """
    clone = folder / "clone"
    base = _clone(clone)
    match fault.settings["change"]:
        case "slow":
            _change(clone / "src" / "titanstore" / "codec" / "choose.py", "def encode_frame(")
            head = _commit(clone, "encode_frame takes 5 % longer")
        case "rename":
            _rename(clone / "suites" / "timings" / "codec.py", "time_decode_32", "time_decode_all")
            head = _commit(clone, "A benchmark has another name")
        case _:
            head = base
    made = folder / "made"
    options = CompareOptions(
        base=base,
        head=head,
        root=clone,
        reports=made,
        cache=folder / "cache",
        calibrations=folder / "calibrations",
        suite=Suite.usual(),
        command=["harness", "prove", "--only", fault.id],
        benchmark=_BENCHMARKS,
        minutes_max=_MINUTES_MAX,
    )
    try:
        found = run_compare(options, _Told(progress))
    except UsageError as error:  # the benchmarks named here are this module's own
        raise HarnessError(f"{fault.id}: {error}") from error
    assert found is not None
    found.rename(folder / "compare")
    for name in ("clone", "made", "cache", "calibrations"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for path in (folder / "compare").iterdir():
        if path.suffix in (".html", ".xml", ".md", ".png", ".svg"):
            path.unlink()


def _clone(clone: Path) -> str:
    """A commit with the files of this checkout as they are, in a repository of its own."""
    root = environment.project_root()
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    clone.mkdir()
    _git(clone, "init", "--quiet")
    for name in sorted({name for name in listed.split("\0") if name}):
        source, target = root / name, clone / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return _commit(clone, "As it is")


def _commit(clone: Path, message: str) -> str:
    _git(clone, "add", "--all", "--force")
    name = ("-c", "user.name=harness prove", "-c", "user.email=prove@localhost")
    _git(clone, *name, "commit", "--quiet", "--no-gpg-sign", "--no-verify", "-m", message)
    return _git(clone, "rev-parse", "HEAD").strip()


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise CannotRunError(f"git: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise CannotRunError(f"git {words[0]}: {last}")
    return done.stdout


def _change(path: Path, wanted: str) -> None:
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    if wanted not in source:
        raise CannotRunError(f"{path.name} has no {wanted!r}: the fault needs another place")
    path.write_text(source + _SLOWED, encoding="utf-8")


def _rename(path: Path, before: str, after: str) -> None:
    source = path.read_text(encoding="utf-8") if path.is_file() else ""
    if before not in source:
        raise CannotRunError(f"{path.name} has no {before!r}: the fault needs another place")
    path.write_text(source.replace(before, after), encoding="utf-8")


def look(fault: Fault, folder: Path) -> Seen:
    """What the comparison says of each benchmark, by its name without parameters."""
    compare = folder / "compare"
    document, faults = document_of(compare)
    if document != read_json(compare / "compare.json"):
        faults.append("compare.json is not what its rounds give")
    told = read_json(compare / "manifest.json")["evidence"]
    seen = Seen(tier=str(told.get(_SERVING, {}).get("source", "")))
    for one in document["benchmarks"]:
        name = str(one["id"]).partition("(")[0]
        seen.add(f"compare: {name}", str(one["verdict"]), str(one["reason"]))
    decision = document["decision"]
    seen.add("compare: decision", decision["verdict"], "; ".join(decision["reasons"]))
    seen.add("harness verify", "does not stand" if faults else "stands", "; ".join(faults[:3]))
    return seen
