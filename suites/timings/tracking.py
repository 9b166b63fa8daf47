"""What is counted and not timed: bytes on the disk, hits of the hot tier. Exact, so never noise."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np

from harness.workload.editing import EditingSession, editing_session
from harness.workload.trace import Operation, Trace
from titanstore import EmbeddingStore, StoreStats

from . import prepared

_READS = 1_500 if prepared.SIZE == "smoke" else 10_000


class Space:
    """A store of 62 vectors as one way of serving gives them, with what search needs."""

    version = prepared.version(1)
    params = prepared.KINDS
    param_names = ("serving",)

    def setup(self, serving: str) -> None:
        vectors = prepared.vectors_of(serving)
        keys = [f"{row:032x}" for row in range(len(vectors))]
        self.raw_bytes = vectors.nbytes
        self.folder = tempfile.mkdtemp(prefix="timings-")
        with EmbeddingStore.open(Path(self.folder) / "store", prepared.config()) as store:
            store.put_many(keys, vectors)
            prepared.check_bits(store.get_many(keys), vectors)
            self.stats: StoreStats = store.stats()

    def teardown(self, serving: str) -> None:
        shutil.rmtree(self.folder)

    def track_vector_bytes(self, serving: str) -> float:
        """Bytes of frames, records and codes for one vector; the catalog's are left out."""
        return (self.stats.segment_bytes + self.stats.plane_bytes) / self.stats.vectors

    track_vector_bytes.unit = "bytes"  # type: ignore[attr-defined]  # asv reads it there

    def track_saved(self, serving: str) -> float:
        """Percent of the raw bytes that those save. The gate `compression.saving` counts more."""
        return 100 * (1 - self.track_vector_bytes(serving) * self.stats.vectors / self.raw_bytes)

    track_saved.unit = "percent"  # type: ignore[attr-defined]


class HitRatio:
    """Reads that the hot tier serves in an editing session, with the store's own defaults.

    The next read waits for the prefetch of the one before, so that the count is exact; the gate
    `hit_ratio.hot` replays at the pace of a caller.
    """

    version = prepared.version(1)
    unit = "percent"
    timeout = 300

    def setup(self) -> None:
        session = EditingSession(
            documents=max(prepared.DOCUMENTS, 20), dimension=prepared.DIMENSION, reads=_READS
        )
        self.trace: Trace = editing_session(prepared.SEED, session)
        path = prepared.folder("hit_ratio")
        self.store: EmbeddingStore = EmbeddingStore.open(path, prepared.config())
        count = self.trace.chunks_per_document
        self.keys = [
            [_key(document * count + chunk) for chunk in range(count)]
            for document in range(self.trace.documents)
        ]
        for document in range(self.trace.documents):
            self._save(document)
        self.store.close()
        self.store = EmbeddingStore.open(path, prepared.config())  # tiers empty, as a trace begins

    def _save(self, document: int) -> None:
        keys = self.keys[document]
        chunks = [(key, _row(key)) for key in keys]
        self.store.update_document(f"document {document}", chunks)

    def track_hot(self) -> float:
        before = self.store.stats().counters["hot_hits"]
        changed: int | None = None
        visit = -1
        for access in self.trace:
            if access.visit != visit and changed is not None:
                self._save(changed)
                changed = None
            visit = access.visit
            if access.operation == Operation.WRITE:
                self.keys[access.document][access.chunk] = _key(access.key)
                changed = access.document
                continue
            key = self.keys[access.document][access.chunk]
            prepared.check_bits(self.store.get(key), _row(key))
            self.store.wait_for_prefetch()
        hits = self.store.stats().counters["hot_hits"] - before
        return 100 * hits / self.trace.reads

    def teardown(self) -> None:
        self.store.close()


def _key(number: int) -> str:
    return f"{number:032x}"


def _row(key: str) -> prepared.Vectors:
    rows = prepared.document_vectors()
    return np.asarray(rows[int(key, 16) % len(rows)])
