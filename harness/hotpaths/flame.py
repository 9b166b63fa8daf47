"""A flamegraph as one `<svg>` element: no script, colours of the page, each frame with a title.

Outermost frames at the bottom; width is the share of samples; neighbours are in order of name.
Source of the form: Gregg, "The Flame Graph", CACM 59(6), 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from harness.report.quantity import format_quantity

__all__ = ["draw_flame"]

_WIDTH, _ROW = 1130.0, 17
_NARROWEST = 1.2  # pixels: what is narrower cannot be seen or hit
_LETTER = 6.1  # pixels of a letter of 11 px on average
_COLOURS = (("titanstore", 1), ("numpy", 2), ("lmdb", 3), ("zstandard", 4))


@dataclass(slots=True)
class _Node:
    count: int = 0
    inner: dict[str, _Node] = field(default_factory=dict)


def draw_flame(stacks: Mapping[tuple[str, ...], int], title: str) -> str:
    """The graph; raises ValueError for no stacks."""
    if not stacks:
        raise ValueError("no stacks to draw")
    root = _Node()
    for stack, count in stacks.items():
        node = root
        node.count += count
        for frame in stack:
            node = node.inner.setdefault(frame, _Node())
            node.count += count
    boxes = list(_boxes(root, 0.0, _WIDTH / root.count, 0))
    rows = 1 + max(depth for _, _, depth, _, _ in boxes)
    height = rows * _ROW
    drawn = [
        _box(name, x, height - (depth + 1) * _ROW, width, count / root.count)
        for x, width, depth, name, count in boxes
    ]
    return (
        f'<svg class="flame" viewBox="0 0 {_WIDTH:.0f} {height}" role="img" '
        f"aria-label={quoteattr(title)}>{''.join(drawn)}</svg>"
    )


def _boxes(
    node: _Node, x: float, scale: float, depth: int
) -> Iterator[tuple[float, float, int, str, int]]:
    for name, inner in sorted(node.inner.items()):
        width = inner.count * scale
        if width >= _NARROWEST:
            yield x, width, depth, name, inner.count
            yield from _boxes(inner, x, scale, depth + 1)
        x += width


def _box(name: str, x: float, y: int, width: float, share: float) -> str:
    colour = next((number for word, number in _COLOURS if word in name), 5)
    letters = int((width - 6) / _LETTER)
    short = name.partition(" (")[0]
    shown = short if len(short) <= letters else f"{short[: letters - 1]}…" if letters > 3 else ""
    text = f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(shown)}</text>' if shown else ""
    told = escape(f"{name}: {format_quantity(share, '1')}")
    return (
        f'<g><title>{told}</title><rect class="f{colour}" x="{x:.1f}" y="{y}" '
        f'width="{max(width - 0.5, 0.5):.1f}" height="{_ROW - 1}"/>{text}</g>'
    )
