"""What a migration would do: all of the source is read, nothing is written to the store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from titanstore.codec.base import Vector
from titanstore.config import StoreConfig, load_config
from titanstore.errors import NotFoundError
from titanstore.migration.find import open_source
from titanstore.migration.run import exact_batch, files_only, refuse_nested, stored_vectors
from titanstore.migration.source import SourceOptions
from titanstore.store import EmbeddingStore
from titanstore.vectors import same_bits

_SAMPLE = 512  # vectors
_CATALOG_BYTES = 80  # a key, its version's record included; FACTS of LMDB: 62 to 77
_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a migration would find.

    Attributes
    ----------
    kind
        Of the source.
    rows
        Of the source; a key that comes twice counts twice.
    dimensions
        How many rows have each.
    present
        Rows that the store has with the same bits.
    conflicts
        Rows whose key the store has with other bits; `conflict_keys` are the first 20 of them.
    raw_bytes
        Of the rows that would be added, as float32.
    estimated_bytes
        What they would take on the disk, by a sample of at most 512 of the source's vectors that
        were stored in a temporary folder; `sampled` says of how many.
    """

    kind: str
    rows: int
    dimensions: dict[int, int]
    present: int
    conflicts: int
    conflict_keys: tuple[str, ...]
    raw_bytes: int
    estimated_bytes: int
    sampled: int


def preview(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    options: SourceOptions | None = None,
    *,
    config: StoreConfig | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Preview:
    """Read the whole source as `migrate` would, and say what that would do; the store stays as is.

    Raises as `migrate`, but conflicts are counted instead. Two vectors of one key that lie far
    apart in the source are seen by `migrate` alone.
    """
    chosen = SourceOptions() if options is None else options
    opened = open_source(Path(source), chosen)
    refuse_nested(Path(source), Path(store))
    settings = load_config() if config is None else config
    rng = np.random.default_rng(0)  # the same sample each time
    sample: list[Vector] = []
    dimensions: dict[int, int] = {}
    rows = present = conflicts = raw_bytes = 0
    conflict_keys: list[str] = []
    tell = progress or (lambda done, total: None)
    with ExitStack() as open_now:
        try:
            there = open_now.enter_context(files_only(store, settings))
        except NotFoundError:
            there = None
        total = opened.count()
        for batch in opened.batches():
            given = exact_batch(batch, chosen, settings)
            known = [key for key in given if there is not None and key in there]
            stored = {} if there is None else stored_vectors(there, known)
            for key, vector in given.items():
                dimensions[vector.size] = dimensions.get(vector.size, 0) + 1
                place = int(rng.integers(0, rows + 1))  # reservoir sampling: each row alike
                if len(sample) < _SAMPLE:
                    sample.append(vector.copy())
                elif place < _SAMPLE:
                    sample[place] = vector.copy()
                rows += 1
                if key not in stored:
                    raw_bytes += 4 * vector.size
                elif same_bits(stored[key], vector):
                    present += 1
                else:
                    conflicts += 1
                    if len(conflict_keys) < _SHOWN:
                        conflict_keys.append(key)
            tell(rows, total)
    new = rows - present - conflicts
    return Preview(
        kind=opened.kind,
        rows=rows,
        dimensions=dict(sorted(dimensions.items())),
        present=present,
        conflicts=conflicts,
        conflict_keys=tuple(conflict_keys),
        raw_bytes=raw_bytes,
        estimated_bytes=round(_share_kept(sample, settings) * raw_bytes) + _CATALOG_BYTES * new,
        sampled=len(sample),
    )


def _share_kept(sample: list[Vector], settings: StoreConfig) -> float:
    """Bytes in segments and planes for each raw byte, by storing the sample."""
    if not sample:
        return 0.0
    quick = replace(settings, durability="power_cut_may_lose_store", publish=False, bloom=False)
    with (
        tempfile.TemporaryDirectory(prefix="titanstore-preview-") as folder,
        EmbeddingStore.open(folder, quick) as store,
    ):
        store.put_many([f"{number:032x}" for number in range(len(sample))], sample)
        stats = store.stats()
    return (stats.segment_bytes + stats.plane_bytes) / sum(vector.nbytes for vector in sample)
