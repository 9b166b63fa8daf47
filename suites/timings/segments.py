"""Whole stores: opened, walked, copied together."""

from __future__ import annotations

from titanstore import CheckReport, EmbeddingStore

from . import prepared

repeat = prepared.REPEAT  # asv reads it here
_FILLED = 220


class _Opens:
    version = prepared.version(1)

    def setup(self) -> None:
        # its own: objects of one process share what they open
        self.path = prepared.closed("open")
        self.config = prepared.config()

    def teardown(self) -> None:
        with EmbeddingStore.open(self.path, self.config, read_only=True) as store:
            row = store.get(prepared.document_keys()[0])
            prepared.check_bits(row, prepared.document_vectors()[0])


class Open(_Opens):
    """`EmbeddingStore.open` for reading, and `close`."""

    core = True

    def time_open_and_close(self) -> None:
        EmbeddingStore.open(self.path, self.config, read_only=True).close()


class OpenForWriting(_Opens):
    """`EmbeddingStore.open` as the writer, and `close`."""

    def time_open_and_close(self) -> None:
        EmbeddingStore.open(self.path, self.config).close()


class Check:
    """`store.check`: every entry, record, frame and document read once."""

    version = prepared.version(1)

    def setup(self) -> None:
        self.store: EmbeddingStore = prepared.readable()
        self.answer: CheckReport | None = None

    def time_check(self) -> None:
        self.answer = self.store.check()

    def teardown(self) -> None:
        if self.answer is not None:
            assert self.answer.is_clean, self.answer


class Maintain:
    """`store.maintain` where nine of ten vectors were deleted; one call a `setup`."""

    number = 1
    version = prepared.version(1)

    def setup(self) -> None:
        self.store: EmbeddingStore = prepared.writable("maintain")
        self.kept = prepared.document_keys()[: prepared.CHUNKS]
        self.store.put_many(
            prepared.document_keys()[:_FILLED], prepared.document_vectors()[:_FILLED]
        )
        self.store.delete(prepared.document_keys()[prepared.CHUNKS : _FILLED])
        self.is_done = False

    def time_maintain(self) -> None:
        self.store.maintain()
        self.is_done = True

    def teardown(self) -> None:
        wanted = prepared.document_vectors()[: prepared.CHUNKS]
        prepared.check_bits(self.store.get_many(self.kept), wanted)
        if self.is_done:
            assert self.store.check().is_clean
