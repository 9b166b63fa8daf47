"""titanstore as a subject. The only file of the harness that imports the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import titanstore
from harness.subject import Vectors

__all__ = ["STARTUP_PROGRAM", "ReferenceSubject", "effective_config", "embedding_key"]

embedding_key = titanstore.embedding_key

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
    settings = asdict(titanstore.load_config(file=file))
    text = json.dumps(settings, sort_keys=True)
    return settings, hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class ReferenceSubject:
    """One open EmbeddingStore."""

    name = "titanstore"
    capabilities = frozenset({"durable", "documents", "shared"})
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

    def counters(self) -> dict[str, int]:
        """What the store counted since it was opened."""
        return self.store.stats().counters

    def tiers(self) -> dict[str, int]:
        """Bytes that the store says its tiers hold."""
        stats = self.store.stats()
        return {"hot": stats.hot_bytes, "warm": stats.warm_bytes}

    def space(self) -> dict[str, int]:
        """Bytes on the disk by part, and the number of vectors."""
        stats = self.store.stats()
        return {
            "segments": stats.segment_bytes,
            "dead": stats.dead_bytes,
            "catalog": stats.catalog_bytes,
            "vectors": stats.vectors,
        }

    def problems(self) -> list[str]:
        """What the store's own integrity walk finds."""
        return [f"{p.kind}: {p.place}: {p.message}" for p in self.store.check().problems]

    def wait_for_prefetch(self) -> None:
        """Until no prefetch is under way."""
        self.store.wait_for_prefetch()

    def stored_bytes(self) -> int:
        """Segments and catalog."""
        space = self.space()
        return space["segments"] + space["catalog"]

    def close(self) -> None:
        """Close the store; idempotent."""
        self.store.close()
