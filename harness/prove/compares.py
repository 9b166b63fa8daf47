"""Faults between two commits: real commits of a clone, each built and run by `harness compare`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.compare.decide import RULE
from harness.compare.documents import document_of
from harness.compare.progress import CompareProgress, State
from harness.compare.run import CompareOptions, run_compare
from harness.compare.sides import Suite
from harness.errors import HarnessError, UsageError
from harness.evidence import read_json
from harness.progress import Progress
from harness.prove.clones import clone_as_it_is, commit_all
from harness.prove.fault import Fault
from harness.prove.proof import moment
from harness.prove.seen import CannotRunError, Seen

__all__ = ["inject", "look"]

_MINUTES_MAX = 4.0
# Two benchmarks that share no code of the slowed function, on one serving each
# whose frames take long enough that looking at the clock is no part of the slowdown: 1 of 150 us,
# where it was 1.2 of 35 us of v1's, and the 5 % were 9
_SERVING = "v2-2024"
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
    base = clone_as_it_is(clone)
    match fault.settings["change"]:
        case "slow":
            _change(clone / "src" / "titanstore" / "codec" / "choose.py", "def encode_frame(")
            head = commit_all(clone, "encode_frame takes 5 % longer")
        case "rename":
            _rename(clone / "suites" / "timings" / "codec.py", "time_decode_32", "time_decode_all")
            head = commit_all(clone, "A benchmark has another name")
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
    manifest = read_json(compare / "manifest.json")
    seen = Seen(
        tier=str(manifest["evidence"].get(_SERVING, {}).get("source", "")),
        origin={"machine": str(manifest["machine"]["id"])},
        started=moment(str(manifest["started"])),
    )
    rounds = []
    for one in document["benchmarks"]:
        name, first = str(one["id"]).partition("(")[0], one["first"] or {}
        seen.add(f"compare: {name}", str(one["verdict"]), str(one["reason"]), first.get("ratio"))
        if first:
            rounds.append(int(first["rounds"]))
    fewest, wanted = min(rounds, default=0), RULE.looks[0]
    told = f"{fewest} rounds, the first look is after {wanted}"
    seen.add("compare: rounds", "enough" if fewest >= wanted else "too few", told, fewest)
    sides = [document[side]["content_digest"] for side in ("base", "head")]
    seen.add("compare: sides", "the same" if sides[0] == sides[1] else "different")
    decision = document["decision"]
    seen.add("compare: decision", decision["verdict"], "; ".join(decision["reasons"]))
    seen.add("harness verify", "does not stand" if faults else "stands", "; ".join(faults[:3]))
    return seen
