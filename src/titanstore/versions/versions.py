"""What a writer does with versions: take them, name them, go back to them, let them go.

Each is one transaction, so that a crash leaves the state before it or after it; retention of a
large history is several, and each of them leaves a whole one. No record is copied: a version leads
to records that are kept because it needs them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from titanstore.catalog.catalog import Catalog
from titanstore.catalog.history import ENTRIES, unpack_addresses
from titanstore.catalog.layout import StoredVersion
from titanstore.catalog.views import CatalogWriter
from titanstore.changes import Outcome, in_transaction, row_address
from titanstore.codec.frame import checked_body
from titanstore.errors import CorruptionError, ErrorKind, InvalidInputError, NotFoundError
from titanstore.segments.layout import NO_ROW, Address, Record
from titanstore.segments.planes import RowAddress
from titanstore.segments.reader import SegmentReader
from titanstore.types import Origin, Version
from titanstore.versions.naming import VersionName, checked_name, find_version, kept_versions
from titanstore.versions.retention import Retention


class RolledBack(NamedTuple):
    """What a rollback did."""

    version: Version  # the new one
    outcome: Outcome
    revived: list[Address]  # records that became current again


@dataclass(slots=True)
class _Turned:
    """What a rollback changes, so far."""

    come: set[str] = field(default_factory=set)  # keys whose records come back
    left: set[str] = field(default_factory=set)  # keys whose records go
    revived: list[Address] = field(default_factory=list)
    fingerprints: list[bytes] = field(default_factory=list)  # of the revived
    rows: list[RowAddress] = field(default_factory=list)  # of those that go


class Versions:
    """Versions of one store. One thread at a time; the store's write lock sees to it.

    Parameters
    ----------
    announce
        Told the fingerprints of keys that a rollback brings back, before they can be seen.
    on_revive
        Given the transaction and the addresses of records that become current again, before the
        commit; perhaps twice.
    on_first
        Called before the first version of a store is committed that has sums: from then on a
        release that knows nothing of versions, or of their sums, must not write to it.
    clock
        Unix time, seconds.
    """

    def __init__(
        self,
        catalog: Catalog,
        reader: SegmentReader,
        *,
        announce: Callable[[list[bytes]], None] | None = None,
        on_revive: Callable[[CatalogWriter, list[Address]], None] | None = None,
        on_first: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._reader = reader
        self._announce = announce
        self._on_revive = on_revive
        self._on_first = on_first
        self._clock = clock

    # -- taking and naming -----------------------------------------------------------------

    def snapshot(self, label: str | None) -> Version:
        """Make the present state a version. Cost does not depend on the size of the store."""
        name = None if label is None else checked_name(label, "label")
        return in_transaction(self._catalog, lambda view: self._take(view, name, "snapshot"))

    def _take(self, view: CatalogWriter, label: str | None, origin: Origin) -> Version:
        if self._on_first is not None and not view.history.has_sums():
            self._on_first()
        version = Version(
            number=view.take_version_number(),
            label=label,
            created_s=self._clock(),
            vectors=view.entry_count(),
            documents=view.document_count(),
            tags=(),
            origin=origin,
        )
        view.history.set_version(StoredVersion(version))
        return version

    def tag(self, wanted: VersionName, tag: str) -> Version:
        """Give a version a name that keeps it from retention; TAG_IN_USE if another has it."""
        name = checked_name(tag, "tag")

        def change(view: CatalogWriter) -> Version:
            version = find_version(view, wanted)
            for other in kept_versions(view):
                if name in other.tags and other.number != version.number:
                    raise InvalidInputError(
                        f"version {other.number} has the tag {name!r}; take it away first",
                        ErrorKind.TAG_IN_USE,
                    )
            return _with_tags(view, version, {*version.tags, name})

        return in_transaction(self._catalog, change)

    def untag(self, tag: str) -> Version:
        """Take a tag away; UNKNOWN_VERSION if no version has it."""
        name = checked_name(tag, "tag")

        def change(view: CatalogWriter) -> Version:
            tagged = [version for version in kept_versions(view) if version.tags]
            for version in tagged:
                if name in version.tags:
                    return _with_tags(view, version, {*version.tags} - {name})
            tags = ", ".join(repr(each) for version in tagged for each in version.tags)
            raise NotFoundError(
                f"no version has the tag {name!r}; there are: {tags or 'none'}",
                ErrorKind.UNKNOWN_VERSION,
            )

        return in_transaction(self._catalog, change)

    # -- going back ------------------------------------------------------------------------

    def rollback(self, wanted: VersionName) -> RolledBack:
        """Make a version the present state again, after taking one of the state that it ends.

        Cost grows with what has changed since, not with the size of the store; memory too, as it
        is one transaction.

        Raises
        ------
        NotFoundError
            UNKNOWN_VERSION, VERSION_GONE.
        CorruptionError
            A record that would be current again is damaged; nothing was changed.
        """
        return in_transaction(
            self._catalog, lambda view: self._roll_back(view, find_version(view, wanted).number)
        )

    def _roll_back(self, view: CatalogWriter, number: int) -> RolledBack:
        history = view.history
        touched = history.touched([each for each in history.numbers() if each >= number])
        self._take(view, None, "before-rollback")
        turned = _Turned()
        while touched:  # what is dealt with is let go: there may be millions
            place, value = touched.popitem()
            before = view.value(place)
            if before == value:
                continue
            if place[:1] == ENTRIES:
                self._turn(turned, place[1:], unpack_addresses(before), unpack_addresses(value))
            view.set_value(place, value)
        if turned.revived:
            view.count_revival()
            if self._announce is not None:
                self._announce(turned.fingerprints)
            if self._on_revive is not None:
                self._on_revive(view, turned.revived)
        version = self._take(view, None, "rollback")
        outcome = Outcome(
            replaced=len(turned.left & turned.come),
            deleted=len(turned.left - turned.come),
            stale=tuple(sorted(turned.left)),
            retired=tuple(turned.rows),
        )
        return RolledBack(version, outcome, turned.revived)

    def _turn(
        self, turned: _Turned, fingerprint: bytes, old: list[Address], new: list[Address]
    ) -> None:
        """Note what becomes of one fingerprint's records; each that comes back is whole."""
        for address in new:
            if address not in old:
                record = self._record(fingerprint, address)
                checked_body(record.frame, record.header)
                turned.come.add(record.key.text)
                turned.revived.append(address)
                turned.fingerprints.append(fingerprint)
        for address in old:
            if address not in new:
                record = self._record(fingerprint, address)
                turned.left.add(record.key.text)
                if record.row != NO_ROW:
                    turned.rows.append(row_address(address, record))

    def _record(self, fingerprint: bytes, address: Address) -> Record:
        record = self._reader.record(address)
        if record.key.fingerprint() != fingerprint:
            raise CorruptionError(
                f"catalog: {address} holds a record of another key", ErrorKind.BAD_CATALOG
            )
        return record

    # -- letting go ------------------------------------------------------------------------

    def drop(self, keep: int) -> int:
        """Give up the oldest versions without a tag beyond `keep`; returns how many."""
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 0:
            raise InvalidInputError(
                f"keep: {keep!r}, wanted a number of versions, 0 or more", ErrorKind.BAD_SETTING
            )
        return Retention(self._catalog, self._reader).run(keep)


def _with_tags(view: CatalogWriter, version: Version, tags: set[str]) -> Version:
    changed = replace(version, tags=tuple(sorted(tags)))
    if changed != version:
        view.history.set_version(StoredVersion(changed))
    return changed
