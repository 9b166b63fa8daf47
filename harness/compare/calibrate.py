"""What this machine can tell apart: rounds of identical code, put through the rule; pure.

At least 256 A/A rounds are resampled 3 000 times, as they are and 5 % slower. A benchmark may
decide only if the rate of false REGRESSED has a 95 % upper bound of at most 1 %, and the rate at
which 5 % are found a 95 % lower bound of at least 95 % (Clopper and Pearson 1934). Both are counted
the hard way: false as soon as one run says REGRESSED, found only if the second run says so too, as
the exit status demands. Real A/A comparisons count beside the resampled ones. Resampling assumes
that rounds are exchangeable: that none tells of the next. The autocorrelation says how far that is
true.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from harness.compare.decide import RULE, Rule, Verdict, decide_many

__all__ = ["ROUNDS", "Rate", "Standing", "assess"]

ROUNDS = 256
RESAMPLES = 3_000
INJECTED = 0.05
FALSE_MAX, FOUND_MIN = 0.01, 0.95
_CONFIDENCE = 0.95
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So many of so many, with both one-sided 95 % bounds of the rate."""

    count: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.of:
            raise ValueError(f"{self.count} of {self.of}")

    @property
    def low(self) -> float:
        """Lower bound; 0 if nothing was seen."""
        if self.count == 0:
            return 0.0
        missed = self.of - self.count + 1
        return float(special.betaincinv(self.count, missed, 1 - _CONFIDENCE))

    @property
    def high(self) -> float:
        """Upper bound; 1 if nothing was tried."""
        if self.count == self.of:
            return 1.0
        return float(special.betaincinv(self.count + 1, self.of - self.count, _CONFIDENCE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """May this benchmark decide on this machine?

    Attributes
    ----------
    state
        "calibrated": it decides. "trend only": it was measured and cannot. "uncalibrated": too few
        rounds are known.
    false_regressed
        Of resampled and real A/A comparisons, those that said REGRESSED in their first run.
    found
        Of resampled comparisons with 5 % injected, those that said so in both runs.
    real
        The real A/A comparisons among `false_regressed`.
    autocorrelation
        Of neighbouring rounds; None below 3 rounds or without any spread.
    """

    state: str
    reason: str
    rounds: int
    false_regressed: Rate
    found: Rate
    real: Rate
    autocorrelation: float | None


def assess(name: str, rounds: Sequence[float], real: Rate, rule: Rule = RULE) -> Standing:
    """Judge a benchmark by its A/A rounds; the same for the same input.

    Parameters
    ----------
    rounds
        Log ratios of A/A rounds in the order they were made.
    real
        Real A/A comparisons of this benchmark since, and how many of them said REGRESSED.

    Notes
    -----
    About 0.3 s a benchmark. The draw depends on the name alone.
    """
    values = np.asarray(rounds, dtype=np.float64)
    if len(values) < ROUNDS:
        nothing = Rate(count=0, of=0)
        return Standing(
            state="uncalibrated",
            reason=f"{len(values)} of {ROUNDS} A/A rounds are known; run `harness calibrate`",
            rounds=len(values),
            false_regressed=nothing,
            found=nothing,
            real=real,
            autocorrelation=_autocorrelation(values),
        )
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    rng = np.random.default_rng(seed)
    false, found = 0, 0
    for _ in range(RESAMPLES // _AT_ONCE):
        window = values[rng.integers(0, len(values), (_AT_ONCE, rule.looks[-1]))]
        false += int(_is_regressed(window, rule).sum())
        slow = window[_is_regressed(window + math.log1p(INJECTED), rule)]
        again = values[rng.integers(0, len(values), slow.shape)]
        found += int(_is_regressed(again + math.log1p(INJECTED), rule).sum())
    false_regressed = Rate(count=false + real.count, of=RESAMPLES + real.of)
    detected = Rate(count=found, of=RESAMPLES)
    faults = []
    if false_regressed.high > FALSE_MAX:
        faults.append(f"up to {false_regressed.high:.1%} of identical code would be REGRESSED")
    if detected.low < FOUND_MIN:
        faults.append(f"as few as {detected.low:.1%} of slowdowns by {INJECTED:.0%} are found")
    return Standing(
        state="trend only" if faults else "calibrated",
        reason="; ".join(faults),
        rounds=len(values),
        false_regressed=false_regressed,
        found=detected,
        real=real,
        autocorrelation=_autocorrelation(values),
    )


def _is_regressed(windows: NDArray[np.float64], rule: Rule) -> NDArray[np.bool_]:
    return np.array([one is Verdict.REGRESSED for one in decide_many(windows, rule)], dtype=bool)


def _autocorrelation(values: NDArray[np.float64]) -> float | None:
    """Of ranks, so that a single outlier does not speak for all."""
    if len(values) < 3 or np.ptp(values) == 0:
        return None
    ranks = np.argsort(np.argsort(values)).astype(np.float64)
    centred = ranks - ranks.mean()
    return float((centred[1:] * centred[:-1]).sum() / (centred**2).sum())
