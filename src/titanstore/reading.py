"""What `EmbeddingStore` offers to whoever asks what is there."""

from __future__ import annotations

from abc import ABC, abstractmethod

from titanstore.catalog.catalog import Catalog
from titanstore.errors import ErrorKind, NotFoundError
from titanstore.keys import stored_key
from titanstore.tiers.cold import ColdTier
from titanstore.vectors import checked_document


class ReadableStore(ABC):
    """The part of a store that counts and names what it has. Decodes nothing, moves nothing."""

    @abstractmethod
    def _present(self) -> tuple[Catalog, ColdTier]:
        """Catalog and files of this process, ready to be read."""

    def __contains__(self, key: object) -> bool:
        """Is there a vector for this key?"""
        _, cold = self._present()
        return isinstance(key, str) and cold.find(stored_key(key)) is not None

    def __len__(self) -> int:
        """Number of vectors."""
        catalog, _ = self._present()
        with catalog.reading() as view:
            return view.entry_count()

    def documents(self) -> list[str]:
        """Names of all documents, sorted."""
        catalog, _ = self._present()
        with catalog.reading() as view:
            return sorted(name for _, name, _ in view.documents())

    def document_keys(self, document: str) -> list[str]:
        """Keys of a document in its order.

        Raises
        ------
        NotFoundError
            UNKNOWN_DOCUMENT.
        """
        _, cold = self._present()
        name = checked_document(document)
        keys = cold.document_keys(name)
        if keys is None:
            raise NotFoundError(f"no document {name!r}", ErrorKind.UNKNOWN_DOCUMENT)
        return [key.text for key in keys]
