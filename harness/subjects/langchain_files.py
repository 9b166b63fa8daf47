"""LangChain's CacheBackedEmbeddings over its LocalFileStore: what an application has today.

Settings: the key encoder that its documentation asks for (blake2b instead of SHA-1). It writes a
file a text, as JSON, and leaves the disk to the kernel: the files are fsync'd here before a put
returns. It hands out lists of floats, made into an array here as every caller with vectors does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.subject import Vectors
from harness.subjects.disk import sync_files

__all__ = ["LangChainSubject"]


class LangChainSubject:
    """One cache over one folder; texts are the keys. One thread."""

    name = "langchain-files"
    capabilities = frozenset({"durable", "shared"})

    def __init__(self, path: Path) -> None:
        # a rival's packages are loaded only when it is measured
        from langchain_classic.embeddings import CacheBackedEmbeddings
        from langchain_classic.storage import LocalFileStore
        from langchain_core.embeddings import Embeddings

        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._new: Mapping[str, Vectors] = {}

        class Model(Embeddings):  # type: ignore[misc]  # not typed for us
            """Answers with what is being put; a text that was never put is an error."""

            def embed_documents(inner, texts: list[str]) -> list[list[float]]:  # noqa: N805
                return [self._new[text].tolist() for text in texts]

            def embed_query(inner, text: str) -> list[float]:  # noqa: N805
                return inner.embed_documents([text])[0]

        self._cache: Any = CacheBackedEmbeddings.from_bytes_store(
            Model(), LocalFileStore(path), key_encoder=_file_name
        )
        self.get: Callable[[str], Vectors] = self._get

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """A file a vector, each fsync'd; one that is there is removed, for it never changes."""
        self._new = dict(zip(keys, vectors, strict=True))
        files = [self._path / _file_name(key) for key in keys]
        for file in files:
            file.unlink(missing_ok=True)
        self._cache.embed_documents(list(keys))
        self._new = {}
        sync_files(files)

    def _get(self, key: str) -> Vectors:
        return np.asarray(self._cache.embed_documents([key])[0], np.float32)

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """One call for all."""
        return np.asarray(self._cache.embed_documents(list(keys)), np.float32)

    def stored_bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self._path.iterdir())

    def close(self) -> None:
        """Nothing is open."""


def _file_name(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
