"""Verify, index and compact a shared table; here, or on Ray, the last two by lance-ray."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.scale.fragments import ROWS_MAX, tries
from titanstore.scale.location import Location, lance, reaching
from titanstore.scale.repeats import suspects
from titanstore.scale.runners import RayRunner, Runner
from titanstore.scale.table import BY_KEY, NEAR, SharedTable
from titanstore.scale.work import Checked, check_fragment
from titanstore.search.lance_settings import METRIC, ROWS_TRAINED_MIN

Kind = Literal["ivf_pq", "ivf_sq", "ivf_flat"]
_PQ_ROWS_MIN = 65_536  # lance-ray trains on no fewer
_ROWS_A_PARTITION = 4_096
_SAMPLE_RATE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What every row of one version was found to be.

    Attributes
    ----------
    repeated
        Keys that stand more than once; 0 unless something else than titanstore wrote the table.
    problems
        The first of each fragment that is not as it was written.
    """

    version: int
    rows: int
    vector_bytes: int
    file_bytes: int
    repeated: int
    problems: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Is everything as it was written?"""
        return not self.problems and not self.repeated


def verify(
    location: Location, runner: Runner, progress: Callable[[int, int], None] | None = None
) -> Verified:
    """Read every byte of the latest version once, by fragments.

    Raises
    ------
    NotFoundError, StorageError
    """
    table = SharedTable.open(location)
    with reaching(location):
        fragments = [each.fragment_id for each in table.dataset.get_fragments()]
    found: list[Checked] = []
    for each in runner.run(partial(check_fragment, location, table.version), fragments):
        found.append(each)
        if progress is not None:
            progress(len(found), len(fragments))
    return Verified(
        version=table.version,
        rows=sum(each.rows for each in found),
        vector_bytes=sum(each.vector_bytes for each in found),
        file_bytes=sum(each.file_bytes for each in found),
        repeated=_repeated(table, found),
        problems=tuple(each.problem for each in found if each.problem is not None),
    )


def _repeated(table: SharedTable, found: list[Checked]) -> int:
    """How many rows have a key that a row before them has."""
    places = suspects([each.hashes for each in found])
    wanted: dict[int, list[int]] = {}
    for place in places:
        wanted.setdefault(place.part, []).append(place.row)
    keys: list[str] = []
    for part, rows in wanted.items():
        with reaching(table.location):
            fragment = table.dataset.get_fragment(found[part].fragment)
            keys += fragment.take(rows, columns=["key"]).column("key").to_pylist()
    return len(keys) - len(set(keys))


def index(location: Location, runner: Runner, kind: Kind | None = None) -> SharedTable:
    """Make the index that searches use, and the one of the keys that `get_many` uses.

    Parameters
    ----------
    kind
        None: "ivf_pq" from 65 536 rows on, "ivf_flat" below.

    Raises
    ------
    InvalidInputError
        BAD_SETTING: too few rows for an index of this kind.
    """
    table = SharedTable.open(location)
    rows = len(table)
    least = _PQ_ROWS_MIN if kind == "ivf_pq" else ROWS_TRAINED_MIN
    if rows < least:
        raise InvalidInputError(
            f"{rows} vectors; {kind or 'an index'} takes {least}", ErrorKind.BAD_SETTING
        )
    chosen = kind or ("ivf_pq" if rows >= _PQ_ROWS_MIN else "ivf_flat")
    partitions = max(1, min(math.isqrt(rows), rows // _SAMPLE_RATE, rows // _ROWS_A_PARTITION))
    shape: dict[str, Any] = {"metric": METRIC, "num_partitions": partitions, "replace": True}
    if chosen == "ivf_pq":
        shape["num_sub_vectors"] = math.gcd(table.shape.dimension, table.shape.dimension // 8) or 1
    with reaching(location):
        if isinstance(runner, RayRunner):
            import lance_ray

            lance_ray.create_index(
                location.uri,
                column="vector",
                index_type=chosen.upper(),
                name=NEAR,
                num_workers=runner.workers,
                storage_options=location.options(),
                sample_rate=_SAMPLE_RATE,
                **shape,
            )
        else:
            table.dataset.create_index(
                "vector", chosen.upper(), name=NEAR, sample_rate=_SAMPLE_RATE, **shape
            )
        found = table.latest()
        found.dataset.create_scalar_index("key", "BTREE", name=BY_KEY, replace=True)
    return found.latest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What a compaction did."""

    fragments_before: int
    fragments: int
    version: int


def compact(
    location: Location, runner: Runner, *, rows: int = ROWS_MAX, keep_s: float | None = None
) -> Compacted:
    """Put small fragments together, bring the indices up to all rows, remove old versions.

    Writers go on meanwhile; where they were faster it begins anew.

    Parameters
    ----------
    rows
        Of a fragment.
    keep_s
        Remove versions older than this, and what jobs left that were never committed after a
        week. None: remove nothing.

    Raises
    ------
    BusyError
        TOO_MANY_WRITERS.
    StorageError, NotFoundError, CorruptionError
    """
    before = _fragments(SharedTable.open(location))
    for _ in tries(location):
        table = SharedTable.open(location)
        # others were faster
        with reaching(location), suppress(lance().commit.CommitConflictError):
            _compact_files(table, runner, rows)
            found = table.latest()
            found.dataset.optimize.optimize_indices()
            break
    found = table.latest()
    if keep_s is not None:
        with reaching(location):
            found.dataset.cleanup_old_versions(
                older_than=timedelta(seconds=keep_s), delete_unverified=False
            )
    found = found.latest()
    return Compacted(fragments_before=before, fragments=_fragments(found), version=found.version)


def _compact_files(table: SharedTable, runner: Runner, rows: int) -> None:
    if isinstance(runner, RayRunner):
        import lance_ray

        lance_ray.compact_files(
            table.location.uri,
            compaction_options={"target_rows_per_fragment": rows},
            num_workers=runner.workers,
            storage_options=table.location.options(),
        )
    else:
        table.dataset.optimize.compact_files(target_rows_per_fragment=rows)


def _fragments(table: SharedTable) -> int:
    with reaching(table.location):
        return len(table.dataset.get_fragments())
