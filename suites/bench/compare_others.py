"""What asv and pytest-benchmark say of the pairs of `compare_acceptance.py` (decision 0013).

Run by hand, on one CPU as each round of ours is:
`taskset -c 0 python suites/bench/compare_others.py [COUNT]`. So many times (3) each of them
measures equal code (asv wants two commits: the other one is empty) and the slowed codec, in turns.
Prints at each threshold how many benchmarks they call slower, of those that the slowdown touches
and of all others, then each name.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from suites.bench.compare_acceptance import git, pair, say  # noqa: E402

CORE = (  # the 22 core benchmarks are of these classes
    r"^codec\.(Encode|Decode|DecodeMany)\.|^tiers\.|^search\.|^segments\.|^updates\.|^keys\."
)
MOSTLY_CODEC = re.compile(
    r"codec\.(Encode|Decode|DecodeMany)\.|ColdGet|WarmGet|PutMany|GetMany|UpdateDocument"
    r"|test_bench_(encode|decode)"
)
FACTORS = (1.1, 1.05, 1.025)  # of asv; the first is its default
PERCENT = (10, 5, 2)  # of pytest-benchmark, which has no default and takes whole ones
PYTEST = (
    *("-m", "pytest", "suites/bench/test_bench_codec.py", "suites/bench/test_bench_latency.py"),
    *("--size=full", "--benchmark-enable", "-q", "-o"),
    "addopts=--import-mode=importlib -p no:codspeed -p no:recording -p no:pytest_socket "
    "-p no:syrupy -p no:langsmith_plugin",
)
_ASV_LINE = re.compile(r"^\|\s*(?P<mark>[-+!~x]?)\s*\|.*\|\s*(?P<name>\S.*?)\s*\|\s*$")
_PYTEST_LINE = re.compile(r"^\s*(?P<name>test_\S+) .*Field 'median'.*: [\d.]+ > (?P<limit>[\d.]+)")


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A Python command in a clone, whatever its exit status."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def commit_nothing(clone: Path, base: str) -> str:
    """A commit with the same tree; the clone stays where it was."""
    return git(clone, "commit-tree", f"{base}^{{tree}}", "-p", base, "-m", "Nothing").strip()


def asv_says(clone: Path, base: str, head: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """For each factor: names called slower, and all names."""
    done = run(clone, "-m", "asv", "continuous", base, head, "--bench", CORE, "--interleave-rounds")
    for factor in FACTORS:
        words = ("-m", "asv", "compare", base, head, "--factor", str(factor), "--no-only-changed")
        lines = [_ASV_LINE.match(line) for line in run(clone, *words).stdout.splitlines()]
        found = [line for line in lines if line and line["name"] not in {"Benchmark (Parameter)"}]
        found = [line for line in found if not set(line["name"]) <= {"-"}]
        if not found:
            raise RuntimeError(f"asv compared nothing: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        slower = {line["name"] for line in found if line["mark"] == "+"}
        yield f"factor {factor}", slower, {line["name"] for line in found}


def pytest_benchmark_says(
    clone: Path, base: str, head: str, folder: Path
) -> Iterator[tuple[str, set[str], set[str]]]:
    """For each threshold of the median: names called slower, and all names."""
    source = {"PYTHONPATH": f"{clone / 'src'}{os.pathsep}{clone}"}
    told = folder / "base.json"
    git(clone, "checkout", "--quiet", base)
    first = run(clone, *PYTEST, f"--benchmark-json={told}", **source)
    if first.returncode:
        raise RuntimeError(first.stdout[-2000:] + first.stderr[-2000:])
    names = {each["name"] for each in json.loads(told.read_text())["benchmarks"]}
    git(clone, "checkout", "--quiet", head)
    limits = [f"median:{percent}%" for percent in PERCENT]
    words = (f"--benchmark-compare={told}", "--benchmark-compare-fail", *limits)
    second = run(clone, *PYTEST, *words, **source)
    git(clone, "checkout", "--quiet", base)
    text = second.stdout + second.stderr
    found = [line for line in map(_PYTEST_LINE.match, text.splitlines()) if line]
    if second.returncode and not found:
        raise RuntimeError(text[-2000:])
    for percent in PERCENT:
        slower = {line["name"] for line in found if float(line["limit"]) == percent}
        yield f"median {percent} %", slower, names


def tell(what: str, verdicts: Iterable[tuple[str, set[str], set[str]]], seen: Counter[str]) -> None:
    """Print how many of which kind were called slower, and count names."""
    for threshold, slower, names in verdicts:
        touched = {name for name in names if MOSTLY_CODEC.search(name)}
        say(
            f"{what}, {threshold}: slower {len(slower & touched)} of {len(touched)} that call the "
            f"codec, {len(slower - touched)} of {len(names - touched)} others"
        )
        seen.update(f"{what.rpartition(' ')[0]}, {threshold}: {name}" for name in slower)


def main(arguments: Sequence[str]) -> None:
    """Measure all pairs and print what was said."""
    count = int(arguments[0]) if arguments else 3
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clone, base, slow = pair(folder)
        run(clone, "-m", "asv", "machine", "--yes")
        for turn in range(1, count + 1):
            for what, head in (("same", commit_nothing(clone, base)), ("slowed", slow)):
                begun = time.monotonic()
                tell(f"asv {what} {turn}", asv_says(clone, base, head), seen)
                say(f"asv {what} {turn}: {time.monotonic() - begun:.0f} s")
                begun = time.monotonic()
                said = pytest_benchmark_says(clone, base, head, folder)
                tell(f"pytest-benchmark {what} {turn}", said, seen)
                say(f"pytest-benchmark {what} {turn}: {time.monotonic() - begun:.0f} s")
    for line, times in sorted(seen.items()):
        say(f"{line}: {times} of {count}")


if __name__ == "__main__":
    main(sys.argv[1:])
