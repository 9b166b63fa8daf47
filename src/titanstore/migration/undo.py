"""A migration taken back: the store as it was before its first write."""

from __future__ import annotations

import os
from dataclasses import dataclass

from titanstore.config import StoreConfig, load_config
from titanstore.errors import ErrorKind, NotFoundError
from titanstore.migration import marks
from titanstore.store import EmbeddingStore
from titanstore.types import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """What undoing the newest migration takes back.

    Attributes
    ----------
    before
        The version that the store goes back to.
    vectors_now
        How many the store has.
    is_whole
        Did the migration come to its end?
    later_changes
        Vectors and documents that others changed since its end, which go too; None: it did not
        end, so they cannot be told from its own.
    left
        The version of the state that was left, to go forward to again; None until it is done.
    """

    before: Version
    vectors_now: int
    is_whole: bool
    later_changes: int | None
    left: Version | None = None


def undo_migration(
    store: str | os.PathLike[str],
    *,
    is_rehearsal: bool = False,
    config: StoreConfig | None = None,
) -> Undo:
    """Roll the newest migration of a store back, all or nothing; called again, the one before it.

    Nothing is destroyed: the state that it leaves is a version (`Undo.left`).

    Parameters
    ----------
    is_rehearsal
        Only say what it would do.

    Raises
    ------
    NotFoundError
        UNKNOWN_VERSION: no migration is to be undone. NO_STORE.
    BusyError, StorageError, ReadOnlyError, CorruptionError
    """
    settings = load_config() if config is None else config
    with EmbeddingStore.open(store, settings, read_only=is_rehearsal, create=False) as opened:
        found = marks.marks(opened)
        if not found:
            raise NotFoundError(f"{store} knows of no migration to undo", ErrorKind.UNKNOWN_VERSION)
        mark = found[-1]
        later = None
        if mark.done is not None:
            changed = opened.diff(mark.done)
            vectors = (changed.added, changed.replaced, changed.removed)
            later = sum(map(len, vectors)) + len(changed.documents_changed)
        count, left = len(opened), None
        if not is_rehearsal:
            made = opened.rollback(mark.before)
            marks.forget(opened, mark)
            left = next(one for one in opened.versions() if one.number == made.number - 1)
    return Undo(
        before=mark.before,
        vectors_now=count,
        is_whole=mark.done is not None,
        later_changes=later,
        left=left,
    )
