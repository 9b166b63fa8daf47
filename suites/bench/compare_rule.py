"""How often the rule of `harness compare` errs, on synthetic rounds; the numbers of decision 0013.

Run by hand: `python suites/bench/compare_rule.py`. Noise as of a machine with neighbours: Student's
t with 2.5 degrees of freedom, and 1 round in 20 with noise 20 times as large.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.compare.decide import RULE, Verdict, decide_many

COUNT = 3_000
SEED = 0


def noise(rng: np.random.Generator, scale: float) -> NDArray[np.float64]:
    """Rounds of identical code: shape (COUNT, 64)."""
    shape = (COUNT, RULE.looks[-1])
    rare = rng.random(shape) < 0.05
    return rng.standard_t(2.5, shape) * scale + rare * rng.normal(0, 20 * scale, shape)


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def main() -> None:
    """Print a line a scale."""
    rng = np.random.default_rng(SEED)
    say("scale | equal: REGRESSED, INCONCLUSIVE | 1 %: REGRESSED | 5 %: REGRESSED, called fine")
    for scale in (0.005, 0.01, 0.02, 0.03, 0.05):
        equal, margin, slow = (
            decide_many(noise(rng, scale) + math.log1p(shift)) for shift in (0.0, 0.01, 0.05)
        )
        shares = [
            found.count(verdict) / COUNT
            for found, verdict in (
                (equal, Verdict.REGRESSED),
                (equal, Verdict.INCONCLUSIVE),
                (margin, Verdict.REGRESSED),
                (slow, Verdict.REGRESSED),
                (slow, Verdict.NO_REGRESSION),
            )
        ]
        say(f"{scale:.1%} | " + " | ".join(f"{share:.2%}" for share in shares))


if __name__ == "__main__":
    main()
