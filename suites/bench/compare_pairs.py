"""Scatter of A/A rounds made in three ways; the numbers of decision 0013.

Run by hand: `python suites/bench/compare_pairs.py [SECONDS] [REGEX]`. Taking turns on one CPU, as
`harness compare` does; taking turns on whatever CPUs the kernel gives; one side after the other on
one CPU. Rounds of the three follow each other, on the checkout's own code and benchmarks.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.compare import rounds
from harness.compare.decide import log_ratio
from harness.compare.sides import Bench, Side, SideProcess, Suite


def side(name: str, suite: Suite) -> Side:
    """The checkout's code as it is."""
    return Side(
        name=name,
        label=name,
        commit="",
        content_digest="",
        dirty=True,
        source=suite.root / "src",
        python=Path(sys.executable),
        environment="",
    )


def side_after_side(
    pair: tuple[SideProcess, SideProcess],
    sides: tuple[Side, Side],
    bench: Bench,
    loops: int,
    rng: np.random.Generator,
) -> tuple[list[int], list[int]]:
    """As `rounds._measured`, but all samples of one side first."""
    rounds._both(pair, sides, do="set_up", benchmark=bench.benchmark, place=bench.place)
    times: tuple[list[int], list[int]] = ([], [])
    begin = int(rng.integers(2))
    for place in (begin, 1 - begin):
        for turn in range(rounds.SAMPLES + 1):
            answer = pair[place].ask(do="sample", number=loops)
            if turn:
                times[place].append(int(answer["ns"]))
    rounds._both(pair, sides, do="tear_down")
    return times


@contextmanager
def any_cpu(_: int) -> Iterator[None]:
    """As `rounds._only_on`, but the kernel chooses."""
    yield


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def main() -> None:
    """Print the scatter of each benchmark's log ratio, each way."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    pattern = re.compile(sys.argv[2] if len(sys.argv) > 2 else "")
    suite, rng = Suite.usual(), np.random.default_rng(1)
    sides = (side("base", suite), side("head", suite))
    turns, one_cpu = rounds._measured, rounds._only_on
    ways: dict[str, tuple[Any, Any]] = {
        "turns on one CPU": (turns, one_cpu),
        "turns on any": (turns, any_cpu),
        "side after side": (side_after_side, one_cpu),
    }
    found: dict[str, list[rounds.Round]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        listed = rounds.list_benches(sides[0], suite, work).benches
        benches = [bench for bench in listed if pattern.search(bench.name)]
        loops, _ = rounds.inner_loops(sides[0], suite, benches, work)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name, way in ways.items():
                rounds._measured, rounds._only_on = way
                one = rounds.run_round(sides, suite, benches, loops, rng, work, run=1, number=1)
                found[name].append(one)
    for name, made in found.items():
        load = np.mean([one.load for one in made])
        took = np.median([one.seconds for one in made])
        say(f"{name}: {len(made)} rounds of {took:.1f} s, load {load:.1f}")
    for bench in benches:
        told = [
            f"{name} {_scatter([log_ratio(*one.samples[bench.name]) for one in made])}"
            for name, made in found.items()
        ]
        say(f"{bench.name}: {', '.join(told)}")


def _scatter(ratios: list[float]) -> str:
    """Standard deviation, and the robust one from the median of absolute deviations."""
    robust = 1.4826 * float(np.median(np.abs(np.array(ratios) - np.median(ratios))))
    return f"{np.std(ratios):.1%} (robust {robust:.1%})"


if __name__ == "__main__":
    main()
