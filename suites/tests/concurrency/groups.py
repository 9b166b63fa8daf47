"""Vectors that are always written together, and what a search may show of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from titanstore import Hit, StoreConfig

Vector = NDArray[np.float32]
QUERY = np.array([1, 0, 0, 0, 0, 0, 0, 0], np.float32)
GROUP = [f"group {place}" for place in range(4)]  # always written and removed together
STABLE = [f"stable {place}" for place in range(12)]
FAST = StoreConfig(durability="power_cut_may_lose_store")


def at(distance: float) -> Vector:
    """Its squared distance from QUERY is the square of `distance`."""
    return np.array([1, distance, 0, 0, 0, 0, 0, 0], np.float32)


def small_segments(size: int = 1000, *, cache: int = 128) -> StoreConfig:
    config = StoreConfig(durability="power_cut_may_lose_store", result_cache_entries=cache)
    object.__setattr__(config, "segment_bytes_max", size)
    return config


def versioned(version: int) -> list[Vector]:
    return [at(version + place / 8) for place in range(len(GROUP))]


def version_of(hits: list[Hit]) -> int | None:
    """Which version of the group a result shows, None if it is not there; all or nothing."""
    group = {hit.key: hit.distance for hit in hits if hit.key in GROUP}
    if not group:
        return None
    version = int(group[GROUP[0]] ** 0.5)
    wanted = {key: float(row[1]) ** 2 for key, row in zip(GROUP, versioned(version), strict=True)}
    assert group == wanted
    return version


def assert_stable(hits: list[Hit], k: int) -> None:
    """Vectors that never change are missing only where k nearer ones are there."""
    assert [(hit.distance, hit.key) for hit in hits] == sorted(
        (hit.distance, hit.key) for hit in hits
    )
    found = {hit.key: hit.distance for hit in hits}
    for place, key in enumerate(STABLE):
        distance = float(at(place * 3)[1]) ** 2
        if key in found:
            assert found[key] == distance
        else:
            assert len(hits) == k
            assert hits[-1].distance <= distance
