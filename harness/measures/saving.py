"""compression.saving: bytes that the store keeps for a vector, everything counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fixtures.titan.emulator import Serving
from fixtures.titan.recorded import RecordedSet
from harness.bounds import EntropyBound, Grid, entropy_bound, find_grid, token_mean_bits
from harness.general_codecs import measure_codecs
from harness.measurement import Bound, Measurement, Process
from harness.measures.base import Context, Plan
from harness.population import Population
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject, embedding_key
from harness.worker import Task, WorkerError

__all__ = ["measure", "plan", "sample"]

Sizes = NDArray[np.float64]

# Sets large enough to tell what a vector adds from what a file is rounded up to
_SPACE_ROWS = {
    "space.search-v1_chunks",
    "space.search-v2_scaled_bf16",
    "space.search-v2_token_mean",
}

_CHUNKS = 22
_CATALOG_KEYS_FIRST = 20_000  # the tree has its final depth from here on


def measure(context: Context) -> list[Measurement]:
    """One row a recorded set, judged; one a corpus, emulated and only shown."""
    return context.together(plan(context))


def plan(context: Context) -> list[Plan]:
    """The same, to be run beside others. The catalog is weighed once, with the first plan."""
    catalog = _Catalog(context)
    found = [one for group in context.recorded for one in _recorded(context, group, catalog)]
    emulated = [
        one for pair in context.populations.items() for one in _emulated(context, *pair, catalog)
    ]
    return found + emulated


class _Catalog:
    """The catalog's bytes per key are the same for all vectors: one task, of the first plan."""

    def __init__(self, context: Context) -> None:
        job = {
            "catalog_keys": context.sizes.catalog_keys,
            "settings": _relaxed(context),
            "store": str(context.work / "store-catalog"),
        }
        self.tasks: list[Task] = [("saving", job)]
        self._facts: Mapping[str, Any] | None = None

    def facts(self, answers: Sequence[Process]) -> Mapping[str, Any]:
        """Bytes per key, and fixed ones; `answers` are those of a plan, its own vectors last."""
        if len(answers) > 1:
            self._facts = answers[0].facts
        if self._facts is None:
            raise WorkerError("saving: the catalog's bytes for a key were not measured")
        return self._facts


def _relaxed(context: Context) -> dict[str, object]:
    """Bytes are the same without waiting for the disk at each of 10^5 keys."""
    return {**context.settings, "durability": "power_cut_may_lose_store"}


def _recorded(context: Context, group: RecordedSet, catalog: _Catalog) -> list[Plan]:
    folder = context.work / "saving" / group.name
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", group.vectors)
    population = {
        "model": str(group.serving),
        "vectors": len(group.vectors),
        "dimension": group.vectors.shape[1],
        "digest": group.digest[:12],
    }
    return _plans(
        context,
        group.name,
        context.recorded_tier,
        population,
        folder,
        catalog,
        rivals=True,
        token_count=group.token_count.tolist() if group.serving is Serving.TEXT_V2 else None,
    )


def _emulated(context: Context, name: str, population: Population, catalog: _Catalog) -> list[Plan]:
    return _plans(
        context,
        name,
        "emulated",
        population.facts(),
        population.folder,
        catalog,
        rivals=False,
    )


def _plans(
    context: Context,
    name: str,
    evidence: str,
    population: Mapping[str, Any],
    folder: Path,
    catalog: _Catalog,
    *,
    rivals: bool,
    token_count: Sequence[int] | None = None,
) -> list[Plan]:
    """What is saved; and of the same store, for recorded sets, everything that lies on the disk."""
    job = {
        "vectors": str(folder / "vectors.npy"),
        "store": str(context.work / f"store-{name}"),
        "settings": _relaxed(context),
        "rivals": rivals,
        "token_count": token_count,
    }
    shared, catalog.tasks = catalog.tasks, []
    weighed: list[Process] = []

    def take(processes: Sequence[Process]) -> dict[str, Any]:
        fixed = catalog.facts(processes)
        process = _with_catalog(processes[-1], fixed)
        weighed.append(process)
        best = process.facts["best_saving"]
        return {
            "processes": [process],
            "bound": (
                None if best is None else Bound(value=best, reason=process.facts["bound_reason"])
            ),
            "context": process.facts,
        }

    def take_space(_: Sequence[Process]) -> dict[str, Any]:
        if not weighed:
            raise WorkerError("saving: the store of these vectors was not made")
        share = weighed[0].facts["space_with_search"]
        kept = ("raw_bytes_per_vector", "file_bytes_per_vector", "catalog_bytes_per_key")
        return {
            "processes": [replace(weighed[0], values=[share], facts={})],
            "context": {name: weighed[0].facts[name] for name in kept},
        }

    common: dict[str, Any] = {"unit": "1", "evidence": evidence, "population": population}
    saved = Plan(
        name=f"compression.saving-{name}", tasks=[*shared, ("saving", job)], take=take, **common
    )
    space = Plan(name=f"space.search-{name}", tasks=[], take=take_space, **common)
    return [saved, space] if f"space.search-{name}" in _SPACE_ROWS else [saved]


def _with_catalog(process: Process, catalog: Mapping[str, Any]) -> Process:
    """Shares saved, of record bytes; the catalog's bytes for one more key are in them."""
    facts = dict(process.facts)
    raw, per_key = facts["raw_bytes_per_vector"], catalog["per_key"]
    kept = np.asarray(process.values) + per_key
    on_grid = facts.pop("record_bytes_on_grid")
    others = facts.pop("other_bytes_per_vector")
    facts |= {
        "bytes_per_vector": float(kept.mean()),
        "catalog_bytes_per_key": per_key,
        "fixed_bytes": catalog["fixed"],
        "saving_on_grid_share": None if on_grid is None else 1 - (on_grid + per_key) / raw,
        "file_bytes_per_vector": others,
        "space_with_search": float((others + per_key) / raw),
    }
    return replace(process, values=[float(1 - size / raw) for size in kept], facts=facts)


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """In a fresh process: values are the bytes of each vector's records, without the catalog's."""
    if "catalog_keys" in job:
        path = Path(job["store"])
        per_key, fixed = _catalog_bytes(path, job["settings"], job["catalog_keys"])
        return {"values": [per_key], "facts": {"per_key": per_key, "fixed": fixed}}
    vectors = np.load(job["vectors"])
    raw = 4 * vectors.shape[1]
    record_bytes, others = _record_bytes(Path(job["store"]), job["settings"], vectors)
    bound = entropy_bound(vectors)
    best, reason = _best_saving(bound, job["token_count"])
    on_grid = np.array(_is_on_grid(vectors))
    facts: dict[str, Any] = {
        "raw_bytes_per_vector": raw,
        "record_bytes_per_vector": float(record_bytes.mean()),
        "record_bytes_on_grid": float(record_bytes[on_grid].mean()) if on_grid.any() else None,
        "other_bytes_per_vector": others,
        "vectors_on_grid": int(on_grid.sum()),
        "entropy_bound_bytes": None if best is None else bound.bytes_per_vector,
        "entropy_bound_per_dimension_bytes": (
            None if best is None else bound.bytes_per_vector_per_dimension
        ),
        "best_saving": best,
        "bound_reason": reason,
    }
    if job["rivals"]:
        sizes = measure_codecs(vectors, whole_set=False)
        facts["rivals"] = {
            one.name: one.bytes_per_vector for one in sizes if one.bytes_per_vector is not None
        }
        facts["rival_versions"] = {one.name: one.version for one in sizes}
        facts["rivals_not_measured"] = {one.name: one.reason for one in sizes if one.reason}
    return {"values": record_bytes.tolist(), "facts": facts}


def _record_bytes(
    path: Path, settings: Mapping[str, object], vectors: Vectors
) -> tuple[Sizes, float]:
    """What each vector adds to the store's files without the catalog, and the whole growth.

    The first counts committed bytes, as the store does: key, document, frame with its header,
    padding, the row of codes that search scans and a frame may need. The second is what the
    operating system sees of all files, per vector over the second half of them.
    """
    subject = ReferenceSubject(path, settings)
    sizes = np.empty(len(vectors))
    before = subject.vector_bytes()
    half = len(vectors) // 2
    files = {0: subject.file_bytes()}
    for row, vector in enumerate(vectors):
        key = embedding_key("saving", str(row))
        subject.put_document(f"document {row // _CHUNKS}", [key], vector[None, :])
        after = subject.vector_bytes()
        sizes[row] = after - before
        before = after
        if row + 1 in (half, len(vectors)):
            files[row + 1] = subject.file_bytes()
    subject.close()
    sizes[0] -= _first_header(sizes)
    (few, small), (many, large) = sorted(files.items())[-2:]
    return sizes, (large - small) / (many - few)


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
