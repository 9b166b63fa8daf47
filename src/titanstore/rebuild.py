"""A store made anew from its Lance tables, bit for bit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from titanstore.config import StoreConfig
from titanstore.errors import CorruptionError, ErrorKind, InvalidInputError, NotFoundError
from titanstore.search.lance import LanceSettings, LanceTable, LanceUnavailableError
from titanstore.search.lance_rebuild import rebuild_store_from_lance
from titanstore.search.mirror import ROLLED_BACK
from titanstore.segments.disk import storage_error, sync_folder
from titanstore.store import EmbeddingStore

_UNFINISHED = ".unfinished"  # added to the name, so that nobody takes a part for the whole


def rebuild_from_lance(
    path: str | os.PathLike[str],
    lance_folder: str | os.PathLike[str],
    config: StoreConfig | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Make a store at `path` out of the Lance tables in a folder; returns how many vectors.

    Parameters
    ----------
    path
        Must not exist. Until all is stored, it is a folder of that name with ".unfinished" after
        it, which a killed rebuild leaves behind.
    lance_folder
        The folder `lance` of a store, or a copy of it.
    progress
        Told the number of vectors of the present table so far.

    Returns
    -------
    int
        Vectors stored: those that the tables had taken up, which `maintain` sees to. Versions and
        writes after it are not in them, nor perhaps the last 2 % before it, and as many removed
        vectors may still be; of a key that several documents hold, one document is.

    Raises
    ------
    InvalidInputError
        NOT_A_STORE: `path` exists, or what an earlier rebuild left unfinished; or a rollback came
        after the last `maintain`, so that the tables hold what was before it.
    NotFoundError
        NO_STORE: there is no table in `lance_folder`.
    CorruptionError
        BAD_INDEX: a table is not what was written. Nothing is left at `path`.
    StorageError, ReadOnlyError
    """
    target, source = Path(path).absolute(), Path(lance_folder)
    unfinished = target.with_name(target.name + _UNFINISHED)
    if target.exists():
        raise InvalidInputError(f"{target} exists; name a new folder", ErrorKind.NOT_A_STORE)
    if unfinished.exists():
        raise InvalidInputError(
            f"{unfinished} exists: remove it, unless another rebuild is under way",
            ErrorKind.NOT_A_STORE,
        )
    names = sorted(each.name for each in source.glob("*") if each.name.isdigit())
    if not names:
        raise NotFoundError(f"no Lance table in {source}", ErrorKind.NO_STORE)
    if (source / ROLLED_BACK).exists():
        raise InvalidInputError(
            f"{source} holds what was before the last rollback; to have that, "
            f"remove {source / ROLLED_BACK}",
            ErrorKind.NOT_A_STORE,
        )
    count = 0
    try:
        with EmbeddingStore.open(unfinished, config) as store:
            for name in names:
                settings = LanceSettings()
                with LanceTable.open(source / name, int(name), settings, read_only=True) as table:
                    count += rebuild_store_from_lance(table, store, progress)
        unfinished.rename(target)
        sync_folder(target.parent)
    except LanceUnavailableError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise CorruptionError(f"{source}: {error.reason}", ErrorKind.BAD_INDEX) from error
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise storage_error(error, f"giving {target} its name") from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return count
