"""LangChain's `LocalFileStore` as `CacheBackedEmbeddings` fills it: a file a key, JSON inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from titanstore.migration.exact import decoded
from titanstore.migration.folders import files_of, folder_stamp
from titanstore.migration.source import Batch, SourceOptions, reading, refused

VALUE_BYTES_MAX = 4 * 2**20  # 16383 values of 25 digits are 0.4 MB


class LocalStore:
    """Every file below the folder; its path there is the key, namespace and digest of the text."""

    kind: Literal["langchain"] = "langchain"

    def __init__(self, path: Path, options: SourceOptions) -> None:
        if options.text is not None:
            raise refused("LangChain keeps digests of texts: keys cannot be made from the texts")
        self._path = path
        self._options = options

    def fingerprint(self) -> str:
        """Of all its files."""
        return folder_stamp(self._path)

    def count(self) -> int | None:
        """Number of files."""
        return sum(1 for _ in files_of(self._path))

    def batches(self) -> Iterator[Batch]:
        """All vectors, in the order of the disk."""
        batch = Batch([], [], [])
        for key, path in files_of(self._path):
            with reading(path):
                if path.stat().st_size > VALUE_BYTES_MAX:
                    raise refused(f"{path} is too large for a vector")
                value = path.read_bytes()
            batch.keys.append(key)
            batch.vectors.append(decoded(value, key, self._options))
            batch.documents.append(None)
            if len(batch.keys) == self._options.batch_rows:
                yield batch
                batch = Batch([], [], [])
        if batch.keys:
            yield batch
