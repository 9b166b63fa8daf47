"""A read: hot row, else warm frame, else cold record. What was read moves up, the evicted down."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from titanstore.codec.base import Vector
from titanstore.codec.choose import RAW, decode_frame, decode_frames, decode_parsed, raw_view
from titanstore.codec.frame import Buffer, FrameHeader, dimensions_of, parse_header
from titanstore.config import StoreConfig
from titanstore.errors import (
    CorruptionError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    StoreError,
)
from titanstore.keys import StoredKey, stored_key
from titanstore.metrics import Counters
from titanstore.tiers.cold import ColdTier
from titanstore.tiers.hot import HotTier
from titanstore.tiers.prefetch import Prefetcher
from titanstore.tiers.warm import WarmTier

# A batch of more than this share of the hot tier would push out what it is there for
_ADMITTED_SHARE = 4
# Evicted rows that wait to be demoted; when reads leave no quiet moment, the oldest are let go
_EVICTED_MAX = 256


class Cascade:
    """The three tiers of one store. Any number of threads may read."""

    def __init__(
        self,
        config: StoreConfig,
        cold: ColdTier,
        counters: Counters,
        hot: HotTier | None = None,
    ) -> None:
        self.cold = cold
        self.counters = counters
        total = config.memory_bytes_max
        self._hot_bytes_max = min(config.hot_bytes_max, total)
        self.hot = HotTier(self._hot_bytes_max, config.policy, counters) if hot is None else hot
        self.warm = WarmTier(
            lambda: min(config.warm_bytes_max, total - self.hot.nbytes), config.policy, counters
        )
        self.prefetcher = Prefetcher(self._fetch_siblings, self._tidy) if config.prefetch else None
        self._evicted: deque[str] = deque(maxlen=_EVICTED_MAX)

    # -- one vector ------------------------------------------------------------------------

    def load(self, text: str) -> Vector:
        """A row that is not hot: find, decode, promote. Raises NotFoundError.

        The caller has looked into the hot tier.
        """
        shared = self.hot.find(text)
        if shared is not None:
            self.counters.hot_hits += 1
            return shared
        key = stored_key(text)
        epoch = self.hot.epoch
        frame: Buffer
        kept = self.warm.take(text)
        if kept is not None:
            frame, document = kept
            self.counters.warm_hits += 1
            self.counters.promotions += 1
            header = None
        else:
            record = self.cold.find(key)
            if record is None:
                self.counters.absent += 1
                raise NotFoundError(f"no vector for key {text!r}", ErrorKind.UNKNOWN_KEY)
            self.counters.cold_hits += 1
            frame, document, header = record.frame, record.document, record.header
        try:
            row = self._row(frame, header or parse_header(frame))
        except CorruptionError as error:
            raise CorruptionError(f"key {text!r}: {error}", error.kind) from error
        self._admit(text, row, epoch)
        self._put_away(document)
        return row

    def _row(self, frame: Buffer, header: FrameHeader) -> Vector:
        if header.codec_id == RAW.codec_id and isinstance(frame, memoryview):
            view = raw_view(frame)  # of the mapped file; one of the warm tier is not aligned
            if view is not None and view.flags.aligned:
                return view
        return self.hot.new_row(header.dimension, lambda out: decode_parsed(frame, header, out))

    def _admit(self, text: str, row: Vector, epoch: int, *, prefetched: bool = False) -> None:
        self._evicted += self.hot.admit(text, row, epoch, prefetched=prefetched)
        self.warm.shrink()  # at once: the two share one budget

    def _put_away(self, document: int = 0) -> None:
        """Have evicted rows demoted, and a document's siblings fetched, by the thread if any."""
        if self.prefetcher is not None:
            self.prefetcher.request(document)
        else:
            self._tidy(lambda: True)

    def _tidy(self, go_on: Callable[[], bool]) -> None:
        """Keep the frames of evicted rows in the warm tier, one at a time."""
        while go_on():
            try:
                text = self._evicted.popleft()
            except IndexError:
                return  # without a prefetch thread several readers tidy at once
            if not self.warm.has_room() or self.hot.lookup(text) is not None:
                continue  # it may have come back meanwhile
            epoch = self.warm.epoch
            try:
                record = self.cold.find(stored_key(text))
            except StoreError:
                continue  # whoever reads the damaged vector will be told
            if record is not None:
                self.counters.demotions += self.warm.admit(
                    text, record.frame, epoch, record.document
                )

    # -- many vectors ----------------------------------------------------------------------

    def load_many(self, texts: Sequence[str]) -> Vector:
        """Rows for many keys in one array, shape (len(texts), dimension).

        Raises NotFoundError naming the absent keys, InvalidInputError (MIXED_DIMENSIONS).
        """
        epoch = self.hot.epoch
        try:
            rows = [self.hot.lookup(text) for text in texts]
        except TypeError:  # one is unhashable
            rows = [self.hot.lookup(stored_key(text).text) for text in texts]
        for place, row in enumerate(rows):
            if row is None:
                rows[place] = self.hot.find(texts[place])
        missing = [place for place, row in enumerate(rows) if row is None]
        frames: dict[int, Buffer] = {}
        for place in missing:
            kept = self.warm.take(texts[place])
            if kept is not None:
                frames[place] = kept[0]
        self.counters.hot_hits += len(texts) - len(missing)
        self.counters.warm_hits += len(frames)
        self._find_frames(texts, [place for place in missing if place not in frames], frames)
        found = {row.size for row in rows if row is not None}
        found |= dimensions_of(frames.values())
        if len(found) > 1:
            raise InvalidInputError(
                f"the keys have vectors of dimensions {sorted(found)}; ask for one at a time",
                ErrorKind.MIXED_DIMENSIONS,
            )
        out = np.empty((len(texts), found.pop() if found else 0), np.float32)
        words = out.view(np.uint32)
        for place, row in enumerate(rows):
            if row is not None:
                words[place] = row.view(np.uint32)
                self.hot.touch(texts[place])
        try:
            if len(frames) == len(texts):
                decode_frames([frames[place] for place in range(len(texts))], out)
            elif frames:
                part = np.empty((len(frames), out.shape[1]), np.float32)
                decode_frames(list(frames.values()), part)
                words[list(frames)] = part.view(np.uint32)
        except CorruptionError:
            for place in frames:
                _blame(texts[place], frames[place])
            raise
        # looked at before rows are copied: a batch that would sweep the tier is not admitted
        if len(frames) * 4 * out.shape[1] * _ADMITTED_SHARE <= self._hot_bytes_max:
            self._admit_batch([texts[place] for place in frames], out[list(frames)], epoch)
        return out

    def _find_frames(
        self, texts: Sequence[str], places: Sequence[int], frames: dict[int, Buffer]
    ) -> None:
        keys: list[StoredKey] = [stored_key(texts[place]) for place in places]
        records = self.cold.find_many(keys) if keys else []
        absent = []
        for place, record in zip(places, records, strict=True):
            if record is None:
                absent.append(texts[place])
            else:
                frames[place] = record.frame
        self.counters.cold_hits += len(places) - len(absent)
        if absent:
            self.counters.absent += len(absent)
            shown = ", ".join(repr(text) for text in absent[:3])
            raise NotFoundError(
                f"{len(absent)} of {len(texts)} keys have no vector: {shown}"
                + (", ..." if len(absent) > 3 else ""),
                ErrorKind.UNKNOWN_KEY,
            )

    def _admit_batch(self, texts: Sequence[str], rows: Vector, epoch: int) -> None:
        for text, row in zip(texts, rows, strict=True):
            self._admit_copy(text, row, epoch)
        self._put_away()

    def admit_written(self, vectors: Sequence[tuple[str, Vector]]) -> None:
        """Make hot what was just written: it is about to be read. The caller lets no one write."""
        if sum(vector.nbytes for _, vector in vectors) * _ADMITTED_SHARE > self._hot_bytes_max:
            return
        for text, vector in vectors:
            self._admit_copy(text, vector, self.hot.epoch)
        self._put_away()

    def _admit_copy(self, text: str, row: Vector, epoch: int) -> None:
        copy = self.hot.new_row(row.size, lambda out: np.copyto(_words(out), _words(row)))
        self._admit(text, copy, epoch)

    # -- the rest of a document ------------------------------------------------------------

    def _fetch_siblings(self, document: int, go_on: Callable[[], bool]) -> None:
        """Decode what is not hot of a document and admit it; runs in the prefetch thread."""
        try:
            epoch = self.hot.epoch
            self.counters.prefetches += 1
            # a document larger than the tier: its first chunks, half the tier at most
            budget = self._hot_bytes_max // 2
            for record in self.cold.siblings(document):
                if not go_on():
                    break
                text = record.key.text
                if self.hot.lookup(text) is not None:
                    continue
                budget -= 4 * record.header.dimension
                if budget < 0:
                    break
                self.warm.take(text)
                row = self._row(record.frame, record.header)
                self.counters.prefetched_rows += 1
                self._admit(text, row, epoch, prefetched=True)
        except StoreError:
            # the reader who wants the damaged or vanished vector will be told; nobody waits here
            self.counters.prefetch_failures += 1

    # -- changes ---------------------------------------------------------------------------

    def invalidate(self, texts: list[str]) -> None:
        """Forget keys whose stored value changed."""
        # this order: a frame taken from the warm tier just before is refused by the hot one, whose
        # epoch its reader saw earlier
        self.warm.invalidate(texts)
        self.hot.invalidate(texts)

    def clear(self) -> None:
        """Forget everything in memory."""
        self.warm.clear()
        self.hot.clear()

    def leave_parent(self) -> None:
        """In a forked child, which never uses this object again."""
        self.hot.leave_parent()

    def close(self) -> None:
        """Stop the prefetch thread and forget everything; idempotent."""
        if self.prefetcher is not None:
            self.prefetcher.stop()
        self.clear()
        self.hot.close()


def _words(row: Vector) -> np.ndarray[tuple[int, ...], np.dtype[np.uint32]]:
    return row.view(np.uint32)


def _blame(text: str, frame: Buffer) -> None:
    try:
        decode_frame(frame)
    except CorruptionError as error:
        raise CorruptionError(f"key {text!r}: {error}", error.kind) from error
