"""Rounds: one fresh process of each side, the same benchmarks, sample beside sample.

Within a round both processes live at once and take turns: a pair of samples lies milliseconds
apart, so that a neighbour who slows the machine for a second slows both. They take turns on one
CPU: those of a virtual machine are slowed one by one, and a side with a CPU of its own would be
the slower one while that lasts. What could favour a side is drawn anew each round, from one seed:
the CPU, which process starts first, the order of the benchmarks, and which side begins each pair.
Both processes of a round have the same hash seed; another round, another seed.

A benchmark that has its verdict is left out of later rounds. The others then have other
predecessors in their process, as they have anyway: the order changes from round to round, and each
benchmark is torn down before the next one is set up (decision 0013).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.compare.sides import Bench, Side, SideError, SideProcess, Suite, UnusableError
from harness.environment import load_now

__all__ = [
    "METHOD",
    "SAMPLES",
    "SAMPLE_S",
    "Listing",
    "Round",
    "inner_loops",
    "list_benches",
    "run_round",
]

SAMPLES = 12
"""Pairs of samples a benchmark and round (SPEC section 6)."""
SAMPLE_S = 5e-3
"""A sample lasts at least this long on BASE."""
METHOD: Mapping[str, Any] = {"version": 2, "samples": SAMPLES, "sample_s": SAMPLE_S}
"""How a round is made: rounds of another method do not calibrate this one. Raise the version with
any change that may alter how rounds scatter. 2: both processes on one CPU."""

_SPARE = 1.15  # aimed at this much more, since the next process may be a little faster
_SAMPLE_S_MAX = 2 * SAMPLE_S
_LOOPS_MAX = 2**24
_TRIALS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a side can run: asv's description of each core benchmark, and why others are missing.

    Attributes
    ----------
    benches
        One for each product of parameters.
    described
        asv's fields by benchmark: name, version, params, param_names, unit, code.
    failed
        Modules that cannot be imported with this side's titanstore, and why.
    evidence
        What the suite tells of its data.
    unusable
        Why nothing at all can be run with this side's titanstore; "" if something can.
    """

    benches: tuple[Bench, ...]
    described: Mapping[str, Mapping[str, Any]]
    failed: Mapping[str, str]
    evidence: Mapping[str, Any]
    unusable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The raw result of one round.

    Attributes
    ----------
    run
        1, or 2 for the run that must confirm.
    samples
        Nanoseconds by benchmark: those of BASE and those of HEAD, each of the whole inner loop.
    cpu
        The one that both processes had to share; None in rounds made before they did.
    failed
        What went wrong, by benchmark: "head: ...".
    """

    run: int
    number: int
    first: str
    order: Sequence[str]
    hash_seed: int
    started: float
    seconds: float
    load: float
    steal_s: float
    samples: Mapping[str, tuple[Sequence[int], Sequence[int]]]
    cpu: int | None = None
    failed: Mapping[str, str] = field(default_factory=dict)


def list_benches(side: Side, suite: Suite, work: Path) -> Listing:
    """Ask a fresh process of a side which core benchmarks there are.

    A side whose titanstore cannot be imported, or with which the benchmark folder as a whole
    cannot, has none: `unusable` says why.

    Raises
    ------
    SideError
        The process did not start, or imported another titanstore than its side's.
    """
    answer = _listed(side, suite, work)
    if "error" in answer:
        return Listing(benches=(), described={}, failed={}, evidence={}, unusable=answer["error"])
    benches = []
    for described in answer["benchmarks"]:
        name = described["name"]
        if not described["params"]:
            benches.append(Bench(name=name, benchmark=name, place=None))
        for place, values in enumerate(_products(described["params"])):
            flat = f"{name}({', '.join(values)})"
            benches.append(Bench(name=flat, benchmark=name, place=place))
    return Listing(
        benches=tuple(benches),
        described={described["name"]: described for described in answer["benchmarks"]},
        failed=answer["failed"],
        evidence=answer["evidence"],
    )


def _listed(side: Side, suite: Suite, work: Path) -> Mapping[str, Any]:
    """The worker's answer; `error` if it has none to give."""
    name = suite.timings.name
    with SideProcess(side, suite, work, hash_seed=0) as process:
        try:
            process.started()
        except UnusableError as error:
            return {"error": f"titanstore cannot be imported: {error.why}"}
        try:
            answer = process.ask(do="list")
        except SideError as error:
            return {"error": f"its process ended while {name} was imported: {error}"}
    if "error" in answer:
        return {"error": f"{name} cannot be imported: {answer['error']}"}
    return answer


def _products(params: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    if not params:
        return
    total = math.prod(len(values) for values in params)
    for place in range(total):
        picked, rest = [], place
        for values in reversed(params):
            rest, index = divmod(rest, len(values))
            picked.append(values[index])
        yield picked[::-1]


def inner_loops(
    side: Side, suite: Suite, benches: Sequence[Bench], work: Path
) -> tuple[dict[str, int], dict[str, str]]:
    """How many calls make a sample last 5 ms on this side, by benchmark; and what failed.

    Both sides then use the same number. About 0.2 s a benchmark: judged by the shortest of
    as many samples as a round takes, so that a neighbour who slows some of them does not deceive.
    """
    loops: dict[str, int] = {}
    failed: dict[str, str] = {}
    waiting = list(benches)
    while waiting:
        with SideProcess(side, suite, work, hash_seed=0) as process:
            process.started()
            while waiting:
                bench = waiting.pop(0)
                try:
                    number, fault = _loops_of(process, bench)
                except SideError as error:
                    failed[bench.name] = str(error)
                    break  # the others go on in a new process
                if fault:
                    failed[bench.name] = f"{side.name}: {fault}"
                else:
                    loops[bench.name] = number
    return loops, failed


def _loops_of(process: SideProcess, bench: Bench) -> tuple[int, str]:
    number = 1
    for _ in range(_TRIALS):
        times, fault = _trial(process, bench, number)
        if fault:
            return 0, fault
        seconds = min(times) * 1e-9
        if seconds >= SAMPLE_S and (number == 1 or seconds <= _SAMPLE_S_MAX):
            break
        wanted = math.ceil(number * _SPARE * SAMPLE_S / max(seconds, 1e-9))
        number = max(1, min(_LOOPS_MAX, 100 * number, wanted))
    return number, ""


def _trial(process: SideProcess, bench: Bench, number: int) -> tuple[list[int], str]:
    """Samples as a round takes them."""
    fault = _fault(process.ask(do="set_up", benchmark=bench.benchmark, place=bench.place))
    times: list[int] = []
    while not fault and len(times) < SAMPLES + 1:
        answer = process.ask(do="sample", number=number)
        fault = _fault(answer)
        times.append(int(answer.get("ns", 0)))
    return times[1:], _fault(process.ask(do="tear_down")) or fault


def run_round(
    sides: tuple[Side, Side],
    suite: Suite,
    benches: Sequence[Bench],
    loops: Mapping[str, int],
    rng: np.random.Generator,
    work: Path,
    *,
    run: int,
    number: int,
) -> Round:
    """Run one round; nothing is left behind, whatever happens.

    A benchmark that ends or holds up a process has failed, and the round ends with it: those that
    were to come after it are not in its samples. A titanstore that cannot be imported fails them
    all.

    Raises
    ------
    SideError
        A process did not start.
    """
    begun, load = time.time(), load_now()
    clock = time.monotonic()
    hash_seed = int(rng.integers(1, 2**32 - 1))
    order = [benches[place] for place in rng.permutation(len(benches))]
    head_first = bool(rng.integers(2))
    cpu = int(rng.choice(sorted(os.sched_getaffinity(0))))
    samples: dict[str, tuple[list[int], list[int]]] = {}
    failed: dict[str, str] = {}
    try:
        with _only_on(cpu), _pair(sides, suite, work, hash_seed, head_first) as pair:
            for bench in order:
                try:
                    found = _measured(pair, sides, bench, loops[bench.name], rng)
                except SideError as error:
                    failed[bench.name] = str(error)
                    break
                if isinstance(found, str):
                    failed[bench.name] = found
                else:
                    samples[bench.name] = found
    except UnusableError as error:  # it could be imported before: now and then, then
        failed = {bench.name: str(error) for bench in order}
    return Round(
        run=run,
        number=number,
        first=sides[head_first].name,
        order=[bench.name for bench in order],
        hash_seed=hash_seed,
        started=begun,
        seconds=round(time.monotonic() - clock, 3),
        load=load.load,
        steal_s=round(load_now().steal_s - load.steal_s, 2),
        samples=samples,
        cpu=cpu,
        failed=failed,
    )


@contextmanager
def _only_on(cpu: int) -> Iterator[None]:
    """This thread, and processes that it starts meanwhile, run on one CPU."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def _pair(
    sides: tuple[Side, Side], suite: Suite, work: Path, hash_seed: int, head_first: bool
) -> Iterator[tuple[SideProcess, SideProcess]]:
    """Both processes, started in the order drawn, and ready."""
    one, other = (sides[1], sides[0]) if head_first else sides
    with (
        SideProcess(one, suite, work, hash_seed=hash_seed) as first,
        SideProcess(other, suite, work, hash_seed=hash_seed) as second,
    ):
        first.started()
        second.started()
        yield (second, first) if head_first else (first, second)


def _measured(
    pair: tuple[SideProcess, SideProcess],
    sides: tuple[Side, Side],
    bench: Bench,
    loops: int,
    rng: np.random.Generator,
) -> tuple[list[int], list[int]] | str:
    """12 pairs of samples of one benchmark, or what went wrong."""
    faults = _both(pair, sides, do="set_up", benchmark=bench.benchmark, place=bench.place)
    times: tuple[list[int], list[int]] = ([], [])
    if not faults:
        for turn in range(SAMPLES + 1):  # the first pair warms caches and does not count
            begin = int(rng.integers(2))
            for place in (begin, 1 - begin):
                answer = pair[place].ask(do="sample", number=loops)
                if "error" in answer:
                    faults.append(f"{sides[place].name}: {_fault(answer)}")
                elif turn:
                    times[place].append(int(answer["ns"]))
            if faults:
                break
    faults += _both(pair, sides, do="tear_down")
    return "; ".join(faults) if faults else times


def _both(
    pair: tuple[SideProcess, SideProcess], sides: tuple[Side, Side], **command: Any
) -> list[str]:
    """Have both do something that is not timed, at the same time; what went wrong."""
    for process in pair:
        process.send(**command)
    answers = [process.answer() for process in pair]
    return [
        f"{side.name}: {fault}"
        for side, answer in zip(sides, answers, strict=True)
        if (fault := _fault(answer))
    ]


def _fault(answer: Mapping[str, Any]) -> str:
    return str(answer.get("error") or answer.get("absent") or "")
