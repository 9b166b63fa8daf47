"""One migration: read a batch, write what is missing, read it back from the files, compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from titanstore.codec.base import Vector
from titanstore.config import StoreConfig, load_config
from titanstore.errors import ErrorKind, InvalidInputError, MigrationError, NotFoundError
from titanstore.keys import stored_key
from titanstore.migration import marks
from titanstore.migration.exact import exact_vector
from titanstore.migration.find import open_source
from titanstore.migration.source import Batch, Source, SourceOptions, refused
from titanstore.store import EmbeddingStore
from titanstore.vectors import checked_document, checked_vector, same_bits

OnConflict = Literal["refuse", "replace", "skip"]
_SKIPPED_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """What a migration did; `added + unchanged + replaced + skipped` are the rows of the source.

    Attributes
    ----------
    verified
        Vectors read back from the store's files and found equal to the source's, bit for bit.
    unchanged
        Vectors that were there already, with the same bits: an earlier run's, say.
    skipped_keys
        The first 20 of those left as they were, since the store had other bits.
    before
        Number of the version to go back to; None: nothing was written.
    """

    verified: int
    added: int
    unchanged: int
    replaced: int
    skipped: int
    skipped_keys: tuple[str, ...]
    before: int | None


def migrate(
    source: str | os.PathLike[str],
    store: str | os.PathLike[str],
    options: SourceOptions | None = None,
    *,
    on_conflict: OnConflict = "refuse",
    config: StoreConfig | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Migrated:
    """Move all vectors of a source into a store; each is verified bit by bit after it is written.

    Killed at any moment, it is called again and goes on: what is there with the same bits is not
    written a second time. A version is taken before the first write (`undo_migration`).

    Parameters
    ----------
    source
        File or folder; its kind is found by looking, or `options.kind`.
    store
        Folder of the store, made where there is none.
    on_conflict
        What becomes of a key that the store had before with other bits: "refuse" raises,
        "replace" takes the source's, "skip" leaves it.
    progress
        Told rows so far, and how many there are where the source can tell.

    Raises
    ------
    MigrationError
        What was written before stays, and can be undone. BAD_SOURCE: damaged, ambiguous, or
        not to be read without unpickling. INEXACT: a value is no float32. CONFLICT: a key with
        other bits, in the store or twice in the source. SOURCE_CHANGED: it did, while it was
        read or since an earlier run began. NOT_AS_WRITTEN: a vector read back differs.
        MISSING_PACKAGE.
    BusyError, StorageError, ReadOnlyError, CorruptionError, NewerFormatError, InvalidInputError
        As `EmbeddingStore`.

    Notes
    -----
    Memory: some batches of `options.batch_rows` vectors, whatever the source's size. Each value
    added costs a catalog record of the version taken before; `drop_versions` gives them back once
    its tag is taken away.
    """
    chosen = SourceOptions() if options is None else options
    if on_conflict not in ("refuse", "replace", "skip"):
        raise refused(f"on_conflict is refuse, replace or skip, not {on_conflict!r}")
    path = Path(source)
    opened = open_source(path, chosen)
    refuse_nested(path, Path(store))
    settings = load_config() if config is None else config
    with ExitStack() as open_now:
        target = open_now.enter_context(EmbeddingStore.open(store, settings))
        reader = open_now.enter_context(files_only(store, settings))
        mover = _Mover(target, reader, opened, chosen, on_conflict, path)
        return mover.move(progress or (lambda done, total: None))


def files_only(store: str | os.PathLike[str], settings: StoreConfig) -> EmbeddingStore:
    """The same store without a tier in memory: what it returns comes out of the files."""
    bare = replace(
        settings,
        memory_bytes_max=0,
        hot_bytes_max=0,
        warm_bytes_max=0,
        prefetch=False,
        shared_pool=False,
        publish=False,
        result_cache_entries=0,
    )
    return EmbeddingStore.open(store, bare, read_only=True)


class _Mover:
    """State of one migration."""

    def __init__(
        self,
        store: EmbeddingStore,
        reader: EmbeddingStore,
        source: Source,
        options: SourceOptions,
        on_conflict: OnConflict,
        path: Path,
    ) -> None:
        self._store = store
        self._reader = reader
        self._source = source
        self._options = options
        self._on_conflict = on_conflict
        self._path = path
        self._identity = options.identity(path, source.kind)
        self._before: int | None = None
        self._verified = self._added = self._unchanged = self._replaced = self._skipped = 0
        self._skipped_keys: list[str] = []

    def move(self, progress: Callable[[int, int | None], None]) -> Migrated:
        fingerprint = self._source.fingerprint()
        self._resume(fingerprint)
        total = self._source.count()
        done = 0
        progress(done, total)
        for batch in self._source.batches():
            self._move_batch(batch, fingerprint)
            done += len(batch.keys)
            progress(done, total)
        if total is not None and done != total:
            raise refused(f"{self._path} promised {total} vectors and gave {done}")
        if self._replaced and self._unchanged:
            self._refuse_turncoats()
        if self._source.fingerprint() != fingerprint:
            raise MigrationError(
                f"{self._path} changed while it was read: what was moved is what it held then. "
                "Let its writers end and run again, or undo",
                ErrorKind.SOURCE_CHANGED,
            )
        if self._before is not None:
            marks.end(self._store, self._identity)
        return Migrated(
            verified=self._verified,
            added=self._added,
            unchanged=self._unchanged,
            replaced=self._replaced,
            skipped=self._skipped,
            skipped_keys=tuple(self._skipped_keys),
            before=self._before,
        )

    def _refuse_turncoats(self) -> None:
        """Raise where a key had one vector, found in place, and later another, which replaced it.

        Nothing small remembers which keys were found in place, so the source is read again.
        """
        for batch in self._source.batches():
            given = exact_batch(batch, self._options, self._store.config)
            stored = stored_vectors(self._reader, list(given))
            for key, vector in given.items():
                if not same_bits(stored[key], vector):
                    raise MigrationError(
                        f"{self._path} has two vectors for {key!r}", ErrorKind.CONFLICT
                    )

    def _resume(self, fingerprint: str) -> None:
        mark = marks.mark_of(self._store, self._identity)
        if mark is None or mark.done is not None:
            return
        if not mark.is_of(fingerprint):
            raise MigrationError(
                f"{self._path} has changed since its migration began: undo that first "
                "(titanstore migrate --undo), then begin anew",
                ErrorKind.SOURCE_CHANGED,
            )
        self._before = mark.before.number

    def _move_batch(self, batch: Batch, fingerprint: str) -> None:
        wanted: dict[str, Vector] = {}
        to_write: set[str] = set()
        given = exact_batch(batch, self._options, self._store.config)
        stored = stored_vectors(self._reader, [key for key in given if key in self._store])
        for key, vector in given.items():
            there = stored.get(key)
            if there is None:
                self._added += 1
                to_write.add(key)
            elif same_bits(there, vector):
                self._unchanged += 1
            elif self._is_to_be_replaced(key, there):
                self._replaced += 1
                to_write.add(key)
            else:
                continue
            wanted[key] = vector
        self._unchanged += len(batch.keys) - len(set(batch.keys))  # the same row again
        groups: dict[str | None, dict[str, Vector]] = {}
        for key, document in zip(batch.keys, batch.documents, strict=True):
            if key in wanted:
                groups.setdefault(document, {})[key] = wanted[key]
        for document, rows in groups.items():
            if to_write & rows.keys() or not self._is_member(document, rows):
                self._begin(fingerprint)
                self._store.put_many(list(rows), list(rows.values()), document)
        stored = stored_vectors(self._reader, list(wanted))
        for key, vector in wanted.items():
            if not same_bits(stored[key], vector):
                raise MigrationError(
                    f"{key!r} does not read back as it was written: stop, and run titanstore check",
                    ErrorKind.NOT_AS_WRITTEN,
                )
            self._verified += 1

    def _begin(self, fingerprint: str) -> None:
        """Take the version to go back to, once, before the first write."""
        if self._before is None:
            self._before = marks.begin(self._store, self._identity, fingerprint).number

    def _is_member(self, document: str | None, keys: Iterable[str]) -> bool:
        """Are all these keys in the document already?"""
        if document is None:
            return True
        try:
            return set(keys) <= set(self._store.document_keys(document))
        except NotFoundError:
            return False

    def _is_to_be_replaced(self, key: str, there: Vector) -> bool:
        """What becomes of a key that the store has with other bits than the source."""
        if self._before is not None and not self._is_of_before(self._before, key, there):
            raise MigrationError(
                f"{self._path} has two vectors for {key!r}, or another writer changed it since "
                "this migration began",
                ErrorKind.CONFLICT,
            )
        if self._on_conflict == "refuse":
            raise MigrationError(
                f"{key!r} is in the store with another vector: replace it (--replace) or leave "
                "it (--skip)",
                ErrorKind.CONFLICT,
            )
        if self._on_conflict == "skip":
            self._skipped += 1
            if len(self._skipped_keys) < _SKIPPED_SHOWN:
                self._skipped_keys.append(key)
            return False
        return True

    def _is_of_before(self, before: int, key: str, there: Vector) -> bool:
        """Does the store have it from before this migration?"""
        view = self._store.at(before)
        return key in view and same_bits(view.get(key), there)


def stored_vectors(reader: EmbeddingStore, keys: list[str]) -> dict[str, Vector]:
    """What the store has for these keys, all of which it has."""
    try:
        rows = list(reader.get_many(keys))  # decoded together: several times as fast
    except InvalidInputError:  # of several dimensions
        rows = [reader.get(key) for key in keys]
    return dict(zip(keys, rows, strict=True))


def refuse_nested(source: Path, store: Path) -> None:
    """Raise where one lies in the other: the store's own files would be the source's."""
    one, other = source.resolve(), store.resolve()
    if one.is_relative_to(other) or (source.is_dir() and other.is_relative_to(one)):
        raise refused(f"{source} and the store {store} lie in each other: keep them apart")


def exact_batch(batch: Batch, options: SourceOptions, settings: StoreConfig) -> dict[str, Vector]:
    """The float32 vectors of a batch by key, each of which a store with these settings takes.

    Raises
    ------
    MigrationError
        INEXACT, CONFLICT; BAD_SOURCE: a vector, key or document that a store refuses.
    """
    found: dict[str, Vector] = {}
    for key, row, document in zip(batch.keys, batch.vectors, batch.documents, strict=True):
        vector = exact_vector(row, key, options)
        try:
            stored_key(key)
            checked_vector(vector, settings)
            if document is not None:
                checked_document(document)
        except InvalidInputError as error:
            raise refused(f"{key!r} cannot be stored: {error}") from error
        if key in found and not same_bits(found[key], vector):
            raise MigrationError(f"the source has two vectors for {key!r}", ErrorKind.CONFLICT)
        found.setdefault(key, vector)
    return found
