"""titanstore as a subject. The only file of the harness that imports the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import titanstore
from harness.subject import Vectors

__all__ = [
    "LOADED_ON_USE",
    "STARTUP_PROGRAM",
    "ReferenceSubject",
    "effective_config",
    "effective_settings",
    "embedding_key",
    "migrate_npy",
]

embedding_key = titanstore.embedding_key

# Modules that a store loads when it first needs them: what a control process imports as well
LOADED_ON_USE = ("lmdb._envid", "numkong")

# What `startup.time` runs: a user's first lines, and the times at which they were reached
STARTUP_PROGRAM = """
import json, sys, time
started = time.monotonic()
import titanstore
imported = time.monotonic()
config = titanstore.StoreConfig(**json.loads(sys.argv[3]))
store = titanstore.EmbeddingStore.open(sys.argv[1], config, read_only=True)
opened = time.monotonic()
vector = store.get(sys.argv[2])
first = time.monotonic()
print(json.dumps({"first_vector": first, "import_s": imported - started,
                  "open_s": opened - imported, "vectors": len(store)}))
"""


def effective_config(file: Path | None) -> tuple[dict[str, object], str]:
    """The settings of a run and their digest.

    Raises
    ------
    titanstore.InvalidInputError
        BAD_SETTING.
    """
    return _with_digest(asdict(titanstore.load_config(file=file)))


def effective_settings(
    settings: Mapping[str, object], **changed: object
) -> tuple[dict[str, object], str]:
    """A run's settings with some changed, and the digest of that configuration.

    Raises
    ------
    titanstore.InvalidInputError
        BAD_SETTING.
    """
    config = titanstore.StoreConfig(**{**settings, **changed})  # type: ignore[arg-type]  # checked
    return _with_digest(asdict(config))


def _with_digest(settings: dict[str, object]) -> tuple[dict[str, object], str]:
    text = json.dumps(settings, sort_keys=True)
    return settings, hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def migrate_npy(source: Path, keys_file: Path, path: Path, settings: Mapping[str, object]) -> None:
    """Move the rows of a .npy into a store, with a key a line of `keys_file`; raises StoreError."""
    # here: workers that weigh a process must not carry sqlite3, zipfile and the like
    from titanstore.migration import SourceOptions, migrate

    migrate(
        source,
        path,
        SourceOptions(keys_file=keys_file),
        config=titanstore.StoreConfig(**settings),  # type: ignore[arg-type]  # checked
    )


class ReferenceSubject:
    """One open EmbeddingStore."""

    name = "titanstore"
    capabilities = frozenset({"durable", "documents", "rollback", "search", "shared"})
    errors: type[Exception] = titanstore.StoreError

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, object] | None = None,
        *,
        read_only: bool = False,
        create: bool = True,
    ) -> None:
        config = titanstore.StoreConfig(**(settings or {}))  # type: ignore[arg-type]  # checked
        self.store = titanstore.EmbeddingStore.open(
            path, config, read_only=read_only, create=create
        )
        self.path = path
        self.get: Callable[[str], Vectors] = self.store.get

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """One durable transaction."""
        self.store.put_many(keys, vectors)

    def put_document(self, document: str, keys: Sequence[str], vectors: Vectors) -> None:
        """One durable transaction; the keys join the document."""
        self.store.put_many(keys, vectors, document)

    def update_document(self, document: str, chunks: Sequence[tuple[str, Vectors]]) -> None:
        """Only what changed is written."""
        self.store.update_document(document, chunks)

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """Shape (len(keys), dimension)."""
        return self.store.get_many(keys)

    def search(
        self, query: Vectors, k: int = 10, metric: str = "cosine"
    ) -> Sequence[tuple[str, float]]:
        """The k nearest as (key, distance)."""
        return self.store.search(query, k, metric=metric)

    def search_many(
        self, queries: Vectors, k: int = 10, metric: str = "cosine"
    ) -> Sequence[Sequence[tuple[str, float]]]:
        """`search` of each query, in one call."""
        return self.store.search_many(queries, k, metric=metric)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove keys, from their documents too."""
        self.store.delete(keys)

    def maintain(self) -> None:
        """What the store wants done off the request path."""
        self.store.maintain()

    def snapshot(self, label: str) -> int:
        """Number of a version that holds the present state."""
        return self.store.snapshot(label).number

    def get_at(self, version: int, key: str) -> Vectors:
        """The vector that a key had in a version."""
        return self.store.at(version).get(key)

    def rollback(self, version: int) -> None:
        """Make a version's state the present one."""
        self.store.rollback(version)

    def version_numbers(self) -> list[int]:
        """Numbers of all versions, oldest first."""
        return [version.number for version in self.store.versions()]

    def documents(self) -> dict[str, list[str]]:
        """Keys of every document, in order."""
        return {name: self.store.document_keys(name) for name in self.store.documents()}

    def __len__(self) -> int:
        """Number of vectors."""
        return len(self.store)

    def bedrock(self, client: Any) -> Any:
        """A `bedrock-runtime` client that answers Titan embeddings from the store."""
        from titanstore.clients.bedrock import wrap  # boto3: only here, and only when asked for

        return wrap(client, self.store)

    def lance_trouble(self) -> str:
        """Why the last search that wanted a LanceDB table scanned instead; empty if none did."""
        return self.store.stats().lance_trouble or ""

    def counters(self) -> dict[str, int]:
        """What the store counted since it was opened."""
        return self.store.stats().counters

    def tiers(self) -> dict[str, int]:
        """Bytes that the store says its tiers hold."""
        stats = self.store.stats()
        return {"hot": stats.hot_bytes, "warm": stats.warm_bytes}

    def resident(self) -> dict[str, int]:
        """What the tiers hold: rows, frames, and their bytes with the bookkeeping of each."""
        stats = self.store.stats()
        names = ("hot_rows", "hot_bytes", "warm_frames", "warm_bytes")
        return {name: int(getattr(stats, name)) for name in names}

    def space(self) -> dict[str, int]:
        """Bytes on the disk by part, and the number of vectors."""
        stats = self.store.stats()
        return {
            "segments": stats.segment_bytes,
            "planes": stats.plane_bytes,
            "dead": stats.dead_bytes,
            "catalog": stats.catalog_bytes,
            "vectors": stats.vectors,
        }

    def vector_bytes(self) -> int:
        """Committed bytes that grow with each vector, the catalog's left out."""
        stats = self.store.stats()
        return stats.segment_bytes + stats.plane_bytes

    def file_bytes(self) -> int:
        """Bytes on the disk of every file of the store, the catalog's left out.

        Holes of sparse files take no space and do not count.
        """
        found = [path for path in self.path.rglob("*") if path.is_file()]
        kept = [path.stat() for path in found if "catalog" not in path.relative_to(self.path).parts]
        return sum(min(one.st_size, 512 * one.st_blocks) for one in kept)

    def problems(self) -> list[str]:
        """What the store's own integrity walk finds."""
        return [f"{p.kind}: {p.place}: {p.message}" for p in self.store.check().problems]

    def wait_for_prefetch(self) -> None:
        """Until no prefetch is under way."""
        self.store.wait_for_prefetch()

    def stored_bytes(self) -> int:
        """Segments, planes and catalog."""
        return self.store.stats().disk_bytes

    def close(self) -> None:
        """Close the store; idempotent."""
        self.store.close()
