"""Settings in force, as a page for a terminal and as plain values for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from titanstore.settings.known import written
from titanstore.settings.origins import Explained, InForce

_INDENT = "    "


def page(explained: Explained, facts: Sequence[str], width: int = 80) -> list[str]:
    """Lines of at most `width` characters, but for words that are longer.

    `facts` are what the store itself has to say.
    """
    found: list[str] = []
    for each in explained.in_force:
        found += [*_head(each, width), *_wrapped(_told(each), width), ""]
    for title, texts in (("STORE", facts), ("REMARKS", explained.remarks)):
        if texts:
            found += [title, *(line for text in texts for line in _wrapped(text, width)), ""]
    return found[:-1]


def _head(each: InForce, width: int) -> list[str]:
    unit = f" {each.setting.unit}" if each.setting.unit and each.value is not None else ""
    left = f"{each.setting.name} = {written(each.value)}{unit}"
    right = str(each.origin)
    if each.value != each.given:
        right += f", else {written(each.given)}"
    if len(left) + 2 + len(right) <= width:
        return [left + right.rjust(width - len(left))]
    return [left, *_wrapped(right, width)]


def _told(each: InForce) -> str:
    setting = each.setting
    return f"{setting.tells} Costs: {setting.costs} Range: {setting.range}."


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def as_values(explained: Explained, facts: Sequence[str]) -> dict[str, Any]:
    """The same, to be written as JSON. `value` is None for "nothing"."""
    return {
        "settings": [
            {
                "name": each.setting.name,
                "value": each.value,
                "unit": each.setting.unit or None,
                "origin": each.origin.kind,
                "place": each.origin.place or None,
                "without_fallback": each.given,
                "range": each.setting.range,
                "tells": each.setting.tells,
                "costs": each.setting.costs,
            }
            for each in explained.in_force
        ],
        "troubles": [
            {"place": each.place, "message": each.message, "advice": each.advice}
            for each in explained.troubles
        ],
        "remarks": list(explained.remarks),
        "store": list(facts),
    }
