"""A store made anew from its Lance tables, bit for bit; and how such a store gets its name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from titanstore.config import StoreConfig
from titanstore.errors import CorruptionError, ErrorKind, InvalidInputError, NotFoundError
from titanstore.search.lance import LanceSettings, LanceTable, LanceUnavailableError
from titanstore.search.lance_rebuild import rebuild_store_from_lance
from titanstore.search.mirror import ROLLED_BACK
from titanstore.segments.disk import make_folder, refusals_named, storage_error, sync_folder
from titanstore.store import EmbeddingStore

_UNFINISHED = ".unfinished"  # added to the name, so that nobody takes a part for the whole


@contextmanager
def unfinished_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty folder that is called `path` once the block has ended well, and is gone if not.

    Until then it has ".unfinished" after its name; a process that is killed leaves it behind. Of
    several that want the same one at once, one gets it.

    Raises
    ------
    InvalidInputError
        NOT_A_STORE: `path` exists, or the unfinished folder of another one.
    StorageError, ReadOnlyError
    """
    target = Path(path).absolute()
    unfinished = target.with_name(target.name + _UNFINISHED)
    with refusals_named(f"making {unfinished}"):
        make_folder(target.parent)
        try:
            unfinished.mkdir()
        except FileExistsError as error:
            raise InvalidInputError(
                f"{unfinished} exists: remove it, unless another process is making it",
                ErrorKind.NOT_A_STORE,
            ) from error
    try:
        if target.exists():  # whoever made it has had the unfinished folder before
            raise InvalidInputError(f"{target} exists; name a new folder", ErrorKind.NOT_A_STORE)
        yield unfinished
        unfinished.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise storage_error(error, f"making {target}") from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


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
        Must not exist. `unfinished_folder` says what it is until all is stored.
    lance_folder
        The folder `lance` of a store, or a copy of it.
    progress
        Told the number of vectors so far.

    Returns
    -------
    int
        Vectors stored: those that the tables had taken up, which `maintain` sees to. Versions and
        writes after it are not in them, nor perhaps the last 2 % before it, and as many removed
        vectors may still be; of a key that several documents hold, one document is, and of one
        that several tables hold, the vector that was stored last.

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
    source = Path(lance_folder)
    names = sorted(each.name for each in source.glob("*") if each.name.isdecimal())
    if not names:
        raise NotFoundError(f"no Lance table in {source}", ErrorKind.NO_STORE)
    if (source / ROLLED_BACK).exists():
        raise InvalidInputError(
            f"{source} holds what was before the last rollback; to have that, "
            f"remove {source / ROLLED_BACK}",
            ErrorKind.NOT_A_STORE,
        )
    with (
        unfinished_folder(path) as unfinished,
        EmbeddingStore.open(unfinished, config) as store,
        ExitStack() as opened,
    ):
        try:
            tables = [
                opened.enter_context(
                    LanceTable.open(source / name, int(name), LanceSettings(), read_only=True)
                )
                for name in names
            ]
            return rebuild_store_from_lance(tables, store, progress)
        except LanceUnavailableError as error:
            raise CorruptionError(f"{source}: {error.reason}", ErrorKind.BAD_INDEX) from error
