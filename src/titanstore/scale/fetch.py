"""A store on this machine out of a shared table, bit for bit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from titanstore.config import StoreConfig
from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.scale.location import reaching
from titanstore.scale.table import SharedTable
from titanstore.search.lance_rebuild import groups_of
from titanstore.segments.disk import storage_error, sync_folder
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
        Must not exist. Until all is stored it is a folder of that name with ".unfinished" after
        it, which a killed fetch leaves behind.

    Raises
    ------
    InvalidInputError
        NOT_A_STORE: `path` exists, or what an earlier fetch left.
    CorruptionError
        BAD_INDEX: a row is not what was written. Nothing is left at `path`.
    StorageError, ReadOnlyError
    """
    target = Path(path).absolute()
    unfinished = target.with_name(target.name + ".unfinished")
    for each in (target, unfinished):
        if each.exists():
            raise InvalidInputError(f"{each} exists; name a new folder", ErrorKind.NOT_A_STORE)
    count = 0
    try:
        with EmbeddingStore.open(unfinished, config) as store, reaching(table.location):
            for group in groups_of(table.rows()):
                store.put_many(group.keys, group.vectors, group.document)
                count += len(group.keys)
                if progress is not None:
                    progress(count)
        unfinished.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise storage_error(error, f"giving {target} its name") from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return count
