"""What `EmbeddingStore` offers of versions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from titanstore.catalog.catalog import Catalog
from titanstore.segments.reader import SegmentReader
from titanstore.types import Difference, Version
from titanstore.versions.difference import difference
from titanstore.versions.naming import VersionName, find_version, kept_versions
from titanstore.versions.versions import RolledBack, Versions
from titanstore.versions.view import VersionView, settled

_Result = TypeVar("_Result")


class VersionedStore(ABC):
    """The part of a store that knows versions.

    A version is a number, a tag, a label (the newest that has it) or a `Version`. What is not there
    raises NotFoundError: UNKNOWN_VERSION, or VERSION_GONE where retention took it.
    """

    @abstractmethod
    def _past(self) -> tuple[Catalog, SegmentReader]:
        """Catalog and segments of this process, ready to be read."""

    @abstractmethod
    def _change_versions(self, change: Callable[[Versions], _Result]) -> _Result:
        """Do `change` as the only writer."""

    @abstractmethod
    def _roll_back(self, change: Callable[[Versions], RolledBack]) -> Version:
        """Do `change` as the only writer, and let every process know."""

    def snapshot(self, label: str | None = None) -> Version:
        """Make the present state a version, to be read and gone back to; durable when it returns.

        Costs one commit, whatever the size of the store; from then on, each value costs one more
        catalog record the first time that it changes.

        Parameters
        ----------
        label
            1 to 480 bytes of UTF-8; several versions may have the same one.

        Raises
        ------
        InvalidInputError
            EMPTY_KEY, KEY_TOO_LONG, KEY_NOT_TEXT.
        ReadOnlyError, StorageError, ClosedError
        """
        return self._change_versions(lambda versions: versions.snapshot(label))

    def versions(self) -> list[Version]:
        """All versions, oldest first."""
        catalog, _ = self._past()
        with catalog.reading() as view:
            return kept_versions(view)

    def at(self, version: VersionName) -> VersionView:
        """The store as it was: to be read, beside writers, for as long as the version is kept.

        Raises
        ------
        NotFoundError
            UNKNOWN_VERSION, VERSION_GONE.
        """
        catalog, _ = self._past()
        with catalog.reading() as view:
            return VersionView(find_version(view, version), self._past)

    def diff(self, a: VersionName, b: VersionName | None = None) -> Difference:
        """What makes version `a` version `b`, or the present state. Cost grows with the changes.

        Raises
        ------
        NotFoundError
            UNKNOWN_VERSION, VERSION_GONE.
        CorruptionError, ClosedError
        """
        catalog, reader = self._past()

        def compare() -> Difference:
            with catalog.reading() as view:
                other = None if b is None else find_version(view, b).number
                return difference(view, reader, find_version(view, a).number, other)

        return settled(compare)

    def rollback(self, version: VersionName) -> Version:
        """Make a version the present state again, all or nothing; returns the new version.

        Nothing is destroyed: a version of the state that this ends is taken first (origin
        "before-rollback"), then one of the state that it makes ("rollback"). Readers of every
        process see it at once. Cost grows with what has changed since, not with the store.

        Raises
        ------
        NotFoundError
            UNKNOWN_VERSION; VERSION_GONE: the message names the oldest one still there.
        CorruptionError
            A vector that would come back is damaged; nothing was changed.
        ReadOnlyError, StorageError, ClosedError
        """
        return self._roll_back(lambda versions: versions.rollback(version))

    def tag(self, version: VersionName, name: str) -> Version:
        """Give a version a name that keeps it from retention; returns it.

        Raises
        ------
        NotFoundError
            UNKNOWN_VERSION, VERSION_GONE.
        InvalidInputError
            TAG_IN_USE: another version has it. EMPTY_KEY, KEY_TOO_LONG, KEY_NOT_TEXT.
        ReadOnlyError, StorageError, ClosedError
        """
        return self._change_versions(lambda versions: versions.tag(version, name))

    def untag(self, name: str) -> Version:
        """Take a tag away; returns the version that had it. UNKNOWN_VERSION if none has."""
        return self._change_versions(lambda versions: versions.untag(name))

    def drop_versions(self, keep: int) -> int:
        """Give up the oldest versions without a tag beyond the newest `keep`; returns how many.

        The vectors that only they needed become dead bytes for `maintain` to give back, which
        also calls this by the setting `versions_max`. Safe to interrupt at any moment.

        Raises
        ------
        InvalidInputError
            BAD_SETTING: `keep` is not a number, 0 or more.
        ReadOnlyError, StorageError, ClosedError
        """
        return self._change_versions(lambda versions: versions.drop(keep))
