"""A store on this machine out of a shared table, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable

from titanstore.config import StoreConfig
from titanstore.rebuild import unfinished_folder
from titanstore.scale.location import reaching
from titanstore.scale.table import SharedTable
from titanstore.search.lance_rebuild import groups_of
from titanstore.store import EmbeddingStore


def fetch(
    table: SharedTable,
    path: str | os.PathLike[str],
    config: StoreConfig | None = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Make a store at `path` out of one version of a shared table; returns how many vectors.

    Parameters
    ----------
    path
        Must not exist. `titanstore.rebuild.unfinished_folder` says what it is until all is stored.

    Raises
    ------
    InvalidInputError
        NOT_A_STORE: `path` exists, or what an earlier fetch left.
    CorruptionError
        BAD_INDEX: a row is not what was written. Nothing is left at `path`.
    StorageError, ReadOnlyError
    """
    count = 0
    with (
        unfinished_folder(path) as unfinished,
        EmbeddingStore.open(unfinished, config) as store,
        reaching(table.location),
    ):
        for group in groups_of(table.rows()):
            store.put_many(group.keys, group.vectors, group.document)
            count += len(group.keys)
            if progress is not None:
                progress(count)
    return count
