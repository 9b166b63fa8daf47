"""From the rounds of one benchmark to its verdict; pure, and the same for the same input.

Rule: SPEC section 6. A round gives d = log(Q25(head) / Q25(base)). At 10, 16, 32 and 64 rounds the
Hodges-Lehmann estimate of d gets one-sided bounds by Wilcoxon's signed-rank distribution, exact and
without a normal distribution anywhere (Hollander, Wolfe and Chicken 2014, "Nonparametric
Statistical Methods", sections 3.2 and 3.3); alpha is shared out evenly over the looks. Ties and
zeros need no care of their own: a bound is one of the Walsh averages, and both comparisons with it
are strict, so a tie only ever makes the rule slower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "RULE",
    "Decision",
    "Look",
    "Rule",
    "Verdict",
    "decide",
    "decide_many",
    "holm",
    "log_ratio",
    "look_at",
    "rounds_needed",
]

Values = NDArray[np.float64]

_EXTREME = 1e3  # a log ratio beyond all others


class Verdict(StrEnum):
    """What is said of one benchmark, worst first."""

    REGRESSED = "REGRESSED"
    NOT_COMPARABLE = "NOT COMPARABLE"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_REGRESSION = "NO REGRESSION"
    IMPROVED = "IMPROVED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to look, how sure to be, and which effects matter.

    Attributes
    ----------
    looks
        Numbers of rounds at which a verdict may fall, rising; the last is the end.
    alpha
        Of a false REGRESSED over all looks together, and as much of a false IMPROVED and of a false
        NO REGRESSION.
    margin
        A slowdown up to here is none, 0.01 = 1 %.
    tolerance
        A slowdown from here on is never called NO REGRESSION.
    """

    looks: tuple[int, ...] = (10, 16, 32, 64)
    alpha: float = 0.01
    margin: float = 0.01
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        if not self.looks or list(self.looks) != sorted(set(self.looks)) or self.looks[0] < 1:
            raise ValueError(f"looks have to rise from 1 on, got {self.looks}")
        if not (0 < self.alpha < 0.5 and 0 <= self.margin < self.tolerance):
            raise ValueError(f"need 0 < alpha < 0.5 and 0 <= margin < tolerance, got {self}")

    @property
    def alpha_per_look(self) -> float:
        """Bonferroni over the looks."""
        return self.alpha / len(self.looks)


RULE = Rule()
"""The numbers of SPEC section 6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is known after so many rounds. Logarithms of ratios, head / base.

    Attributes
    ----------
    low, high
        One-sided bounds, each at `alpha_per_look`; infinite if there are too few rounds for it.
    p_regressed
        Of "no slower than the margin", one-sided, for this look alone.
    """

    rounds: int
    estimate: float
    low: float
    high: float
    p_regressed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Where the rounds of one run have led.

    Attributes
    ----------
    verdict
        None: go on.
    look
        The look that decided, or the latest one; None before the first.
    smallest_effect
        Only with INCONCLUSIVE: the smallest slowdown, as a ratio, that rounds scattered like these
        would have shown at the same look.
    """

    verdict: Verdict | None
    look: Look | None
    rounds: int
    smallest_effect: float | None = None


def log_ratio(base: Sequence[float], head: Sequence[float]) -> float:
    """log(Q25(head) / Q25(base)) of one round.

    The lower quartile of a process's samples: less odd than the minimum, less noisy than the
    median where a neighbour takes the core now and then.

    Raises
    ------
    ValueError
        A side has no samples, or one that is not a positive finite time.
    """
    quartiles = []
    for name, samples in (("base", base), ("head", head)):
        values = np.asarray(samples, dtype=np.float64)
        if values.size == 0:
            raise ValueError(f"{name} has no samples")
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(f"{name} has a sample that is no time: {values.min()}")
        quartiles.append(float(np.quantile(values, 0.25)))
    return math.log(quartiles[1] / quartiles[0])


@lru_cache(maxsize=256)
def _signed_rank_cdf(rounds: int) -> Values:
    """P(T+ <= t) for t = 0 .. n(n+1)/2: every sign is as likely as the other."""
    chances = np.ones(1)
    for rank in range(1, rounds + 1):
        longer = np.zeros(chances.size + rank)
        longer[: chances.size] += chances / 2
        longer[rank:] += chances / 2
        chances = longer
    cdf = np.minimum(1.0, np.cumsum(chances))
    cdf.flags.writeable = False
    return cdf


@lru_cache(maxsize=256)
def _rank(rounds: int, alpha: float) -> int:
    """Which Walsh average from either end is the bound, counted from 1; 0: none is."""
    return int(np.searchsorted(_signed_rank_cdf(rounds), alpha, side="right"))


def _walsh(rounds: Values) -> Values:
    """All averages of two values, each with itself too: shape (..., n(n+1)/2)."""
    one, other = np.triu_indices(rounds.shape[-1])
    return (rounds[..., one] + rounds[..., other]) / 2


def _checked(rounds: Sequence[float] | Values) -> Values:
    values = np.asarray(rounds, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the log ratio of a round is not a finite number")
    return values


def look_at(rounds: Sequence[float] | Values, rule: Rule = RULE) -> Look:
    """Estimate and bounds of these rounds, however many.

    Raises
    ------
    ValueError
        No rounds, or one that is not a finite number.
    """
    values = _checked(rounds)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("no rounds")
    averages = np.sort(_walsh(values))
    rank = _rank(values.size, rule.alpha_per_look)
    above = int((averages > math.log1p(rule.margin)).sum())
    cdf = _signed_rank_cdf(values.size)
    # P(T+ >= above) = P(T+ <= all - above): the distribution is symmetric
    return Look(
        rounds=int(values.size),
        estimate=float(np.median(averages)),
        low=float(averages[rank - 1]) if rank else -math.inf,
        high=float(averages[-rank]) if rank else math.inf,
        p_regressed=float(cdf[averages.size - above]),
    )


def _verdict_at(look: Look, rule: Rule) -> Verdict | None:
    margin, tolerance = math.log1p(rule.margin), math.log1p(rule.tolerance)
    if look.low > margin:
        return Verdict.REGRESSED
    if look.high < -margin:
        return Verdict.IMPROVED
    if look.high < tolerance:
        return Verdict.NO_REGRESSION
    return None


def decide(
    rounds: Sequence[float] | Values, rule: Rule = RULE, *, is_over: bool = False
) -> Decision:
    """Apply the rule to the rounds in the order they were made.

    Rounds after the look that decided change nothing. Cost: 2 ms at 64 rounds.

    Parameters
    ----------
    is_over
        There will be no more rounds: what is undecided is INCONCLUSIVE.

    Raises
    ------
    ValueError
        A round that is not a finite number.
    """
    values = _checked(rounds)
    look: Look | None = None
    for looked in rule.looks:
        if values.size < looked:
            break
        look = look_at(values[:looked], rule)
        verdict = _verdict_at(look, rule)
        if verdict is not None:
            return Decision(verdict=verdict, look=look, rounds=looked)
    done = int(values.size)
    if done < rule.looks[-1] and not is_over:
        return Decision(verdict=None, look=look, rounds=done)
    return Decision(
        verdict=Verdict.INCONCLUSIVE,
        look=look,
        rounds=done,
        smallest_effect=None if look is None else _smallest_effect(look, rule),
    )


def _smallest_effect(look: Look, rule: Rule) -> float | None:
    """Shifting all rounds moves estimate and bound alike; so far up, the bound is at the margin."""
    if not math.isfinite(look.low):
        return None
    return math.exp(math.log1p(rule.margin) + look.estimate - look.low)


def rounds_needed(rounds: Sequence[float] | Values, rule: Rule = RULE) -> int:
    """How many more rounds at least until a verdict, were all of them as extreme as can be.

    0 if there is one, or if the last look is done.
    """
    values = _checked(rounds)
    if decide(values, rule).verdict is not None:
        return 0
    for looked in rule.looks:
        missing = looked - values.size
        if missing <= 0:
            continue
        for extreme in (_EXTREME, -_EXTREME):
            filled = np.concatenate([values, np.full(missing, extreme)])
            if _verdict_at(look_at(filled, rule), rule) is not None:
                return missing
    return max(0, rule.looks[-1] - int(values.size))


def decide_many(windows: Values, rule: Rule = RULE) -> list[Verdict]:
    """`decide` for many sequences of rounds at once, for calibration.

    Parameters
    ----------
    windows
        Shape (sequences, rounds), at least `rule.looks[-1]` rounds each.

    Notes
    -----
    Counts Walsh averages instead of sorting them: about 20 us a sequence.
    """
    values = _checked(windows)
    if values.ndim != 2 or values.shape[1] < rule.looks[-1]:
        raise ValueError(f"need {rule.looks[-1]} rounds in each sequence, got {values.shape}")
    margin, tolerance = math.log1p(rule.margin), math.log1p(rule.tolerance)
    found = np.full(len(values), Verdict.INCONCLUSIVE, dtype=object)
    open_ = np.arange(len(values))
    for looked in rule.looks:
        rank = _rank(looked, rule.alpha_per_look)
        if not rank or not open_.size:
            continue
        averages = _walsh(values[open_, :looked])
        regressed = (averages <= margin).sum(axis=1) < rank
        improved = (averages >= -margin).sum(axis=1) < rank
        fine = (averages >= tolerance).sum(axis=1) < rank
        found[open_[fine]] = Verdict.NO_REGRESSION
        found[open_[improved]] = Verdict.IMPROVED
        found[open_[regressed]] = Verdict.REGRESSED
        open_ = open_[~(regressed | improved | fine)]
    return list(found)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p values: at most alpha = rejected with that chance of any false rejection.

    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    adjusted: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[name]))
        adjusted[name] = highest
    return adjusted
