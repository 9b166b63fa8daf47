"""The vector that belongs to a number: nobody has to remember what was written.

A stamp is a number that is given to one write of one key, and to no other. Its vector is a row of
a pool, real Titan vectors where there are any, turned by some places: the same numbers on the same
grid, so it compresses as Titan's own do, and no two stamps near each other have the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fixtures.titan.recorded import load_recorded
from fixtures.vectors import GENERATORS
from harness.soak.space import DIMENSION, DIMENSION_WIDE
from harness.subject import Vectors

__all__ = ["ABSENT", "Values"]

ABSENT = 0  # the stamp of a key without a vector
_ROWS_MAX = 400  # of the pool, per dimension: 2.4 MB
_STEP = 389  # prime, so that turns of neighbouring stamps do not repeat for a whole dimension
_MIX = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: Knuth's multiplicative hash
_IMITATIONS = {DIMENSION: "bfloat16_divided", DIMENSION_WIDE: "bfloat16"}


class Values:
    """Vectors by stamp, the same in every process that has the same pool.

    Parameters
    ----------
    pools
        Rows to take from, by dimension; each of shape (rows, dimension).
    """

    def __init__(self, pools: Mapping[int, Vectors], seed: int) -> None:
        self._pools = dict(pools)
        self._seed = seed

    def of(self, stamp: int, dimension: int) -> Vectors:
        """The vector of a stamp, float32 of shape (dimension,), freshly made."""
        pool = self._pools[dimension]
        mixed = ((stamp + self._seed) * _MIX) & (2**64 - 1)
        vector: Vectors = np.roll(pool[(mixed >> 24) % len(pool)], stamp * _STEP % dimension)
        return vector

    @classmethod
    def from_folder(cls, recorded: Path | None, seed: int) -> Values:
        """Recorded vectors of a folder, imitations for a dimension that has none.

        Raises
        ------
        OSError, ValueError
            From `load_recorded`.
        """
        rng = np.random.default_rng(seed)
        pools: dict[int, Vectors] = {}
        for dimension, imitation in _IMITATIONS.items():
            found = [
                group.vectors
                for group in ([] if recorded is None else load_recorded(recorded))
                if group.vectors.shape[1] == dimension
            ]
            rows = np.concatenate(found) if found else None
            if rows is None:
                rows = GENERATORS[imitation](rng, _ROWS_MAX, dimension)
            elif len(rows) > _ROWS_MAX:
                rows = rows[np.sort(rng.choice(len(rows), _ROWS_MAX, replace=False))]
            pools[dimension] = np.ascontiguousarray(rows)
        return cls(pools, seed)

    def save(self, folder: Path) -> None:
        """Write the pool, so that later processes have the same one, quickly."""
        folder.mkdir(parents=True)
        for dimension, pool in self._pools.items():
            np.save(folder / f"{dimension}.npy", pool, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, seed: int) -> Values:
        """Read what `save` wrote; raises OSError or ValueError."""
        pools = {int(path.stem): np.load(path) for path in folder.glob("*.npy")}
        return cls(pools, seed)

    def digest(self) -> str:
        """Which pool this is."""
        digest = hashlib.sha256()
        for dimension in sorted(self._pools):
            digest.update(self._pools[dimension].astype("<f4").tobytes())
        return digest.hexdigest()
