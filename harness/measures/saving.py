"""compression.saving: bytes that the store keeps for a vector, everything counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fixtures.titan.emulator import Serving
from fixtures.titan.recorded import RecordedSet
from harness.bounds import EntropyBound, Grid, entropy_bound, find_grid, token_mean_bits
from harness.measurement import Bound, Measurement
from harness.measures.base import Context
from harness.population import Population
from harness.rivals import measure_rivals
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject, embedding_key

__all__ = ["measure", "sample"]

Sizes = NDArray[np.float64]

_CHUNKS = 22
_CATALOG_KEYS_FIRST = 20_000  # the tree has its final depth from here on


def measure(context: Context) -> list[Measurement]:
    """One row a recorded set, judged; one a corpus, emulated and only shown."""
    catalog = _CatalogOnce(context)
    found = [_recorded(context, group, catalog) for group in context.recorded]
    found += [_emulated(context, *one, catalog) for one in context.populations.items()]
    return found


class _CatalogOnce:
    """The catalog's bytes per key are the same for all vectors: measured at first need."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._facts: Mapping[str, Any] | None = None

    def facts(self) -> Mapping[str, Any]:
        """Bytes per key, and fixed ones; raises WorkerError."""
        if self._facts is None:
            context = self._context
            job = {
                "catalog_keys": context.sizes.catalog_keys,
                "settings": _relaxed(context),
                "store": str(context.work / "store-catalog"),
            }
            (process,) = context.workers("saving", [job])
            self._facts = process.facts
        return self._facts


def _relaxed(context: Context) -> dict[str, object]:
    """Bytes are the same without waiting for the disk at each of 10^5 keys."""
    return {**context.settings, "durability": "power_cut_may_lose_store"}


def _recorded(context: Context, group: RecordedSet, catalog: _CatalogOnce) -> Measurement:
    folder = context.work / "saving" / group.name
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", group.vectors)
    population = {
        "model": str(group.serving),
        "vectors": len(group.vectors),
        "dimension": group.vectors.shape[1],
        "digest": group.digest[:12],
    }
    return _measurement(
        context,
        f"compression.saving-{group.name}",
        "recorded",
        population,
        folder,
        catalog,
        rivals=True,
        token_count=group.token_count.tolist() if group.serving is Serving.TEXT_V2 else None,
    )


def _emulated(
    context: Context, name: str, population: Population, catalog: _CatalogOnce
) -> Measurement:
    return _measurement(
        context,
        f"compression.saving-{name}",
        "emulated",
        population.facts(),
        population.folder,
        catalog,
        rivals=False,
    )


def _measurement(
    context: Context,
    name: str,
    evidence: str,
    population: Mapping[str, Any],
    folder: Path,
    catalog: _CatalogOnce,
    *,
    rivals: bool,
    token_count: Sequence[int] | None = None,
) -> Measurement:
    job = {
        "vectors": str(folder / "vectors.npy"),
        "store": str(context.work / f"store-{name}"),
        "settings": _relaxed(context),
        "rivals": rivals,
        "token_count": token_count,
    }

    def take() -> dict[str, Any]:
        (process,) = context.workers("saving", [{**job, "catalog": catalog.facts()}])
        facts = process.facts
        best = facts["best_saving"]
        return {
            "processes": [process],
            "bound": None if best is None else Bound(value=best, reason=facts["bound_reason"]),
            "context": facts,
        }

    return context.measured(name, unit="1", evidence=evidence, population=population, take=take)


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are the saved share of each vector's raw bytes."""
    if "catalog_keys" in job:
        path = Path(job["store"])
        per_key, fixed = _catalog_bytes(path, job["settings"], job["catalog_keys"])
        return {"values": [per_key], "facts": {"per_key": per_key, "fixed": fixed}}
    vectors = np.load(job["vectors"])
    raw = 4 * vectors.shape[1]
    record_bytes = _record_bytes(Path(job["store"]), job["settings"], vectors)
    catalog_per_key = job["catalog"]["per_key"]
    bound = entropy_bound(vectors)
    best, reason = _best_saving(bound, job["token_count"])
    kept = record_bytes + catalog_per_key
    on_grid = np.array(_is_on_grid(vectors))
    facts: dict[str, Any] = {
        "raw_bytes_per_vector": raw,
        "bytes_per_vector": float(kept.mean()),
        "record_bytes_per_vector": float(record_bytes.mean()),
        "catalog_bytes_per_key": catalog_per_key,
        "fixed_bytes": job["catalog"]["fixed"],
        "vectors_on_grid": int(on_grid.sum()),
        "saving_on_grid_share": float(1 - kept[on_grid].mean() / raw) if on_grid.any() else None,
        "entropy_bound_bytes": None if best is None else bound.bytes_per_vector,
        "entropy_bound_per_dimension_bytes": (
            None if best is None else bound.bytes_per_vector_per_dimension
        ),
        "best_saving": best,
        "bound_reason": reason,
    }
    if job["rivals"]:
        sizes = measure_rivals(vectors, whole_set=False)
        facts["rivals"] = {
            one.name: one.bytes_per_vector for one in sizes if one.bytes_per_vector is not None
        }
        facts["rival_versions"] = {one.name: one.version for one in sizes}
        facts["rivals_not_measured"] = {one.name: one.reason for one in sizes if one.reason}
    return {"values": [float(1 - size / raw) for size in kept], "facts": facts}


def _record_bytes(path: Path, settings: Mapping[str, object], vectors: Vectors) -> Sizes:
    """What each vector adds to the segments: key, document, frame with its header, padding."""
    subject = ReferenceSubject(path, settings)
    sizes = np.empty(len(vectors))
    before = subject.space()["segments"]
    for row, vector in enumerate(vectors):
        key = embedding_key("saving", str(row))
        subject.put_document(f"document {row // _CHUNKS}", [key], vector[None, :])
        after = subject.space()["segments"]
        sizes[row] = after - before
        before = after
    subject.close()
    sizes[0] -= _first_header(sizes)
    return sizes


def _first_header(sizes: Sizes) -> float:
    """The segment's own header is in the first vector's figure and belongs to the fixed bytes."""
    from_others = float(np.median(sizes[1:])) if len(sizes) > 1 else float(sizes[0])
    return min(32.0, max(0.0, float(sizes[0]) - from_others)) if len(sizes) > 1 else 32.0


def _catalog_bytes(path: Path, settings: Mapping[str, object], keys: int) -> tuple[float, float]:
    """Bytes of the catalog's file that one more key takes, at `keys` distinct keys; and the rest.

    The vectors are single numbers, since the catalog does not see them.
    """
    subject = ReferenceSubject(path, settings)
    value = np.ones((_CHUNKS, 1), np.float32)
    sizes = {}
    marks = (min(_CATALOG_KEYS_FIRST, keys // 2), keys)
    for first in range(0, keys, _CHUNKS):
        rows = range(first, min(keys, first + _CHUNKS))
        subject.put_document(
            f"document {first // _CHUNKS}",
            [embedding_key("catalog", str(row)) for row in rows],
            value[: len(rows)],
        )
        if any(rows.start < mark <= rows.stop for mark in marks):
            sizes[rows.stop] = subject.space()["catalog"]
    subject.close()
    (few, small), (many, large) = sorted(sizes.items())
    per_key = (large - small) / (many - few)
    return per_key, large - per_key * many


def _is_on_grid(vectors: Vectors) -> list[bool]:
    return [find_grid(vector).grid is not Grid.FLOAT32 for vector in vectors]


def _best_saving(
    bound: EntropyBound, token_count: Sequence[int] | None
) -> tuple[float | None, str]:
    """The most that any coding of this data can save, as far as anybody knows, and why.

    Of text-v2's present serving (`token_count` given) the token lattice may come out below the
    float32 entropy; the lower of the two counts, so that INFEASIBLE is never said too early. Where
    its token counts are not known, neither is a bound.
    """
    if token_count is not None:
        if not len(token_count) or min(token_count) < 1:
            return None, "no bound is known: means of an unknown number of token states"
        lattice = float(np.mean(token_mean_bits(token_count)))
        best = max(bound.best_saving, 1 - lattice / 32)
        return best, f"{_bound_reason(bound)}; its token lattice needs {lattice:.1f} bits a value"
    return bound.best_saving, _bound_reason(bound)


def _bound_reason(bound: EntropyBound) -> str:
    groups = ", ".join(
        f"{group.rows} rows ({group.grid}) need {group.lowest_value_bits:.1f} bits a value"
        for group in bound.groups
    )
    return f"entropy of this data: {groups}"
