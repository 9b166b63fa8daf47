"""How many times what is possible: quotients with intervals. Pure.

A quotient of times is of one process, where both were measured; over the processes its logarithm
has a mean with a two-sided 95 % interval (Student's t). Bytes are a complete count: no interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

__all__ = ["TIMED", "Distance", "distances"]

_CONFIDENCE = 0.95
TIMED = (
    ("decode", "decode of many vectors", "copying their bytes in memory"),
    ("hot", "get of a hot row", "dict.__getitem__"),
    ("search", "exact search", "reading the planes once"),
    ("append", "durable put of a vector", "append and fdatasync of its bytes"),
)
_WEIGHED = (
    ("entropy_bound_bytes", "order-0 entropy on its grid"),
    ("entropy_bound_per_dimension_bytes", "entropy with statistics of each dimension"),
    ("lattice_bytes", "estimate for its token lattice"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """One quotient: what the store takes over what the machine or the data demands.

    Attributes
    ----------
    ours, limit
        In `unit`: medians over the processes, or bytes a vector.
    low, high
        Of the ratio; None where nothing was drawn, or only once.
    """

    name: str
    what: str
    against: str
    unit: str
    ours: float
    limit: float
    ratio: float
    low: float | None
    high: float | None


def distances(document: Mapping[str, Any]) -> list[Distance]:
    """Every quotient of a limits.json, as it is drawn: bytes first, then times."""
    return [
        *(one for found in document["bytes"] for one in _weighed(found)),
        *(
            _timed(name, what, against, [process[name] for process in document["processes"]])
            for name, what, against in TIMED
        ),
    ]


def _weighed(found: Mapping[str, Any]) -> list[Distance]:
    ours = float(found["bytes_per_vector"])
    return [
        Distance(
            name=f"bytes {found['name']} {kind}",
            what=f"bytes of {found['name']}, all in",
            against=against,
            unit="B",
            ours=ours,
            limit=float(found[kind]),
            ratio=ours / float(found[kind]),
            low=None,
            high=None,
        )
        for kind, against in _WEIGHED
        if found.get(kind) is not None
    ]


def _timed(name: str, what: str, against: str, pairs: Sequence[Sequence[float]]) -> Distance:
    both = np.asarray(pairs, np.float64)
    if both.ndim != 2 or both.shape[1] != 2 or not (np.isfinite(both) & (both > 0)).all():
        raise ValueError(f"{name}: {pairs} are no pairs of times")
    logs = np.log(both[:, 0] / both[:, 1])
    low = high = None
    if len(logs) > 1:
        student = float(special.stdtrit(len(logs) - 1, (1 + _CONFIDENCE) / 2))
        half = student * float(logs.std(ddof=1)) / math.sqrt(len(logs))
        low, high = math.exp(logs.mean() - half), math.exp(logs.mean() + half)
    ours, limit = np.median(both, axis=0)
    return Distance(
        name=name,
        what=what,
        against=against,
        unit="s",
        ours=float(ours),
        limit=float(limit),
        ratio=math.exp(logs.mean()),
        low=low,
        high=high,
    )
