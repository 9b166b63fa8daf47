"""May a store be used now: can it be opened and read, is damage known, is there room."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from titanstore.catalog.catalog import Catalog
from titanstore.codec.choose import decode_frame
from titanstore.errors import CorruptionError, ErrorKind, StoreError
from titanstore.folder import open_folder
from titanstore.segments.disk import refusals_named
from titanstore.segments.reader import SegmentReader

OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes of a file system: its size, and what is left for whoever is not root."""

    free: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What `/readyz` answers: "ok", or in a few words why not. Never a key or a path.

    Attributes
    ----------
    store
        It was opened and a vector of it was read.
    damage
        None is known.
    disk
        More than the wanted bytes are free.
    """

    store: str
    damage: str
    disk: str

    @property
    def is_ready(self) -> bool:
        """Everything is as it should be."""
        return self.store == self.damage == self.disk == OK


def room_of(path: Path) -> Room:
    """The file system that a folder is on. Raises OSError."""
    found = os.statvfs(path)
    return Room(free=found.f_bavail * found.f_frsize, size=found.f_blocks * found.f_frsize)


def read_one(path: Path, place: bytes) -> None:
    """Read one vector of a store from its file, checksum included; any vector will do.

    Parameters
    ----------
    place
        The first entry from here on, in the order of fingerprints, else the very first.

    Raises
    ------
    CorruptionError
        It, or what leads to it, is not what was written.
    StoreError
        The store cannot be opened or read.
    """
    with refusals_named("reading the store"):
        folder, _ = open_folder(path, read_only=True, create=False)
        catalog = Catalog(folder.catalog, read_only=True, durable=True)
        # never mapped here: who cuts a file short must not kill the exporter
        reader = SegmentReader(folder.segments, folder.store_id, by_pread=True)
        try:
            with catalog.reading() as view:
                found = view.entries_from(place, 1) or view.entries_from(b"", 1)
            for fingerprint, address in found:
                try:
                    record = reader.record(address)
                    if record.key.fingerprint() != fingerprint:
                        raise CorruptionError(
                            "the catalog leads to another key", ErrorKind.BAD_CATALOG
                        )
                    decode_frame(record.frame)
                except StoreError:
                    # a writer may have replaced or moved it since
                    if address in catalog.lookup(fingerprint):
                        raise
        finally:
            reader.close()
            catalog.close()
