"""What is done to and asked of LanceDB's tables, as coroutines; nothing here keeps state."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_schema import STORED_COLUMNS, Vector, schema
from titanstore.search.lance_settings import (
    METRIC,
    LanceSettings,
    index_config,
    index_name,
    is_worth_an_index,
    nprobes_of,
    partitions_of,
)
from titanstore.search.lance_state import Content

NEAR = "near"  # the index
_TABLE_OPTIONS = {
    "new_table_data_storage_version": "2.2",
    "new_table_enable_stable_row_ids": "true",
}
_KEEP_ALL = timedelta(days=36_500)
_GROWTH_MAX = 2  # an index trained on less than half of the rows is trained anew
_SEGMENTS_MAX = 16  # at 46 a query takes twice the time (reports/decisions/0007)
_CONFLICT = "commit conflict"
_TRIES = 4
_STREAM_ROWS = 256


async def create(connection: Any, name: str, dimension: int, settings: LanceSettings) -> Any:
    """An empty table."""
    return await connection.create_table(
        name, schema=schema(dimension, settings.values), storage_options=_TABLE_OPTIONS
    )


async def settle(table: Any, version: int) -> int:
    """Make `version` the latest, whatever was committed after it; the latest version's number."""
    await table.checkout_latest()
    latest = int(await table.version())
    if latest < version:
        raise LanceUnavailableError(f"version {version} of the table is gone, {latest} is there")
    if latest > version:
        await table.restore(version)
        latest = int(await table.version())
    return latest


async def upsert(table: Any, rows: Any) -> None:
    """One commit of rows with distinct keys; those that are there are replaced."""
    if not await table.count_rows():
        await table.add(rows)
        return
    merge = table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
    await merge.execute(rows)


async def delete(table: Any, keys: Sequence[str]) -> int:
    """One commit without these keys; how many were there."""
    from lancedb.expr import col

    return int((await table.delete(col("key").isin(list(keys)))).num_deleted_rows)


class Target(NamedTuple):
    """The table to write to."""

    table: Any
    settings: LanceSettings
    dimension: int


async def keep_up(target: Target, content: Content) -> Content:
    """Put fragments together and bring the index up to the rows; the content after that."""
    content = await _maintain_index(*target, content)
    return await _described(target.table, content)


async def _maintain_index(
    table: Any, settings: LanceSettings, dimension: int, content: Content
) -> Content:
    """What the index is once it has all rows.

    An index is made where there are rows enough and none of the wanted kind, trained on at least
    half of them, in a bounded number of parts; else LanceDB appends what the index lacks. Rows
    are put together with others only inside one part.
    """
    await _retried(lambda: table.optimize(cleanup_older_than=_KEEP_ALL))
    rows = int(await table.count_rows())
    if not is_worth_an_index(settings, rows):
        return content
    wanted = index_name(settings)
    is_old = rows >= _GROWTH_MAX * content.trained_rows
    if content.index != wanted or is_old or await _segments(table) > _SEGMENTS_MAX:
        config = index_config(settings, rows, dimension)
        await _retried(lambda: table.create_index("vector", config=config, name=NEAR))
        content = replace(
            content,
            index=wanted,
            trained_rows=rows,
            partitions=partitions_of(settings, rows),
        )
    await verify_index(table, content, dimension)
    # rows that the index has only now can be put together with the others only now; were it left
    # to the pruning, that would make a version after the one that the state names
    await _retried(lambda: table.optimize(cleanup_older_than=_KEEP_ALL))
    return content


async def _segments(table: Any) -> int:
    """Parts of the index; appending makes one each time, and each is searched."""
    found = await table.index_stats(NEAR)
    return 0 if found is None else int(found.num_indices or 0)


async def verify_index(table: Any, content: Content, dimension: int) -> None:
    """Raise unless queries really use the index: LanceDB else scans flat and says nothing."""
    found = await table.index_stats(NEAR)
    if found is None or found.num_indexed_rows == 0:
        raise LanceUnavailableError(f"the index {content.index} covers no rows")
    if (found.index_type, found.distance_type) != (content.index, METRIC):
        raise LanceUnavailableError(
            f"the index is {found.index_type} for {found.distance_type}, not {content.index}"
        )
    probe = table.query().nearest_to(np.ones(dimension, np.float32)).distance_type(METRIC)
    if "ANN" not in await probe.limit(1).select(["key", "_distance"]).explain_plan():
        raise LanceUnavailableError("queries do not use the index")


async def _described(table: Any, content: Content) -> Content:
    """The content with the table's version, number of rows and digest as they are now."""
    rows = digest = 0
    async for batch in await table.query().select(["checksum"]).to_batches():
        rows += batch.num_rows
        digest += int(batch.column("checksum").to_numpy().sum(dtype=np.uint64))
    return replace(content, version=int(await table.version()), rows=rows, digest=digest % 2**64)


async def prune(table: Any, history_s: float) -> None:
    """Remove files of versions older than this. The latest stays."""
    oldest = timedelta(seconds=max(history_s, 0.001))
    await _retried(lambda: table.optimize(cleanup_older_than=oldest))


async def _retried(work: Any) -> None:
    for attempt in range(_TRIES):
        try:
            await work()
            return
        except RuntimeError as error:
            if _CONFLICT not in str(error) or attempt + 1 == _TRIES:
                raise
            await asyncio.sleep(0.05 * 2**attempt)


# -- asking -----------------------------------------------------------------------------------


async def near(view: Any, query: Any, count: int, content: Content, settings: LanceSettings) -> Any:
    """LanceDB's answer for one query vector, or for a list of them, as an Arrow table."""
    ask = view.query().nearest_to(query).distance_type(METRIC).limit(count)
    if content.index == "IVF_HNSW_SQ":
        ask = ask.ef(max(100, 3 * count))
    else:
        ask = ask.nprobes(nprobes_of(settings, content.partitions))
    return await ask.select(["key", "_distance"]).to_arrow()


async def stream(view: Any) -> Any:
    """All rows but for their search vectors, as an asynchronous iterator of Arrow batches."""
    ask = view.query().select(list(STORED_COLUMNS))
    return await ask.to_batches(max_batch_length=_STREAM_ROWS)


async def following(batches: Any) -> Any:
    """The next batch of a stream, None at its end."""
    return await anext(aiter(batches), None)


def unit(query: Vector) -> Vector:
    """The query as a unit vector of float32.

    Raises
    ------
    LanceUnavailableError
        It has no direction: all zero, NaN, infinite.
    """
    with np.errstate(invalid="ignore"):  # a signalling NaN
        wide = query.astype(np.float64)
    length = float(np.sqrt(wide @ wide))
    if not 0 < length < np.inf:
        raise LanceUnavailableError("a query without a direction has no neighbours by cosine")
    return np.asarray(wide / length, dtype=np.float32)
