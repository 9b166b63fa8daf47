"""What a call costs at most, what it did cost, and the refusal of a call that could be too much.

The prices here were written down from memory in 2025 and are not asked for: AWS publishes them at
https://aws.amazon.com/bedrock/pricing/ and changes them, other regions differ, and a budget is kept
only as well as its price is right. `--usd-per-1000-tokens` says the one that was looked up.
Dollars are kept as whole picodollars, so that sums are exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from harness.errors import HarnessError, UsageError

__all__ = [
    "MODELS",
    "PRICES_AS_OF",
    "PRICES_SOURCE",
    "Budget",
    "BudgetSpentError",
    "picodollars",
    "usd",
]

PRICES_AS_OF: Final = "2025, us-east-1, on demand"
PRICES_SOURCE: Final = "https://aws.amazon.com/bedrock/pricing/"
_PICO = 10**12
# Picodollars a token: 0.0001 and 0.00002 dollars a 1000 tokens.
MODELS: Final[Mapping[str, int]] = {
    "amazon.titan-embed-text-v1": 100_000,
    "amazon.titan-embed-g1-text-02": 100_000,
    "amazon.titan-embed-text-v2:0": 20_000,
}
_TOKENS_MAX = 8192  # that a text model takes
_MARKS = 2  # tokens that the model puts around a text


class BudgetSpentError(HarnessError):
    """The next call could pass the budget; it was not made. What was recorded stays."""

    exit_code = 3


def picodollars(dollars: float) -> int:
    """Whole picodollars of a budget, rounded down: it is never passed by rounding.

    Raises UsageError for what is no amount: NaN, infinity.
    """
    if not math.isfinite(dollars):
        raise UsageError(f"{dollars} is no amount of dollars")
    return int(dollars * _PICO)


def a_token(usd_per_1000: float) -> int:
    """Whole picodollars of a token, rounded up: a price is never too low by rounding."""
    picodollars(usd_per_1000)  # is it an amount?
    return math.ceil(Fraction(repr(usd_per_1000)) * _PICO / 1000)  # as it was written


def usd(amount: int) -> str:
    """An amount as text, in dollars."""
    return f"{amount / _PICO:.6f} USD"


@dataclass(slots=True, kw_only=True)
class Budget:
    """Money that may be spent; one thread.

    Attributes
    ----------
    limit
        Picodollars in all.
    price
        Picodollars a token.
    spent
        By the tokens that answers told, and by their upper bound for calls without an answer,
        which may have been billed.
    """

    limit: int
    price: int
    spent: int = 0

    def __post_init__(self) -> None:
        if self.limit <= 0 or self.price <= 0:
            raise UsageError("a budget and a price are above 0")

    def cost_at_most(self, text: str) -> int:
        """No token is shorter than a byte, and the model takes 8192 of them."""
        return self.price * min(_TOKENS_MAX, len(text.encode()) + _MARKS)

    def require(self, text: str) -> int:
        """The most that a call with this text can cost, if that is left; else BudgetSpentError."""
        cost = self.cost_at_most(text)
        if self.spent + cost > self.limit:
            raise BudgetSpentError(
                f"the next call could cost {usd(cost)}, of {usd(self.limit)} there are "
                f"{usd(self.limit - self.spent)} left: it was not made"
            )
        return cost

    def charge(self, tokens: int) -> int:
        """An answer came that says its tokens."""
        cost = self.price * tokens
        self.spent += cost
        return cost

    def charge_unknown(self, text: str) -> int:
        """No answer came to a call that may have been billed."""
        cost = self.cost_at_most(text)
        self.spent += cost
        return cost
