"""Workloads without locality of documents: shown, never gated (SPEC section 4).

Real traces are the ones to trust: a Zipf law flatters every cache, and a uniform one damns every
cache alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.workload.trace import ACCESSES_MAX, CHUNK_INTERVAL_S, Parameter, Trace
from harness.workload.visits import THINK_S_MEAN

__all__ = ["scan_polluted", "uniform", "zipf"]

DOCUMENTS, CHUNKS_PER_DOCUMENT, DIMENSION = 100, 22, 1024  # SPEC section 2: "100 files"
READS = 100_000
ZIPF_S = 0.99  # YCSB's default constant for its Zipfian generator
SCAN_EVERY = 10_000  # Zipf reads between two scans; assumption


def zipf(
    seed: int,
    *,
    s: float = ZIPF_S,
    documents: int = DOCUMENTS,
    chunks_per_document: int = CHUNKS_PER_DOCUMENT,
    dimension: int = DIMENSION,
    reads: int = READS,
) -> Trace:
    """Single chunks, the r-th most popular with a chance proportional to r^-s.

    Popularity is shuffled over chunks, so that popular chunks are not siblings. Every read is a
    visit of its own. Raises ValueError for a negative `s` or a count below 1.
    """
    rng = np.random.default_rng(seed)
    rows = _zipf_rows(rng, s, documents * chunks_per_document, reads)
    return _trace(
        f"zipf({s:g})", seed, rng, rows, documents, chunks_per_document, dimension, {"s": s}
    )


def uniform(
    seed: int,
    *,
    documents: int = DOCUMENTS,
    chunks_per_document: int = CHUNKS_PER_DOCUMENT,
    dimension: int = DIMENSION,
    reads: int = READS,
) -> Trace:
    """Single chunks, all equally likely; every read is a visit of its own."""
    rng = np.random.default_rng(seed)
    _check(documents * chunks_per_document, reads)
    rows = rng.integers(documents * chunks_per_document, size=reads)
    return _trace("uniform", seed, rng, rows, documents, chunks_per_document, dimension, {})


def scan_polluted(
    seed: int,
    *,
    s: float = ZIPF_S,
    scan_every: int = SCAN_EVERY,
    documents: int = DOCUMENTS,
    chunks_per_document: int = CHUNKS_PER_DOCUMENT,
    dimension: int = DIMENSION,
    reads: int = READS,
) -> Trace:
    """A Zipf trace with one pass over every chunk, in order, after each `scan_every` reads.

    `reads` counts the Zipf reads; the scans come on top. A policy without resistance to scans
    loses its popular rows at each.
    """
    rng = np.random.default_rng(seed)
    if scan_every < 1:
        raise ValueError(f"a scan every {scan_every} reads, at least 1 wanted")
    stored = documents * chunks_per_document
    popular = _zipf_rows(rng, s, stored, reads)
    _check(stored, reads + reads // scan_every * stored)
    scans = reads // scan_every
    whole = popular[: scans * scan_every].reshape(scans, scan_every)
    scan = np.broadcast_to(np.arange(stored), (scans, stored))
    rest = popular[scans * scan_every :]
    rows = np.concatenate([np.hstack([whole, scan]).ravel(), rest])
    parameters = {"s": s, "scan_every": scan_every}
    return _trace(
        "scan-polluted", seed, rng, rows, documents, chunks_per_document, dimension, parameters
    )


def _check(stored: int, reads: int) -> None:
    if stored < 1 or not 1 <= reads <= ACCESSES_MAX:
        raise ValueError(f"{reads} reads of {stored} chunks; 1 to {ACCESSES_MAX} reads wanted")


def _zipf_rows(rng: np.random.Generator, s: float, stored: int, reads: int) -> NDArray[np.int64]:
    _check(stored, reads)
    if not 0 <= s < np.inf:
        raise ValueError(f"Zipf exponent {s}, at least 0 wanted")
    weights = np.arange(1, stored + 1, dtype=np.float64) ** -s
    cumulative = np.cumsum(weights / weights.sum())
    ranks = np.searchsorted(cumulative, rng.random(reads) * cumulative[-1], side="right")
    rows: NDArray[np.int64] = rng.permutation(stored)[ranks]
    return rows


def _trace(
    name: str,
    seed: int,
    rng: np.random.Generator,
    rows: NDArray[np.int64],
    documents: int,
    chunks_per_document: int,
    dimension: int,
    parameters: Mapping[str, Parameter],
) -> Trace:
    pauses = rng.exponential(THINK_S_MEAN, len(rows)) + CHUNK_INTERVAL_S
    shape: dict[str, Parameter] = {"documents": documents, "dimension": dimension}
    shape |= {"chunks_per_document": chunks_per_document, "reads": len(rows)}
    return Trace(
        name=name,
        seed=seed,
        documents=documents,
        chunks_per_document=chunks_per_document,
        row_bytes=4 * dimension,
        parameters={**parameters, **shape},
        time_s=np.cumsum(pauses),
        document=(rows // chunks_per_document).astype(np.int32),
        chunk=(rows % chunks_per_document).astype(np.int32),
        operation=np.zeros(len(rows), np.uint8),
        visit=np.arange(len(rows), dtype=np.int32),
    )
