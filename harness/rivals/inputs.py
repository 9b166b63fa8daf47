"""The vectors that every subject gets: recorded ones, and mixtures where more are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fixtures.titan.recorded import load_recorded
from fixtures.titan.rounding import to_bfloat16
from fixtures.vectors import GENERATORS
from harness.errors import UsageError
from harness.rivals.metrics import SETS
from harness.subject import Vectors

__all__ = ["CHUNKS", "Inputs", "key_of", "make_inputs", "mixtures"]

CHUNKS = 22  # of a document
_DIMENSION = 1536
_MIXED = "v1_chunks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Files of vectors below a folder.

    Attributes
    ----------
    sets
        Recorded sets by name, for bytes; empty without recordings.
    rows
        What is put, read and searched.
    told
        What `rows` are, for the page.
    """

    sets: Mapping[str, Path]
    rows: Path
    told: str
    evidence: str


def key_of(number: int) -> str:
    """A key like the store's own: 32 hexadecimal digits."""
    return hashlib.blake2b(f"rivals {number}".encode(), digest_size=16).hexdigest()


def mixtures(vectors: Vectors, count: int, rng: np.random.Generator) -> Vectors:
    """`vectors`, and further ones up to `count`: weighted means of two, rounded to bfloat16.

    They are on the grid of titan-embed-text-v1 and near their origins, as chunks of one subject
    are; no two are equal, so that no answer of a search is a matter of taste.
    """
    if count <= len(vectors):
        return vectors[:count]
    more = count - len(vectors)
    first = rng.integers(0, len(vectors), more)
    second = (first + rng.integers(1, len(vectors), more)) % len(vectors)  # another one
    weight = rng.uniform(0.2, 0.8, (more, 1)).astype(np.float32)
    mixed = vectors[first] * weight + vectors[second] * (1 - weight)
    return np.concatenate([vectors, to_bfloat16(mixed)])


def make_inputs(folder: Path, recorded: Path | None, count: int, seed: int) -> Inputs:
    """Write the inputs of a run below `folder`; the same again for the same arguments.

    Raises
    ------
    UsageError
        The recordings are damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    sets: dict[str, Path] = {}
    mixed: Vectors | None = None
    if recorded is not None:
        try:
            found = {one.name: one.vectors for one in load_recorded(recorded)}
        except (OSError, ValueError) as error:
            raise UsageError(f"recorded vectors in {recorded}: {error}") from error
        for name in SETS:
            if name in found:
                sets[name] = folder / f"{name}.npy"
                np.save(sets[name], found[name])
        mixed = found.get(_MIXED)
    if mixed is None:
        rows = GENERATORS["bfloat16"](rng, count, _DIMENSION)
        told, evidence = f"{count} synthetic vectors on the grid of v1", "synthetic"
    else:
        rows = mixtures(mixed, count, rng)
        told = f"{min(count, len(mixed))} recorded vectors of v1"
        if count > len(mixed):
            told += f", and {count - len(mixed)} mixtures of two of them on the same grid"
        evidence = "recorded"
    path = folder / "rows.npy"
    np.save(path, rows)
    return Inputs(sets=sets, rows=path, told=told, evidence=evidence)
