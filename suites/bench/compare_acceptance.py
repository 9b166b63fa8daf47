"""What `harness compare` says of equal code and of a slowed codec: decision 0013's last table.

Run by hand on a calibrated machine: `python suites/bench/compare_acceptance.py [COUNT] [REGEX]`. So
many times (5) it compares this commit with itself, and with a commit in which every call into the
codec takes 5 % longer and what it costs to make it so; in turns, each with another seed. Prints
each comparison's end, then how often each benchmark had which verdict. Reports stay in reports/.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODEC = Path("src", "titanstore", "codec", "choose.py")
SEED = 20_261_125
SLOWED = """

def _slowed(call):
    import time

    def slower(*arguments, **named):
        if _depth[0]:  # a call within a call is slowed with it
            return call(*arguments, **named)
        _depth[0] = 1
        begin = time.perf_counter_ns()
        try:
            return call(*arguments, **named)
        finally:
            _depth[0] = 0
            end = time.perf_counter_ns()
            while time.perf_counter_ns() < end + (end - begin) // 20:
                pass

    return slower


_depth = [0]
encode_frame = _slowed(encode_frame)
decode_frame = _slowed(decode_frame)
decode_parsed = _slowed(decode_parsed)
decode_frames = _slowed(decode_frames)
"""


def git(folder: Path, *words: str) -> str:
    """What git says; raises CalledProcessError."""
    command = [
        "git",
        "-C",
        str(folder),
        "-c",
        "user.name=bench",
        "-c",
        "user.email=bench@localhost",
    ]
    return subprocess.run([*command, *words], check=True, capture_output=True, text=True).stdout


def pair(folder: Path) -> tuple[Path, str, str]:
    """A clone with both commits."""
    clone = folder / "clone"
    git(folder, "clone", "--quiet", str(ROOT), str(clone))
    if (ROOT.parent / "shared").is_dir():
        (folder / "shared").symlink_to(ROOT.parent / "shared")  # the same data as calibrated
    base = git(clone, "rev-parse", "HEAD").strip()
    with (clone / CODEC).open("a", encoding="utf-8") as file:
        file.write(SLOWED)
    git(clone, "commit", "--quiet", "--all", "-m", "The codec takes 5 % longer")
    head = git(clone, "rev-parse", "HEAD").strip()
    git(clone, "checkout", "--quiet", base)  # the benchmarks are the checkout's
    return clone, base, head


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the comparisons and count."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    some = ["--benchmark", sys.argv[2]] if len(sys.argv) > 2 else []
    seen: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    with tempfile.TemporaryDirectory() as folder:
        clone, base, slow = pair(Path(folder))
        for turn in range(1, count + 1):
            for name, head in (("same", base), ("slowed", slow)):
                begun = time.monotonic()
                words = [sys.executable, "-m", "harness", "compare", base, head]
                words += ["--seed", str(SEED + turn), "--reports", str(ROOT / "reports"), *some]
                done = subprocess.run(words, cwd=clone, capture_output=True, text=True, check=False)
                took = time.monotonic() - begun
                say(f"{name} {turn}: exit status {done.returncode}, {took:.0f} s")
                (line,) = (text for text in done.stdout.splitlines() if text.startswith("Report: "))
                report = ROOT / line.removeprefix("Report: ")
                told = json.loads(report.with_name("compare.json").read_text(encoding="utf-8"))
                for one in told["benchmarks"]:
                    seen[one["id"]][name][one["verdict"]] += 1
    for benchmark, by_name in sorted(seen.items()):
        told_of = "; ".join(f"{name}: {dict(verdicts)}" for name, verdicts in by_name.items())
        say(f"{benchmark}: {told_of}")


if __name__ == "__main__":
    main()
