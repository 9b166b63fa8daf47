"""Sampled stacks: read, narrowed to the path, summed by function. Pure.

Form: one line a stack, frames from the outermost, joined by ";", then a space and how often it was
seen ("folded" or "collapsed" stacks, as Brendan Gregg's FlameGraph and speedscope read them).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Function", "functions_of", "narrow", "read_stacks"]

Stack = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function over all stacks.

    Attributes
    ----------
    own, total
        Share of all samples in which it was the innermost frame; in which it was there at all.
    samples
        Those that `own` is a share of all of.
    """

    name: str
    own: float
    total: float
    samples: int


def read_stacks(text: str) -> dict[Stack, int]:
    """Stacks and how often each was seen.

    Raises
    ------
    ValueError
        A line is none of a stack.
    """
    found: Counter[Stack] = Counter()
    for line in text.splitlines():
        if not line.strip():
            continue
        stack, space, count = line.rpartition(" ")
        if not space or not count.isdecimal():
            raise ValueError(f"no stack: {line[:80]!r}")
        found[tuple(stack.split(";"))] += int(count)
    return dict(found)


def narrow(stacks: Mapping[Stack, int], below: str, beside: Iterable[str] = ()) -> dict[Stack, int]:
    """What lies beneath a function, without the frames above it; and stacks of other threads.

    Parameters
    ----------
    below
        How the frame begins that the path lies beneath.
    beside
        Parts of a frame's name that mark a stack of another thread which belongs to the path.
    """
    found: Counter[Stack] = Counter()
    marks = tuple(beside)
    for stack, count in stacks.items():
        place = next((at for at, frame in enumerate(stack) if frame.startswith(below)), None)
        if place is not None:
            if stack[place + 1 :]:
                found[stack[place + 1 :]] += count
        elif not any("<module>" in frame for frame in stack) and any(
            mark in frame for frame in stack for mark in marks
        ):
            found[stack] += count
    return dict(found)


def functions_of(stacks: Mapping[Stack, int]) -> list[Function]:
    """Functions by their own share, the largest first; empty for no stacks."""
    samples = sum(stacks.values())
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1]] += count
        for frame in set(stack):  # a recursion counts once
            total[frame] += count
    ordered = sorted(total, key=lambda name: (-own[name], -total[name], name))
    return [
        Function(name=name, own=own[name] / samples, total=total[name] / samples, samples=own[name])
        for name in ordered
    ]
