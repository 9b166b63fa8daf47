"""Careful reading of a row's context: JSON that is shown, never judged, and optional in every key.

A value of another shape than the contract's counts as absent, so that a damaged context can take a
figure away but never the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from harness.report.quantity import format_quantity

__all__ = ["flatten", "number", "numbers", "scalars", "section", "words"]

_UNIT_BY_ENDING = {"bytes": "B", "s": "s", "seconds": "s", "ratio": "1", "share": "1"}


def number(context: Mapping[str, Any], *path: str) -> float | None:
    """The finite number at a path of keys, or None."""
    value: Any = context
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return _finite(value)


def section(context: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The object at a path of keys, or an empty one."""
    value: Any = context
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def numbers(context: Mapping[str, Any], *path: str) -> dict[str, float]:
    """The finite numbers of the object at a path, in its order."""
    found = {str(key): _finite(value) for key, value in section(context, *path).items()}
    return {key: value for key, value in found.items() if value is not None}


def words(name: str) -> str:
    """A key as words: "bytes_per_vector" is "bytes per vector"."""
    return name.replace("_", " ")


def scalars(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every single value of a context as (name, text); lists belong to the figures."""
    return [(words(name), _text(name, value)) for name, value in flatten(context) if value != []]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Leaves of nested objects as ("tiers.hot", value); lists of numbers are left out."""
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            leaves.extend(flatten(value, f"{name}."))
        elif not (isinstance(value, list) and value and not isinstance(value[0], str)):
            leaves.append((name, value))
    return leaves


def _text(name: str, value: Any) -> str:
    amount = _finite(value)
    if amount is None:
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    for part in reversed(name.split(".")):  # "by_page_type_bytes.treatment" is in bytes as well
        pieces = part.split("_")
        if pieces[-1] in _UNIT_BY_ENDING:
            return format_quantity(amount, _UNIT_BY_ENDING[pieces[-1]])
        if "bytes" in pieces:
            return format_quantity(amount, "B")
        if part.startswith(("by_page_type", "by_module", "accounted")):
            return format_quantity(amount, "B")
        if part == "single_call":
            return format_quantity(amount, "s")
        if part == "rivals":
            return format_quantity(amount, "B")
    return format_quantity(amount, "count")


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
