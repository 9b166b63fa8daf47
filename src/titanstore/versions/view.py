"""Reading a store as it was, while others go on writing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from titanstore.catalog.catalog import Catalog
from titanstore.catalog.lookups import PastView
from titanstore.codec.base import Vector
from titanstore.codec.choose import decode_frame
from titanstore.codec.frame import parse_header
from titanstore.errors import CorruptionError, ErrorKind, InvalidInputError, NotFoundError
from titanstore.keys import StoredKey, stored_key
from titanstore.segments.layout import Record
from titanstore.segments.reader import SegmentReader
from titanstore.tiers.cold import document_records, match_record
from titanstore.types import Version
from titanstore.versions.naming import checked_name, find_version

_Result = TypeVar("_Result")
_PAGE_ENTRIES = 5_000  # entries a read transaction: a long one would hold back LMDB's pages
_NAMED = 3


def settled(read: Callable[[], _Result]) -> _Result:
    """What `read` gives; once more where a segment was missing.

    Compaction may have moved a record and removed its segment since the transaction began; the
    second answer is to be believed.
    """
    try:
        return read()
    except CorruptionError as error:
        if error.kind is not ErrorKind.MISSING_SEGMENT:
            raise
        return read()


class VersionView:
    """One version of a store, to be read only; from `EmbeddingStore.at`.

    Good in any thread, beside writers of this and other processes, and as long as the store is
    open. It keeps nothing in memory: each call opens a transaction of its own, and decodes. When
    retention takes the version away, each call raises NotFoundError (VERSION_GONE); a tag keeps it.

    Attributes
    ----------
    version
        What it was when this view was made.
    """

    def __init__(
        self, version: Version, rooms: Callable[[], tuple[Catalog, SegmentReader]]
    ) -> None:
        self.version = version
        self._rooms = rooms

    def get(self, key: str) -> Vector:
        """The vector that a key had, bit for bit.

        Returns
        -------
        ndarray of float32, shape (dimension,), read-only
            Yours to keep.

        Raises
        ------
        NotFoundError
            UNKNOWN_KEY, VERSION_GONE.
        InvalidInputError, CorruptionError, ClosedError, StorageError
            As `EmbeddingStore.get`.
        """
        row = self._decoded(key, self._records([stored_key(key)])[0])
        row.flags.writeable = False
        return row

    def get_many(self, keys: Sequence[str]) -> NDArray[np.float32]:
        """The vectors that many keys had, in their order; a key may come twice.

        Returns
        -------
        ndarray of float32, shape (len(keys), dimension), C order
            Freshly allocated and writable. Shape (0, 0) for no keys.

        Raises
        ------
        NotFoundError
            UNKNOWN_KEY: one or more had no vector; the message counts and names them.
            VERSION_GONE.
        InvalidInputError
            MIXED_DIMENSIONS; and as `get`.
        CorruptionError, ClosedError, StorageError
        """
        texts = list(keys)
        records = self._records([stored_key(key) for key in texts])
        absent = [key for key, record in zip(texts, records, strict=True) if record is None]
        if absent:
            shown = ", ".join(repr(key) for key in absent[:_NAMED])
            raise NotFoundError(
                f"{len(absent)} of {len(texts)} keys had no vector in version "
                f"{self.version.number}: {shown}{', ...' if len(absent) > _NAMED else ''}",
                ErrorKind.UNKNOWN_KEY,
            )
        found = {parse_header(record.frame).dimension for record in records if record is not None}
        if len(found) > 1:
            raise InvalidInputError(
                f"the keys have vectors of dimensions {sorted(found)}; ask for one at a time",
                ErrorKind.MIXED_DIMENSIONS,
            )
        out = np.empty((len(texts), found.pop() if found else 0), np.float32)
        words = out.view(np.uint32)
        for place, (key, record) in enumerate(zip(texts, records, strict=True)):
            words[place] = self._decoded(key, record).view(np.uint32)
        return out

    def keys(self) -> list[str]:
        """All keys, sorted. Cost grows with the size of the store; it decodes nothing."""
        found: list[str] = []
        start: bytes | None = bytes(4)
        while start is not None:
            page, start = self._page(start)
            found += page
        return sorted(found)

    def __contains__(self, key: object) -> bool:
        """Had this key a vector? Decodes nothing."""
        return isinstance(key, str) and self._records([stored_key(key)])[0] is not None

    def __len__(self) -> int:
        """Number of vectors."""
        return self._ask(lambda _, __: self.version.vectors)

    def documents(self) -> list[str]:
        """Names of all documents, sorted."""
        return self._ask(lambda view, _: sorted(name for _, name, _ in view.documents()))

    def document_keys(self, document: str) -> list[str]:
        """Keys of a document in its order.

        Raises
        ------
        NotFoundError
            UNKNOWN_DOCUMENT, VERSION_GONE.
        """
        name = checked_name(document, "document name")

        def read(view: PastView, reader: SegmentReader) -> list[str] | None:
            number = view.document_number(name)
            if number is None:
                return None
            return [record.key.text for _, record in document_records(view, reader, number)]

        keys = self._ask(read)
        if keys is None:
            raise NotFoundError(
                f"no document {name!r} in version {self.version.number}",
                ErrorKind.UNKNOWN_DOCUMENT,
            )
        return keys

    # -- one transaction -------------------------------------------------------------------

    def _ask(self, read: Callable[[PastView, SegmentReader], _Result]) -> _Result:
        catalog, reader = self._rooms()

        def ask() -> _Result:
            with catalog.reading() as view:
                return read(view.at(find_version(view, self.version).number), reader)

        return settled(ask)

    def _records(self, keys: Sequence[StoredKey]) -> list[Record | None]:
        def read(view: PastView, reader: SegmentReader) -> list[Record | None]:
            found = view.lookup_many([key.fingerprint() for key in keys])
            pairs = zip(keys, found, strict=True)
            matched = [match_record(reader.record, key, addresses) for key, addresses in pairs]
            return [None if pair is None else pair[1] for pair in matched]

        return self._ask(read)

    def _page(self, start: bytes) -> tuple[list[str], bytes | None]:
        def read(view: PastView, reader: SegmentReader) -> tuple[list[str], bytes | None]:
            entries, following = view.entries(start, _PAGE_ENTRIES)
            addresses = (address for each in entries.values() for address in each)
            return [reader.record(address).key.text for address in addresses], following

        return self._ask(read)

    def _decoded(self, key: str, record: Record | None) -> Vector:
        if record is None:
            raise NotFoundError(
                f"no vector for key {key!r} in version {self.version.number}",
                ErrorKind.UNKNOWN_KEY,
            )
        try:
            return decode_frame(record.frame)
        except CorruptionError as error:
            raise CorruptionError(f"key {key!r}: {error}", error.kind) from error
