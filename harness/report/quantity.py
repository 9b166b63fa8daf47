"""Numbers as people read them: the only place of the project that converts units or rounds.

MB = 10**6 bytes. Every number of a report goes through this module, so that the page, the PDF, the
terminal and the job summary can't disagree in their last digit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["Scale", "absent", "format_interval", "format_quantity", "format_share", "scale_of"]

absent = "not measured"
_DECIMALS_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A unit to print in: the printed number is the value divided by `factor`."""

    factor: float
    suffix: str
    from_value: float


def _scales(*rows: tuple[float, str, float]) -> tuple[Scale, ...]:
    return tuple(Scale(factor=f, suffix=s, from_value=v) for f, s, v in rows)


_SCALES = {
    "s": _scales(
        (1e-9, "ns", 0.0),
        (1e-6, "µs", 1e-6),
        (1e-3, "ms", 1e-3),
        (1.0, "s", 1.0),
        (60.0, "min", 120.0),
        (3600.0, "h", 7200.0),
    ),
    "B": _scales((1.0, "B", 0.0), (1e3, "kB", 1e4), (1e6, "MB", 1e6), (1e9, "GB", 1e9)),
    "B/s": _scales((1.0, "B/s", 0.0), (1e3, "kB/s", 1e4), (1e6, "MB/s", 1e6), (1e9, "GB/s", 1e9)),
    "1": _scales((1e-2, "%", 0.0)),
    "count": _scales((1.0, "", 0.0)),
    "1/s": _scales((1.0, "/s", 0.0)),
}


def scale_of(unit: str, reference: float) -> Scale:
    """Choose the unit to print in from a base unit and the value that sets the size.

    Parameters
    ----------
    unit
        Base unit of a measurement: "s", "B", "1", "count", "1/s", "B/s". Any other unit is
        printed as it stands, without a prefix.
    reference
        Usually the limit of the row, so that every number of the row is in the limit's unit.
    """
    scales = _SCALES.get(unit, (Scale(factor=1.0, suffix=unit, from_value=0.0),))
    chosen = scales[0]
    for scale in scales:
        if abs(reference) >= scale.from_value * (1 - 1e-12):
            chosen = scale
    return chosen


def format_quantity(
    value: float | None,
    unit: str,
    *,
    limit: float | None = None,
    bare: bool = False,
    exact: bool = False,
) -> str:
    """Print a value in a unit people read, rounded, never onto or over the limit.

    Parameters
    ----------
    value
        In the base unit; None, NaN and infinities are words, never numbers.
    unit
        The base unit, see `scale_of`.
    limit
        The number it is compared with. It sets the unit, and digits are added until the printed
        value lies on the same side of it as the value itself: 0.999 6 µs is never "1.00 µs".
    bare
        Leave the unit away, for the left end of an interval.
    exact
        Print every digit that matters and no trailing zero: for limits, which are not measured.

    Returns
    -------
    str
        "0.18 µs", "2.13 MB", "64.9 %", "1 000 000", "not measured".
    """
    if value is None or math.isnan(value):
        return absent
    if math.isinf(value):
        return "unbounded"
    scale = scale_of(unit, value if limit is None or limit == 0 else limit)
    if value and abs(value) / scale.factor < 0.01:
        scale = scale_of(unit, value)
    number = value / scale.factor
    places = _exact_places(number) if exact else _places(number, unit)
    walls = [0.0, 100.0] if scale.suffix == "%" else [0.0]
    if limit is not None and math.isfinite(limit):
        walls.append(limit / scale.factor)
    text = f"{number:.{places}f}"
    while places < _DECIMALS_MAX and any(_crosses(number, text, wall) for wall in walls):
        places += 1
        text = f"{number:.{places}f}"
    text = _grouped(text.replace("-", "−"))
    if bare or not scale.suffix:
        return text
    return f"{text}{scale.suffix}" if scale.suffix.startswith("/") else f"{text} {scale.suffix}"


def format_interval(
    low: float | None, high: float | None, unit: str, *, limit: float | None = None
) -> str:
    """Print an interval in one unit: "0.17 to 0.19 µs"; `absent` unless both ends are known."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return absent
    anchor = limit if limit else max(abs(low), abs(high))
    left = format_quantity(low, unit, limit=anchor)
    right = format_quantity(high, unit, limit=anchor)
    left_number, _, left_unit = left.rpartition(" ")
    same_unit = left_unit and left_unit == right.rpartition(" ")[2]
    return f"{left_number if same_unit and left_number else left} to {right}"


def format_share(share: float | None) -> str:
    """Print headroom, a fraction of the limit, with its sign: "+64.9 %", "−3.1 %", "0 %"."""
    if share is None or math.isnan(share):
        return "n/a"
    if math.isinf(share):
        return "unbounded"
    if share == 0:
        return "0 %"
    text = format_quantity(abs(share), "1")
    return f"{'+' if share > 0 else '−'}{text}"


def _places(number: float, unit: str) -> int:
    if unit == "count" and float(number).is_integer():
        return 0
    size = abs(number)
    if size >= 100:
        return 0
    if size >= 10:
        return 1
    if size >= 0.1 or size == 0:
        return 2 if size else 0
    return min(_DECIMALS_MAX, 1 - math.floor(math.log10(size)))


def _exact_places(number: float) -> int:
    exponent = Decimal(f"{number:.9g}").as_tuple().exponent
    return min(_DECIMALS_MAX, max(0, -exponent)) if isinstance(exponent, int) else 0


def _crosses(number: float, text: str, wall: float) -> bool:
    """Would the printed number stand on another side of the wall than the number itself?"""
    printed = float(text)
    if math.isclose(number, wall, rel_tol=1e-12, abs_tol=0.0):
        return False  # the same number but for a division by the unit
    if math.isclose(printed, wall, rel_tol=1e-14, abs_tol=0.0):
        return True  # reads as the wall itself, whatever the last bit says
    return (number < wall) != (printed < wall)


def _grouped(text: str) -> str:
    whole, dot, rest = text.partition(".")
    sign = whole[:1] if whole[:1] == "−" else ""
    digits = whole[len(sign) :]
    if len(digits) < 5:
        return text
    groups = []
    while digits:
        groups.append(digits[-3:])
        digits = digits[:-3]
    return sign + " ".join(reversed(groups)) + dot + rest
