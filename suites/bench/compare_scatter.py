"""Scatter of the kept A/A rounds of this user's calibrations, by method; a table of decision 0013.

Run by hand after `harness calibrate`: `python suites/bench/compare_scatter.py`.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.compare.calibrations import usual_calibrations
from harness.compare.rawfile import log_ratios, read_lines, round_of
from harness.compare.rounds import Round


def main() -> None:
    """Print a line a method and benchmark: rounds, standard deviation, the robust one."""
    rounds: dict[int, list[Round]] = defaultdict(list)
    for path in sorted(usual_calibrations().glob("*/sessions/*.jsonl")):
        header, *lines = read_lines(path)
        version = header.get("method", {}).get("version", 1)
        rounds[version] += [round_of(line) for line in lines]
    for version, made in sorted(rounds.items()):
        for name in sorted({name for one in made for name in one.samples}):
            ratios = np.array(log_ratios(made, name))
            robust = 1.4826 * float(np.median(np.abs(ratios - np.median(ratios))))
            spread = f"{np.std(ratios):.1%} ({robust:.1%})"
            sys.stdout.write(f"method {version}, {name}: {len(ratios)} rounds, {spread}\n")


if __name__ == "__main__":
    main()
