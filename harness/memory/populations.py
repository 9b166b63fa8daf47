"""What a profile stores: recorded vectors in turn, or synthetic ones where N is large."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fixtures.titan.recorded import load_recorded
from fixtures.vectors import GENERATORS
from harness.errors import UsageError
from harness.population import Population
from harness.subject import Vectors

__all__ = ["SHAPES", "make_population", "synthetic_rows"]

# SPEC section 2, "100 files": 22 chunks of 1024 dimensions, 15 of 1536; whose recordings they are
SHAPES = {"files-1024": (22, 1024, "v2_scaled_bf16"), "files-1536": (15, 1536, "v1_chunks")}
_IMITATIONS = {1024: "bfloat16_divided", 1536: "bfloat16"}


def make_population(
    name: str, folder: Path, *, files: int, recorded: Path | None, seed: int
) -> Population:
    """A population of `files` documents, written into `folder`.

    Recorded vectors are taken in turn, each under as many keys as it takes: what the store holds
    in memory depends on the size of a frame, not on how often it has seen one like it. Without
    recordings they are synthetic ones on the same number grid, and say so.

    Raises
    ------
    UsageError
        The recordings are damaged, or lack the serving.
    """
    chunks, dimension, wanted = SHAPES[name]
    count = files * chunks
    if recorded is None:
        rows = synthetic_rows(dimension, min(count, 500), seed)
        evidence, model = "synthetic", _IMITATIONS[dimension]
        digest = hashlib.blake2b(rows.tobytes(), digest_size=16).hexdigest()
        origin = f"{len(rows)} synthetic vectors in turn"
    else:
        try:
            (found,) = [one for one in load_recorded(recorded) if one.name == wanted]
        except (OSError, ValueError) as error:
            raise UsageError(f"recorded vectors {wanted} in {recorded}: {error}") from error
        rows, evidence, model, digest = found.vectors, "recorded", found.model, found.digest
        origin = f"{len(rows)} recorded vectors in turn"
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", rows[np.arange(count) % len(rows)])
    population = Population(
        name=name,
        folder=folder,
        model=model,
        dimension=dimension,
        documents=tuple(f"document {number}" for number in range(files)),
        chunks_per_document=chunks,
        keys=tuple(_key(name, number) for number in range(count)),
        corpus=wanted if recorded else "synthetic",
        corpus_digest=digest,
        evidence=evidence,
        embedded=origin,
    )
    content = json.dumps({**asdict(population), "folder": None})
    (folder / "population.json").write_text(content, encoding="utf-8")
    return population


def synthetic_rows(dimension: int, count: int, seed: int) -> Vectors:
    """Vectors on the number grid that Titan's have, shape (count, dimension); not Titan's."""
    return GENERATORS[_IMITATIONS[dimension]](np.random.default_rng(seed), count, dimension)


def _key(name: str, number: int) -> str:
    return hashlib.blake2b(f"{name} {number}".encode(), digest_size=16).hexdigest()
