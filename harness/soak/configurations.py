"""A random valid configuration of the store, for a process that starts. Pure.

Every setting is drawn, but for those in FIXED: a test compares both with the store's own list.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

__all__ = ["CHOICES", "FIXED", "draw_configuration", "is_exact"]

MIB = 2**20

FIXED: Mapping[str, object] = MappingProxyType(
    {"dimension": None, "rollout_percent": 100, "shadow": True}
)
"""What does not change: the soak stores vectors of two dimensions, and calls no Bedrock."""

CHOICES: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "memory_bytes_max": (0, 100_000, 1_300_000, 2_500_000, 7_000_000),
        "hot_bytes_max": (0, 5_000, 200_000, 1_240_000, 2_000_000),
        "warm_bytes_max": (0, 5_000, 200_000, 5_000_000),
        "policy": ("probation", "lru"),
        "prefetch": (True, False),
        "compression": (True, True, False),
        "bloom": (True, False),
        "durability": ("full", "power_cut_may_lose_store"),  # kill -9 must lose nothing with both
        "refuse_non_finite": (True, False),  # the soak's vectors are finite
        "segment_bytes_max": (MIB, 2 * MIB, 8 * MIB, 256 * MIB),
        "search": (True, True, True, False),
        "result_cache_entries": (0, 1, 16, 200),
        "search_index": ("auto", "flat"),
        "lance_vectors_min": (100, 100_000),
        "lance_index": ("ivf_rq", "ivf_pq", "ivf_flat", "ivf_sq", "hnsw_sq"),
        "lance_cache_bytes": (MIB, 256 * MIB),
        "versions_max": (1, 4, 16, 64),
        "segment_reads": ("mmap", "pread"),
        "publish": (True, False),
        "shared_pool": (True, False),
        "fallback": (False,) * 7 + (True,),
    }
)
"""Values of each setting, one as likely as the other."""

_LANCE_SHARE = 1 / 16  # of the starts: an index is made anew, which takes seconds


def draw_configuration(rng: np.random.Generator, *, searches: bool) -> dict[str, object]:
    """Settings of one start.

    Parameters
    ----------
    searches
        The process will search, so the setting `search` stays on.
    """
    drawn = {name: values[int(rng.integers(len(values)))] for name, values in CHOICES.items()}
    drawn |= FIXED
    drawn["search"] = bool(drawn["search"]) or searches
    if rng.random() < _LANCE_SHARE:
        drawn["search_index"] = "lance"
    elif drawn["search_index"] == "auto":
        drawn["lance_vectors_min"] = 100_000
    return drawn


def is_exact(settings: Mapping[str, object]) -> bool:
    """Do searches with these settings find exactly the nearest, at this number of vectors?"""
    return settings.get("search_index") != "lance"
