"""Hostile input: files, names and settings that nobody sane would make, read within limits.

Each kind is prepared whole once; then each input is made of it with random numbers of its own, so
that its number and the seed find it again. What reads it may refuse it or take it, as the contract
of the kind says; another exception, a process that ends, one that takes too long or more memory
than its bound is a fault.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import socket
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.reliability.children import Child, in_child
from harness.reliability.findings import Findings
from harness.reliability.hostile_answers import ANSWERS
from harness.reliability.hostile_documents import DOCUMENTS
from harness.reliability.hostile_memory import MEMORY
from harness.reliability.hostile_store import FILES

__all__ = ["INPUTS", "INPUTS_FULL", "try_inputs"]

INPUTS_FULL = 1_000  # of each kind: what "every point" means where there is no end of them
_MEMORY_BYTES_MAX = 256 << 20  # beyond what the process has when it begins: files are a few kB
_CPU_S_MAX = 10.0  # of one input
_WALL_S_MAX = 300.0  # the same, for what waits without working; a busy machine is no fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One kind of input.

    Attributes
    ----------
    prepare
        Makes whole files in a folder.
    feed
        Makes one hostile input of those in the first folder, in the second one, and has it read.
        Says how that ended; raises only where it must not have ended so.
    """

    id: str
    prepare: Callable[[Path], None]
    feed: Callable[[Path, Path, random.Random], str]


INPUTS = {
    name: Input(id=name, prepare=prepare, feed=feed)
    for name, (prepare, feed) in {**FILES, **ANSWERS, **MEMORY, **DOCUMENTS}.items()
}


def try_inputs(
    name: str, seed: int, most: int | None, told: Callable[[int, int], None]
) -> Findings:
    """Feed inputs of one kind: INPUTS_FULL of them, or `most`.

    Parameters
    ----------
    told
        Called with the inputs done and the inputs in all.
    """
    kind = INPUTS[name]
    count = INPUTS_FULL if most is None else min(most, INPUTS_FULL)
    findings = Findings("input", name, seed, known=INPUTS_FULL)
    with tempfile.TemporaryDirectory(prefix="inputs-") as work:
        base = Path(work).resolve() / "base"
        base.mkdir()
        in_child(lambda: kind.prepare(base))
        done = 0
        while done < count:
            done += _fed(kind, base, seed, range(done, count), findings, told)
    told(count, count)
    return findings


def _fed(
    kind: Input,
    base: Path,
    seed: int,
    numbers: range,
    findings: Findings,
    told: Callable[[int, int], None],
) -> int:
    """Feed inputs in one child until it ends; how many it saw."""
    child = Child(lambda channel: _feed_all(kind, base, seed, numbers, channel))
    child.channel.settimeout(2 * _WALL_S_MAX)
    child.go()
    answered = 0
    while heard := child.hear():
        said = json.loads(heard)
        if "crashed" in said:
            raise HarnessError(said["crashed"])
        findings.add(kind.id, said["outcome"], f"input {numbers[answered]}", said["what"])
        answered += 1
        told(numbers[answered - 1], numbers.stop)
    status = child.wait()
    if answered == len(numbers):
        return answered
    ends = {-signal.SIGPROF: "it never came to an end", -signal.SIGALRM: "it waits for ever"}
    what = ends.get(status, f"the process ended with {status}")
    findings.add(kind.id, "fault", f"input {numbers[answered]}", [what])
    return answered + 1


def _feed_all(kind: Input, base: Path, seed: int, numbers: range, channel: socket.socket) -> int:
    limit = _data_bytes() + _MEMORY_BYTES_MAX
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    for number in numbers:
        # both end the process: what hangs in C would not hear of a handler
        signal.setitimer(signal.ITIMER_PROF, _CPU_S_MAX)
        signal.setitimer(signal.ITIMER_REAL, _WALL_S_MAX)
        rng = random.Random(f"{seed} {kind.id} {number}")
        what: list[str] = []
        with tempfile.TemporaryDirectory(dir=base.parent) as folder:
            try:
                outcome = kind.feed(base, Path(folder), rng)
            except BaseException:
                outcome = "fault"
                what = [traceback.format_exc(limit=-8)[-4_000:]]
        channel.send(json.dumps({"outcome": outcome, "what": what}).encode())
    return 0


def _data_bytes() -> int:
    """Private writable memory of this process, as RLIMIT_DATA counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    raise HarnessError("/proc/self/status has no VmData")
