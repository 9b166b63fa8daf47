"""Lookups and transactions on the catalog.

One entry a vector: 4 bytes of fingerprint and 6 bytes of address, kept as the sorted duplicates
of a single LMDB key. Fixed-size duplicates fill pages without a header or pointer each: 14 bytes
an entry at 10^5 random keys, where a plain LMDB record takes 62 to 77. Equal fingerprints are told
apart by the record, which holds the whole key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from titanstore.catalog.change_sums import Seen
from titanstore.catalog.environment import DATABASES, acquire, find_databases, release
from titanstore.catalog.history import History
from titanstore.catalog.lookups import matches
from titanstore.catalog.views import CatalogView, CatalogWriter
from titanstore.errors import (
    ClosedError,
    CorruptionError,
    ErrorKind,
    ReadOnlyError,
    StorageError,
    StoreError,
)
from titanstore.segments.disk import refusals_named
from titanstore.segments.layout import Address


def _catalog_error(error: lmdb.Error) -> StoreError:
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.InvalidError):
        return CorruptionError(f"catalog: {error}", ErrorKind.BAD_CATALOG)
    if isinstance(error, lmdb.ReadonlyError) or "Read-only file system" in str(error):
        return ReadOnlyError(f"catalog: {error}", ErrorKind.READ_ONLY_DISK)
    full = "No space left" in str(error) or "File too large" in str(error)
    kind = ErrorKind.DISK_FULL if full else ErrorKind.IO_FAILED
    return StorageError(f"catalog: {error}; nothing was acknowledged", kind)


class Catalog:
    """One open LMDB environment. Any thread may read; one at a time may write.

    It must not cross a fork: a child makes its own.
    """

    def __init__(self, folder: Path, *, read_only: bool, durable: bool) -> None:
        try:
            self._shared = acquire(folder, read_only=read_only, durable=durable)
        except lmdb.Error as error:
            raise _catalog_error(error) from error
        self._adopt()
        self._gate = self._shared.gate
        self._is_closed = False

    def _adopt(self) -> None:
        self._environment = self._shared.environment
        self._databases = self._shared.databases
        self._entries = self._databases["entries"]
        self._seen = Seen()

    def _history(
        self, transaction: lmdb.Transaction[bytes], *, is_writing: bool = False
    ) -> History:
        return History(transaction, self._databases, self._seen, is_writing=is_writing)

    # -- reading ---------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[CatalogView]:
        """A consistent view; keep it short, since it holds back the reuse of pages."""
        try:
            while True:
                with self._gate:
                    transaction = self._begin()
                    if transaction is not None:
                        with transaction:
                            yield CatalogView(
                                transaction, self._databases, self._history(transaction)
                            )
                        return
                self._catch_up()
        except lmdb.Error as error:
            raise _catalog_error(error) from error

    @property
    def _is_serving(self) -> bool:
        return not self._shared.is_broken and self._environment is self._shared.environment

    def _begin(self, *, write: bool = False) -> lmdb.Transaction[bytes] | None:
        """A transaction, or None when `_catch_up` has to come first.

        That is when another process has grown the map, or a write of LMDB's own failed.
        """
        if self._is_closed:
            raise ClosedError("the store is closed; open it again", ErrorKind.CLOSED)
        if not self._is_serving or (write and self._shared.stands_in):
            return None
        try:
            return self._environment.begin(self._entries, write=write)
        except lmdb.MapResizedError:
            return None
        except lmdb.PanicError:
            self._shared.is_broken = True
            return None

    def _catch_up(self, *, to_write: bool = False) -> None:
        """Have the environment that serves, with a map as large as its file needs."""
        with self._gate.shut():
            self._shared.renew(to_write=to_write)
            if self._is_serving:
                self._environment.set_mapsize(0)
            else:
                self._adopt()

    def lookup(self, fingerprint: bytes) -> list[Address]:
        """Addresses whose key has this fingerprint; nearly always none or one. About 2 us."""
        try:
            with self._gate:
                transaction = self._begin()
                if transaction is not None:
                    with transaction:
                        return matches(transaction.cursor(), fingerprint)
            self._catch_up()
            return self.lookup(fingerprint)
        except lmdb.Error as error:
            raise _catalog_error(error) from error

    def find_databases(self) -> None:
        """Look for databases that an older release did not make and a writer may have made since.

        A view of a transaction that is under way does not have them.
        """
        if len(self._databases) == len(DATABASES):
            return
        try:
            with self._gate.shut():
                if self._is_closed:
                    raise ClosedError("the store is closed; open it again", ErrorKind.CLOSED)
                find_databases(self._shared)
        except lmdb.Error as error:
            raise _catalog_error(error) from error

    # -- writing ---------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[CatalogWriter]:
        """A transaction that is committed (durably, unless relaxed) when the block ends.

        An exception inside the block leaves the catalog as it was.
        """
        try:
            with self._gate:
                transaction = self._begin(write=True)
                if transaction is None:
                    raise MapIsFullError
                try:
                    self._require_file()
                    history = self._history(transaction, is_writing=True)
                    yield CatalogWriter(transaction, self._databases, history)
                    history.sums.write()
                except BaseException:
                    transaction.abort()
                    raise
                transaction.commit()
        except lmdb.Error as error:
            if isinstance(error, lmdb.MapFullError):
                raise MapIsFullError from error
            raise _catalog_error(error) from error

    def _require_file(self) -> None:
        """Raise where LMDB's own file was removed: what it holds can still be read, no more.

        Where there is another one instead, that is opened next.
        """
        identity = self._shared.identity
        with refusals_named("looking at the catalog"):
            if identity is None or identity.is_same():
                return
        self._shared.is_broken = identity.is_there()
        raise CorruptionError(
            "catalog: data.mdb was removed or replaced: nothing was written; put it back",
            ErrorKind.BAD_CATALOG,
        )

    def grow(self) -> None:
        """Double the map, or open anew what is broken; this thread may have no transaction open."""
        try:
            if not self._is_serving or self._shared.stands_in:
                self._catch_up(to_write=True)
                return
            with self._gate.shut():
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
        except lmdb.Error as error:
            raise _catalog_error(error) from error

    def doubt(self) -> None:
        """Count again what this process has found right of versions, when it is read next."""
        self._seen = Seen()

    def last_change(self) -> int:
        """Number of the last transaction that was committed, by any process. About 3 us."""
        with self.reading() as view:
            return view.change()

    def file_bytes(self) -> int:
        """Bytes of the data file up to its last page in use."""
        try:
            if not self._is_serving:
                self._catch_up()
            with self._gate:
                if self._is_closed:
                    raise ClosedError("the store is closed; open it again", ErrorKind.CLOSED)
                info = self._environment.info()
                return (info["last_pgno"] + 1) * self._environment.stat()["psize"]
        except lmdb.Error as error:
            raise _catalog_error(error) from error

    def close(self) -> None:
        """Give up the environment; idempotent, and harmless in a forked child."""
        if not self._is_closed:
            self._is_closed = True
            release(self._shared)


class MapIsFullError(Exception):
    """The map must be grown and the transaction done again; never reaches a caller."""
