"""Does a session slow down? Slopes over what was measured one after the other; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["trend"]

_BLOCKS = 20


def trend(sessions: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Does an update take longer, the more went before it?

    Theil-Sen slope of block medians with its 95 % interval, as seconds that a thousand updates add.
    Medians of blocks, since single updates depend on what the disk is doing.
    """
    shortest = min(len(values) for values in sessions)
    size = max(1, shortest // _BLOCKS)
    blocks = shortest // size
    if blocks < 3:
        return {}
    trimmed: NDArray[np.float64] = np.array([values[: blocks * size] for values in sessions])
    medians = np.median(trimmed.reshape(len(sessions), blocks, size), axis=(0, 2))
    middles = (np.arange(blocks) + 0.5) * size
    slope, _, low, high = stats.theilslopes(medians, middles, alpha=0.95)
    return {
        "added_by_1000_updates_s": float(1_000 * slope),
        "added_by_1000_updates_low_s": float(1_000 * low),
        "added_by_1000_updates_high_s": float(1_000 * high),
        "is_upward_trend": bool(low > 0),
    }
