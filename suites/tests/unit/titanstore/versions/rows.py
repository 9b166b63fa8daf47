"""Rows, where they lie, and the settings of the stores that have versions of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from titanstore import EmbeddingStore, StoreConfig
from titanstore.keys import stored_key
from titanstore.segments.layout import Address

FAST = StoreConfig(durability="power_cut_may_lose_store")


def row(value: float, dimension: int = 8) -> NDArray[np.float32]:
    return np.full(dimension, value, np.float32)


def address_of(store: EmbeddingStore, key: str) -> Address:
    (address,) = store._catalog.lookup(stored_key(key).fingerprint())
    return address
