"""How the Lance table is built and asked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from titanstore.config import MIB, LanceIndex
from titanstore.errors import ErrorKind, InvalidInputError

ValueType = Literal["float16", "float32"]
# The rows are unit vectors, whose squared l2 is twice the cosine distance. Asked for cosine,
# LanceDB 0.40 gives the one or the other, depending on the index and on what it has indexed yet.
METRIC = "l2"
COSINE_OF_L2 = 0.5
ROWS_TRAINED_MIN = 256  # with fewer rows LanceDB makes an index that answers nothing, in silence
_ONE_PARTITION_ROWS = 5_000
# Rows a partition and rounds of k-means; LanceDB's own 256 and 50 cost twice the time for nothing
_TRAINING = {"sample_rate": 64, "max_iterations": 10}
_NAMES = {  # as `index_stats` calls them
    "ivf_rq": "IVF_RQ",
    "ivf_pq": "IVF_PQ",
    "ivf_flat": "IVF_FLAT",
    "ivf_sq": "IVF_SQ",
    "hnsw_sq": "IVF_HNSW_SQ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LanceSettings:
    """Settings of a Lance table; reports/decisions/0007 and 0008 say why these defaults.

    Attributes
    ----------
    index
        Kind of the index. "ivf_rq" is RaBitQ with 4 bits, "ivf_pq" one sub-vector for 8 values.
    vectors_min
        Rows from which an index is built, 256 at least; without one the table cannot be asked.
    cache_bytes
        Limit of the index cache: 550 bytes a vector of 1 024 values, twice. Below the index's size
        a query takes 5 times as long.
    metadata_bytes
        Limit of the cache of manifests and file footers.
    values
        Type of the search vectors; the exact vectors are in the frames.
    history_s
        How long a version of the table stays after the next one.
    partitions
        None: the square root of the number of rows, 1 for few.
    nprobes
        Partitions searched by a query; None: 100, or all where there are fewer.
    durable
        Sync the files of the table, so that it outlives a power cut. LanceDB never does.
    """

    index: LanceIndex = "ivf_rq"
    vectors_min: int = 100_000
    cache_bytes: int = 256 * MIB
    metadata_bytes: int = 16 * MIB
    values: ValueType = "float32"
    history_s: float = 60.0
    partitions: int | None = None
    nprobes: int | None = None
    durable: bool = True

    def __post_init__(self) -> None:
        if self.index not in get_args(LanceIndex):
            raise _bad("index", self.index, " or ".join(get_args(LanceIndex)))
        if self.values not in get_args(ValueType):
            raise _bad("values", self.values, " or ".join(get_args(ValueType)))
        for name in ("vectors_min", "cache_bytes", "metadata_bytes"):
            if getattr(self, name) < 0:
                raise _bad(name, getattr(self, name), "0 or more")
        if not 0 <= self.history_s < math.inf:
            raise _bad("history_s", self.history_s, "seconds, 0 or more")
        for name, value in (("partitions", self.partitions), ("nprobes", self.nprobes)):
            if value is not None and value < 1:
                raise _bad(name, value, "1 or more, or nothing")


def _bad(name: str, seen: object, wanted: str) -> InvalidInputError:
    return InvalidInputError(f"lance {name}: {seen!r}, wanted {wanted}", ErrorKind.BAD_SETTING)


def is_worth_an_index(settings: LanceSettings, rows: int) -> bool:
    """Are there rows enough for an index?"""
    return rows >= max(settings.vectors_min, ROWS_TRAINED_MIN)


def candidates_of(settings: LanceSettings, k: int) -> int:
    """How many candidates hold the k nearest, by the measurements of reports/decisions/0007."""
    return max(60, 6 * k) if settings.index == "ivf_pq" else max(20, 2 * k)


def partitions_of(settings: LanceSettings, rows: int) -> int:
    """Partitions of an index over so many rows."""
    if settings.partitions is not None:
        return min(settings.partitions, rows)
    if settings.index == "hnsw_sq" or rows < _ONE_PARTITION_ROWS:
        return 1
    return math.isqrt(rows)


def nprobes_of(settings: LanceSettings, partitions: int) -> int:
    """Partitions that a query searches."""
    return min(partitions, 100 if settings.nprobes is None else settings.nprobes)


def index_name(settings: LanceSettings) -> str:
    """What LanceDB calls this kind of index in its statistics."""
    return _NAMES[settings.index]


def index_config(settings: LanceSettings, rows: int, dimension: int) -> Any:
    """LanceDB's description of the index over so many rows. Imports lancedb."""
    from lancedb.index import HnswSq, IvfFlat, IvfPq, IvfRq, IvfSq

    common: dict[str, Any] = {
        "distance_type": METRIC,
        "num_partitions": partitions_of(settings, rows),
    }
    if settings.index == "ivf_pq":
        return IvfPq(**common, num_sub_vectors=_sub_vectors(dimension))
    common |= _TRAINING
    if settings.index == "ivf_rq":
        return IvfRq(**common, num_bits=4)
    kinds = {"ivf_flat": IvfFlat, "ivf_sq": IvfSq, "hnsw_sq": HnswSq}
    return kinds[settings.index](**common)


def _sub_vectors(dimension: int) -> int:
    """One for 8 values where that divides the dimension, else for as many as do."""
    return next(dimension // width for width in (8, 7, 6, 5, 4, 3, 2, 1) if dimension % width == 0)
