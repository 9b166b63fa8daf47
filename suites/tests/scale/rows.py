"""Bits and keys of rows that are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from titanstore.scale import SharedTable


def bits(rows: Any) -> list[bytes]:
    return [np.asarray(row, np.float32).view(np.uint32).tobytes() for row in rows]


def keys_of(table: SharedTable) -> list[str]:
    return sorted(row.key for row in table.rows())
