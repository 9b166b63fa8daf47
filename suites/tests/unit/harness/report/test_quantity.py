"""Risk: rounding carries a number onto or over its limit, or into another unit than its row's."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.report.quantity import format_interval, format_quantity, format_share, scale_of

UNITS = ("s", "B", "1", "count", "1/s", "B/s")
FACTORS = {
    "ns": "1e-9",
    "µs": "1e-6",
    "ms": "1e-3",
    "s": "1",
    "min": "60",
    "h": "3600",
    "B": "1",
    "kB": "1e3",
    "MB": "1e6",
    "GB": "1e9",
    "B/s": "1",
    "kB/s": "1e3",
    "MB/s": "1e6",
    "GB/s": "1e9",
    "%": "1e-2",
}
limits = st.builds(
    lambda digits, power: float(f"{digits}e{power}"), st.integers(1, 99_999), st.integers(-9, 7)
)
sizes = st.floats(min_value=1e-9, max_value=1e12)
ratios = st.one_of(
    st.floats(min_value=1e-3, max_value=1e3),
    st.floats(min_value=1 - 1e-6, max_value=1 + 1e-6),
    st.sampled_from([1 - 1e-10, 1 + 1e-10, 0.999_999, 1.000_001, 0.9996, 1.0004]),
)


def read_back(text: str) -> Decimal:
    """The number that a reader sees, in the base unit."""
    text = text.removesuffix("/s") if text[-3:-2].isdigit() else text
    *digits, last = text.replace("−", "-").split(" ")
    if last in FACTORS:
        return Decimal("".join(digits)) * Decimal(FACTORS[last])
    return Decimal("".join([*digits, last]))


@settings(deadline=None)
@given(limit=limits, ratio=ratios, unit=st.sampled_from(UNITS))
def test_a_printed_value_stays_on_its_side_of_the_limit(
    limit: float, ratio: float, unit: str
) -> None:
    value = limit * ratio
    assume(not math.isclose(value, limit, rel_tol=1e-11))
    printed = read_back(format_quantity(value, unit, limit=limit))
    wall = Decimal(repr(limit))  # a limit is written in decimal, and so it is read
    assert (printed < wall) if value < limit else (printed > wall)


@settings(deadline=None)
@given(limit=limits, unit=st.sampled_from(UNITS))
def test_a_limit_is_printed_whole(limit: float, unit: str) -> None:
    printed = read_back(format_quantity(limit, unit, limit=limit, exact=True))
    assert float(printed) == pytest.approx(limit, rel=1e-8)


@settings(deadline=None)
@given(limit=sizes, ratio=ratios, unit=st.sampled_from(UNITS))
def test_a_printed_value_is_within_rounding_of_the_value(
    limit: float, ratio: float, unit: str
) -> None:
    value = limit * ratio
    printed = read_back(format_quantity(value, unit, limit=limit))
    assert float(printed) == pytest.approx(value, rel=0.051)


@settings(deadline=None)
@given(value=sizes, unit=st.sampled_from(UNITS))
def test_something_is_never_printed_as_nothing(value: float, unit: str) -> None:
    assert read_back(format_quantity(value, unit)) > 0


@settings(deadline=None)
@given(low=sizes, width=st.floats(min_value=0, max_value=10), unit=st.sampled_from(UNITS))
def test_an_interval_keeps_its_order(low: float, width: float, unit: str) -> None:
    high = low * (1 + width)
    left, _, right = format_interval(low, high, unit, limit=low).partition(" to ")
    if left[-1].isdigit() and not right[-1].isdigit() and " " in right:
        left = f"{left} {right.rpartition(' ')[2]}"
    assert read_back(left) <= read_back(right)


@pytest.mark.parametrize("value", [None, math.nan])
def test_what_is_missing_is_a_word(value: float | None) -> None:
    assert format_quantity(value, "s") == "not measured"
    assert format_interval(value, 1.0, "s") == "not measured"
    assert format_share(value) == "n/a"


@pytest.mark.parametrize(
    ("value", "unit", "limit", "text"),
    [
        (1.83e-7, "s", 1e-6, "0.18 µs"),
        (0.9996e-6, "s", 1e-6, "0.9996 µs"),
        (1.0004e-6, "s", 1e-6, "1.0004 µs"),
        (2_130_000, "B", 3e6, "2.13 MB"),
        (0.6477, "1", 0.5, "64.8 %"),
        (0.99999, "1", 0.95, "99.999 %"),
        (0.0, "count", 0.0, "0"),
        (1, "count", 0.0, "1"),
        (1_000_000, "count", None, "1 000 000"),
        (117.4, "1/s", 100.0, "117/s"),
        (math.inf, "s", 1.0, "unbounded"),
        (-0.5, "count", None, "−0.50"),
    ],
)
def test_examples(value: float, unit: str, limit: float | None, text: str) -> None:
    assert format_quantity(value, unit, limit=limit) == text


def test_shares_carry_a_sign() -> None:
    assert format_share(0.649) == "+64.9 %"
    assert format_share(-0.031) == "−3.10 %"
    assert format_share(0.0) == "0 %"


def test_an_unknown_unit_is_printed_as_it_stands() -> None:
    assert scale_of("furlong", 3.0).suffix == "furlong"
    assert format_quantity(3.0, "furlong") == "3.00 furlong"
