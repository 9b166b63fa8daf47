"""Changes of the store on their way into the table: batches, one commit each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

from titanstore.search import lance_commits as commits
from titanstore.search.lance_commits import Target
from titanstore.search.lance_loop import LanceLoop
from titanstore.search.lance_schema import LanceRow, batch_of, batches_of
from titanstore.search.lance_state import Content

_BATCH_ROWS = 4_096
_BATCH_BYTES = 16 << 20
_DELETED_KEYS = 1_000


class SyncReport(NamedTuple):
    """What `LanceTable.sync` did."""

    upserted: int
    deleted: int
    watermark: int  # of the table, now
    is_complete: bool  # False: time ran out; call again with what the store has since `watermark`


class _Order:
    """Up to which version everything is written, as long as rows come in ascending versions."""

    def __init__(self) -> None:
        self.is_ascending = True
        self.last = -1

    def follows(self, version: int) -> bool:
        """Is everything up to `last` written, when the next row has this version?"""
        return self.is_ascending and self.last >= 0 and version > self.last

    def add(self, rows: list[LanceRow]) -> None:
        for row in rows:
            self.is_ascending = self.is_ascending and row.version >= self.last
            self.last = row.version


def write_changes(
    loop: LanceLoop,
    target: Target,
    content: Content,
    upserts: Iterable[LanceRow],
    deletes: Iterable[str],
    watermark: int,
    progress: Callable[[int], None] | None,
    seconds_max: float | None,
) -> tuple[Content, SyncReport]:
    """Commit deletes, then upserts; the content's watermark and norms afterwards.

    Stops early only between two versions of the store, so that each call gets further.
    """
    started = time.monotonic()
    table = target.table
    deleted = upserted = 0
    for keys in _lists(dict.fromkeys(deletes), _DELETED_KEYS):
        deleted += loop.run(partial(commits.delete, table, keys))
    order = _Order()
    for rows in batches_of(upserts, _BATCH_ROWS, _BATCH_BYTES):
        is_late = seconds_max is not None and time.monotonic() - started > seconds_max
        if is_late and order.follows(rows[0].version):
            reached = max(content.watermark, order.last)
            return replace(content, watermark=reached), SyncReport(
                upserted, deleted, reached, is_complete=False
            )
        batch = batch_of(rows, target.dimension, target.settings.values)
        loop.run(partial(commits.upsert, table, batch.table))
        order.add(rows)
        content = replace(content, norms=content.norms.joined(batch.norms))
        upserted += batch.rows
        if progress is not None:
            progress(upserted)
    return replace(content, watermark=watermark), SyncReport(
        upserted, deleted, watermark, is_complete=True
    )


def _lists(keys: Iterable[str], count: int) -> Iterator[list[str]]:
    remaining = iter(keys)
    while found := list(islice(remaining, count)):
        yield found
