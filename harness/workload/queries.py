"""What is searched for: vectors near stored ones, on their own number grids or off them."""

from __future__ import annotations

import numpy as np

from harness.subject import Vectors

__all__ = ["KINDS", "make_queries"]

KINDS = (
    "a stored row with one value in fifty exchanged for another of its own",
    "a stored row as it is",
    "the mean of two stored rows, rounded to float32",
)
"""In turn. Values that are exchanged stay on the row's own grid, whatever grid that is."""
_EXCHANGED_SHARE = 0.02


def make_queries(vectors: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """Queries of all KINDS in turn, each a finite row of the vectors' dimension.

    Parameters
    ----------
    vectors
        What is stored, shape (rows, dimension) with at least one row.

    Returns
    -------
    ndarray of float32, shape (count, dimension)
        Rows differ from each other unless there are fewer stored rows than queries of a kind.
    """
    rows, dimension = vectors.shape
    queries = np.empty((count, dimension), np.float32)
    order = np.concatenate([rng.permutation(rows) for _ in range(count // rows + 1)])
    for place in range(count):
        base = vectors[order[place]]
        match place % len(KINDS):
            case 0:
                queries[place] = base
                count_moved = min(dimension, max(2, int(_EXCHANGED_SHARE * dimension)))
                moved = rng.choice(dimension, count_moved, replace=False)
                queries[place, moved] = base[np.roll(moved, 1)]
            case 1:
                queries[place] = base
            case _:
                away = 1 + int(rng.integers(max(1, rows - 1)))
                other = vectors[(order[place] + away) % rows]
                queries[place] = (base + other) * np.float32(0.5)
    return queries
