"""Answers out of a store and into it. A store that fails is passed over, and counted."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

import crc32c
import numpy as np
import zstandard

from titanstore.clients.bedrock.answers import Answers
from titanstore.clients.bedrock.bodies import Embedded, learn_form
from titanstore.clients.bedrock.counters import Tally
from titanstore.clients.bedrock.digits import Digits
from titanstore.clients.bedrock.records import AnswerRecord, Style, damaged
from titanstore.clients.bedrock.requests import MODELS, TitanRequest
from titanstore.clients.bedrock.responses import Envelope
from titanstore.codec.base import Vector
from titanstore.errors import ErrorKind, InvalidInputError, NotFoundError, StoreError
from titanstore.events import Event
from titanstore.store import EmbeddingStore

_log = logging.getLogger("titanstore.clients.bedrock")
_Result = TypeVar("_Result")
_ZSTD_LEVEL = 9  # 21 to 27 % of the recorded bodies, in 0.5 to 1.5 ms
_BODY_BYTES_MAX = 2**24  # Titan's longest has 0.2 MB; a decoder makes room for what is claimed
_caches: weakref.WeakSet[AnswerCache] = weakref.WeakSet()


def _in_forked_child() -> None:
    for cache in list(_caches):
        cache._leave_parent()  # noqa: SLF001  # this module's own class


os.register_at_fork(after_in_child=_in_forked_child)


class Kept(NamedTuple):
    """An answer that the store has."""

    body: bytes
    envelope: Envelope
    token_count: int | None
    created_s: int


class Fresh(NamedTuple):
    """An answer to keep."""

    request: TitanRequest
    embedded: Embedded
    envelope: Envelope
    body: bytes


class AnswerCache:
    """What a client looks in before it calls. Any thread may use it.

    Nothing here raises a StoreError: reading gives None, writing gives up; both are counted, and
    the first error of each kind is logged, by kind alone. Whoever made it closes it: a finaliser
    would take the lock of all environments in the middle of whatever the collector interrupts.

    Parameters
    ----------
    clock
        Unix time, seconds.
    """

    def __init__(self, store: EmbeddingStore, tally: Tally, clock: Callable[[], float]) -> None:
        self.store = store
        self.answers = Answers(
            store.path / "answers",
            read_only=store.is_read_only,
            durable=store.config.durability == "full",
        )
        self.tally = tally
        self._clock = clock
        self._pending: list[Fresh] = []
        self._pending_lock = threading.Lock()
        self._write_lock = threading.Lock()
        _caches.add(self)

    # -- reading ---------------------------------------------------------------------------

    def answer(self, request: TitanRequest, *, is_second_look: bool = False) -> Kept | None:
        """The kept answer to a request, byte for byte, or None. About 0.1 ms."""
        return self._guarded(lambda: self._answer(request, is_second_look))

    def _answer(self, request: TitanRequest, is_second_look: bool) -> Kept | None:
        record = self.answers.get(request.key)
        if record is None:
            return None
        if record.model >= len(MODELS) or record.body_bytes > _BODY_BYTES_MAX:
            raise damaged(f"an answer of {record.body_bytes} bytes by model {record.model}")
        style = self.answers.style(record.style)
        body = self._body(request, record, style)
        if body is None or MODELS[record.model] != request.model:
            if not is_second_look:
                self.tally.add("mismatches")
            return None
        return Kept(body, style.envelope, record.token_count, record.created_s)

    def _body(self, request: TitanRequest, record: AnswerRecord, style: Style) -> bytes | None:
        if record.verbatim:
            if zstandard.frame_content_size(record.verbatim) != record.body_bytes:
                return None
            body = zstandard.ZstdDecompressor().decompress(record.verbatim)
        elif style.form is None:
            return None
        else:
            vector = self._stored(request.key)
            if vector is None or vector.size != request.dimension or not _is_finite(vector):
                return None  # somebody else put another one there
            body = style.form.render(vector, record.token_count)
        is_whole = len(body) == record.body_bytes and crc32c.crc32c(body) == record.body_sum
        return body if is_whole else None

    def vector(self, key: str, dimension: int) -> Vector | None:
        """The vector of a key, or None; also one that the store has from elsewhere."""
        found = self._guarded(lambda: self._stored(key))
        return found if found is not None and found.size == dimension else None

    def _stored(self, key: str) -> Vector | None:
        try:
            return self.store.get(key)
        except NotFoundError:
            return None

    def token_count(self, key: str) -> int | None:
        """What the kept answer of a key cost, or None."""
        record = self._guarded(lambda: self.answers.get(key))
        return None if record is None else record.token_count

    def is_answered(self, key: str) -> bool:
        """Is there a record of an answer, whatever became of its vector?"""
        return self._guarded(lambda: self.answers.get(key)) is not None

    def digits(self, key: str) -> Digits | None:
        """How numbers of the kept answer are printed; WIDENED for a vector without an answer.

        None where only the body tells: it is verbatim, or the answers cannot be read.
        """

        def read() -> Digits | None:
            record = self.answers.get(key)
            if record is None:
                return Digits.WIDENED
            form = self.answers.style(record.style).form
            return None if form is None else form.digits

        return self._guarded(read)

    # -- writing ---------------------------------------------------------------------------

    def keep(self, fresh: Fresh) -> None:
        """Keep an answer, on the disk when this returns, or give it up.

        Threads that keep at the same time share one write.
        """
        with self._pending_lock:
            self._pending.append(fresh)
        with self._write_lock:  # who held it before may have written ours
            with self._pending_lock:
                batch, self._pending = self._pending, []
            if batch:
                self._keep({one.request.key: one for one in batch})

    def _keep(self, batch: Mapping[str, Fresh]) -> None:
        if self.store.is_read_only:
            self._count("not_kept", batch)
            return
        try:
            # vectors first: without a record, or with an old one, a vector is only asked for again
            self.store.put_many(list(batch), [one.embedded.vector for one in batch.values()])
            records = {key: record for key, one in batch.items() if (record := self._record(one))}
            self.answers.put_many(records)
        except InvalidInputError as error:
            if len(batch) > 1:  # of one of them, perhaps
                for key, one in batch.items():
                    self._keep({key: one})
                return
            self._note(error)
            self._count("not_kept", batch)
        except StoreError as error:
            self._note(error)
            self._count("not_kept", batch)
        else:
            self._count("kept", records)
            self._count("not_kept", batch.keys() - records.keys())  # no number is left for a style

    def _record(self, fresh: Fresh) -> AnswerRecord | None:
        if len(fresh.body) > _BODY_BYTES_MAX:
            return None
        form = learn_form(fresh.body, fresh.embedded)
        number = None
        if form is not None:
            number = self.answers.number_of(Style(fresh.envelope, form))
        verbatim = b""
        if number is None:
            number = self.answers.number_of(Style(fresh.envelope, None))
            if number is None:
                return None
            verbatim = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(fresh.body)
            self.tally.add("kept_verbatim")
        return AnswerRecord(
            MODELS.index(fresh.request.model),
            number,
            fresh.embedded.token_count,
            min(max(int(self._clock()), 0), 2**32 - 1),
            crc32c.crc32c(fresh.body),
            len(fresh.body),
            verbatim,
        )

    def forget(self, keys: list[str]) -> int:
        """Remove answers, and their vectors where no document has them; how many answers it were.

        Raises
        ------
        StoreError
            As `EmbeddingStore.delete`.
        """
        with self._write_lock:  # no answer is kept between the two
            # Vectors first: one that lost its answer would be found by nobody, and stay for ever.
            # Looked at within the write: a document may have got one since the caller looked
            self.store.delete(keys, in_documents=False)
            return self.answers.delete_many(keys)

    def close(self) -> None:
        """Give the answers up; the store is its owner's."""
        self.answers.close()

    # -- failing ---------------------------------------------------------------------------

    def _guarded(self, read: Callable[[], _Result | None]) -> _Result | None:
        try:
            return read()
        except (StoreError, zstandard.ZstdError) as error:
            self._note(error)
            return None

    def _note(self, error: StoreError | zstandard.ZstdError) -> None:
        kind = str(error.kind if isinstance(error, StoreError) else ErrorKind.BAD_ANSWERS)
        if self.tally.is_first(kind):
            _log.warning(
                "the store failed (%s): calls go to the model; further ones are only counted",
                kind,
                extra={"event": str(Event.CACHE_FALLBACK), "kind": kind},
            )

    def _count(self, name: str, batch: Iterable[str]) -> None:
        for _ in batch:
            self.tally.add(name)

    def _leave_parent(self) -> None:
        self.answers.leave_parent()
        self.tally.leave_parent()
        self._pending_lock, self._write_lock = threading.Lock(), threading.Lock()
        self._pending = []


def _is_finite(vector: Vector) -> bool:
    return bool(np.isfinite(vector).all())
