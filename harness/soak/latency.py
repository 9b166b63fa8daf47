"""Did it become slower? The last quarter of a soak against the first, by the comparator's rule.

Pure. Each quarter is cut into as many pieces as the rule has rounds; a piece of the last quarter
and the one at the same place of the first are a round (SPEC section 6):

    d = log(Q25(last) / reference(last)) - log(Q25(first) / reference(first))

The reference is what the same process timed in the same minutes without the store: the machine's
own drift, its other load and its disk cancel out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from harness.compare.decide import RULE, Verdict, decide
from harness.soak.evidence import Soak

__all__ = ["DISK", "PROCESSOR", "REFERENCES", "Drift", "drift_of", "quarters"]

PROCESSOR, DISK = "reference: processor", "reference: disk"
REFERENCES: Mapping[str, str] = MappingProxyType(
    {"get": PROCESSOR, "search": PROCESSOR, "write": DISK}
)
"""Each kind of call, and what its latency is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Latency of one kind of call, last quarter against first.

    Attributes
    ----------
    verdict
        None where there are too few samples to say anything.
    ratio, low, high
        Last / first, references taken out, with the comparator's bounds.
    quarters
        Median latency of each quarter in seconds, as it was, without a reference.
    """

    kind: str
    verdict: Verdict | None
    ratio: float | None
    low: float | None
    high: float | None
    rounds: int
    quarters: tuple[float | None, ...]


def _logs(soak: Soak, kind: str) -> list[tuple[float, float]]:
    """Time and log(latency / reference) of every sample that has both."""
    reference = REFERENCES[kind]
    return [
        (time_s, math.log(one.latencies[kind] / one.latencies[reference]))
        for time_s, one in soak.timeline()
        if one.latencies.get(kind, 0) > 0 and one.latencies.get(reference, 0) > 0
    ]


def quarters(soak: Soak, kind: str) -> tuple[float | None, ...]:
    """Median latency in seconds of each quarter of the counted time."""
    seen = [(at, one.latencies[kind]) for at, one in soak.timeline() if kind in one.latencies]
    end = max((at for at, _ in soak.timeline()), default=0.0)
    found: list[list[float]] = [[], [], [], []]
    for at, value in seen:
        found[min(3, int(4 * at / end)) if end else 0].append(value)
    return tuple(float(np.median(values)) if values else None for values in found)


def drift_of(soak: Soak, kind: str) -> Drift:
    """Judge one kind of call."""
    logs = _logs(soak, kind)
    end = max((at for at, _ in soak.timeline()), default=0.0)
    first = [value for at, value in logs if at < end / 4]
    last = [value for at, value in logs if at >= 3 * end / 4]
    pieces = min(RULE.looks[-1], len(first), len(last))
    shown = quarters(soak, kind)
    if pieces < RULE.looks[0]:
        return Drift(
            kind=kind,
            verdict=None,
            ratio=None,
            low=None,
            high=None,
            rounds=pieces,
            quarters=shown,
        )
    rounds = [
        late - early for early, late in zip(_cut(first, pieces), _cut(last, pieces), strict=True)
    ]
    decision = decide(rounds, is_over=True)
    look = decision.look
    assert look is not None
    return Drift(
        kind=kind,
        verdict=decision.verdict,
        ratio=math.exp(look.estimate),
        low=math.exp(look.low) if math.isfinite(look.low) else None,
        high=math.exp(look.high) if math.isfinite(look.high) else None,
        rounds=decision.rounds,
        quarters=shown,
    )


def _cut(values: Sequence[float], pieces: int) -> list[float]:
    """Medians of so many stretches of as many samples."""
    return [float(np.median(piece)) for piece in np.array_split(np.array(values), pieces)]
