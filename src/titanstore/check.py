"""The integrity walk: every entry, record, frame, document, segment and version of a store."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from titanstore.catalog.catalog import Catalog
from titanstore.changes import documents_of
from titanstore.codec.base import Vector
from titanstore.codec.choose import decode_frame
from titanstore.errors import CorruptionError, ErrorKind, StoreError
from titanstore.segments.layout import NO_ROW, Address, Record
from titanstore.segments.marks import CURRENT, UNSEARCHABLE, MarkArray
from titanstore.segments.plane import is_row_of
from titanstore.segments.planes import PlaneId
from titanstore.segments.reader import SegmentReader
from titanstore.tiers.bloom import BloomFilter
from titanstore.tiers.cold import document_records
from titanstore.versions.audit import audit

_PAGE_ENTRIES = 5_000  # entries a read transaction: a long one would hold back LMDB's pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as it was written."""

    kind: ErrorKind
    place: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a walk over a whole store found."""

    vectors: int
    documents: int
    segments: int
    problems: tuple[Problem, ...]
    restored: tuple[str, ...] = ()  # keys whose vectors were stored again from a copy

    @property
    def is_clean(self) -> bool:
        """No problem at all."""
        return not self.problems


class StoreCheck:
    """Walks one store; reads only, and may run while another process writes."""

    def __init__(
        self, catalog: Catalog, reader: SegmentReader, bloom: BloomFilter | None = None
    ) -> None:
        self._catalog = catalog
        self._reader = reader
        self._bloom = bloom
        self._problems: list[Problem] = []
        self._marks: dict[PlaneId, MarkArray] = {}
        self.damaged: list[tuple[bytes, Address]] = []  # entries: fingerprint, where it leads

    def run(self, progress: Callable[[int, int], None] | None = None) -> CheckReport:
        """Read everything once; `progress(done, total)` is called every few thousand vectors."""
        segments = self._walk(self._check_segments, "segments")
        vectors = self._walk(lambda: self._check_entries(progress), "entries")
        documents = self._walk(self._check_documents, "documents")
        self._walk(self._check_versions, "versions")
        self._check_bloom()
        return CheckReport(
            segments=segments,
            vectors=vectors,
            documents=documents,
            problems=tuple(self._problems),
        )

    def _walk(self, part: Callable[[], int], name: str) -> int:
        """One part of the walk; damage of the catalog itself ends it."""
        try:
            return part()
        except CorruptionError as error:
            self._note(error, f"catalog, {name}")
            return 0

    def _note(self, error: StoreError, place: str) -> None:
        self._problems.append(Problem(kind=error.kind, place=place, message=str(error)))

    def _check_bloom(self) -> None:
        damaged = 0 if self._bloom is None else self._bloom.damaged_blocks()
        if damaged:
            message = (
                f"{damaged} of its blocks are damaged and not believed; whoever opens the store "
                "next to write builds it anew"
            )
            self._note(CorruptionError(message, ErrorKind.BAD_BLOOM), "BLOOM")

    def _check_segments(self) -> int:
        with self._catalog.reading() as view:
            states = view.segments()
        for number, state in states.items():
            try:
                self._reader.require(number, state.end)
            except StoreError as error:
                with self._catalog.reading() as view:
                    if view.segment(number) is None:
                        continue  # compacted away meanwhile
                self._note(error, f"segment {number}")
        return len(states)

    def _check_entries(self, progress: Callable[[int, int], None] | None) -> int:
        with self._catalog.reading() as view:
            total = view.entry_count()
        done = 0
        start: bytes | None = b""
        while start is not None:
            with self._catalog.reading() as view:
                page = view.entries_from(start, _PAGE_ENTRIES)
            if not page:
                break
            for fingerprint, address in page:
                self._check_entry(fingerprint, address)
            done += len(page)
            start = _after(*page[-1])
            if progress is not None:
                progress(done, max(done, total))
        return done

    def _check_entry(self, fingerprint: bytes, address: Address) -> None:
        place = f"segment {address.segment}, offset {address.offset}"
        try:
            record = self._reader.record(address)
            place += f", key {record.key.text!r}"
            if record.key.fingerprint() != fingerprint:
                raise CorruptionError("the catalog leads to another key", ErrorKind.BAD_CATALOG)
            if self._bloom is not None and not self._bloom.may_contain(fingerprint):
                raise CorruptionError(
                    "BLOOM lacks the key, it would not be found: remove the file",
                    ErrorKind.BAD_BLOOM,
                )
            self._check_row(address, record, decode_frame(record.frame))
        except StoreError as error:
            # a writer may have replaced or moved the record since the page was read
            if address in self._catalog.lookup(fingerprint):
                self._note(error, place)
                self.damaged.append((fingerprint, address))

    def _check_row(self, address: Address, record: Record, vector: Vector) -> None:
        """The row of a current record: what search believes of the vector must be so."""
        if record.row == NO_ROW:
            return
        planes, dimension = self._reader.planes, record.header.dimension
        plane = planes.plane(address.segment, dimension, record.row + 1)
        row = plane.row(record.row)
        is_its_own = int(plane.rows["offset"][record.row]) == address.offset
        if row is None or not is_its_own or not is_row_of(row, vector):
            raise CorruptionError(
                f"row {record.row} of its plane is damaged, search may pass over it: delete the "
                "key and put it again",
                ErrorKind.BAD_PLANE,
            )
        wanted = UNSEARCHABLE if math.isnan(row.scale) else CURRENT
        if not self._is_marked(address.segment, dimension, record.row, wanted):
            raise CorruptionError(
                f"row {record.row} of its plane is not marked: search passes over it, remove the "
                "marks files while no process has the store open",
                ErrorKind.BAD_PLANE,
            )

    def _is_marked(self, segment: int, dimension: int, row: int, wanted: int) -> bool:
        known = self._marks.get((segment, dimension))
        if known is None or len(known) <= row or known[row] != wanted:
            known = self._reader.planes.marks(segment, dimension, row + 1)
            if known is None:
                return True  # search asks the catalog instead
            self._marks[segment, dimension] = known
        return bool(known[row] == wanted)

    def _check_documents(self) -> int:
        done, last, highest = 0, None, 0
        while True:
            with self._catalog.reading() as view:
                page = view.documents_after(last, _PAGE_ENTRIES)
            for number, name in page:
                try:
                    self._check_document(number)
                except StoreError:
                    # compaction may have removed a segment under this view: believe the second look
                    try:
                        self._check_document(number)
                    except StoreError as error:
                        self._note(error, f"document {name!r}")
            done += len(page)
            highest = max((highest, *(number for number, _ in page)))
            if len(page) < _PAGE_ENTRIES:
                break
            last = page[-1][0]
        with self._catalog.reading() as view:
            view.require_unused(highest)
        return done

    def _check_versions(self) -> int:
        for error, place in audit(self._catalog, self._reader):
            self._note(error, place)
        return 0

    def _check_document(self, number: int) -> None:
        with self._catalog.reading() as view:
            for address, record in document_records(view, self._reader, number):
                key = record.key
                if address not in view.lookup_many([key.fingerprint()])[0]:
                    raise CorruptionError(
                        f"leads to an old record of {key.text!r}", ErrorKind.BAD_CATALOG
                    )
                if number not in documents_of(view, key, record):
                    raise CorruptionError(
                        f"holds {key.text!r}, which does not know of it",
                        ErrorKind.BAD_CATALOG,
                    )


def _after(fingerprint: bytes, address: Address) -> bytes | None:
    """The entry that follows this one in the order of bytes, None after the very last."""
    entry = fingerprint + address.pack()
    number = int.from_bytes(entry, "big") + 1
    return None if number >> 8 * len(entry) else number.to_bytes(len(entry), "big")
