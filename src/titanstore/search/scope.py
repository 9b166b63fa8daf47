"""Which rows a search looks at: planes of the query's dimension, current rows, wanted documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from titanstore.catalog.catalog import Catalog
from titanstore.catalog.views import CatalogView
from titanstore.errors import CorruptionError, ErrorKind
from titanstore.keys import untagged_key
from titanstore.search.mask import Mask, blank_mask
from titanstore.segments.layout import Address
from titanstore.segments.marks import CURRENT, MarkArray
from titanstore.segments.plane import Plane
from titanstore.segments.planes import asked_together
from titanstore.segments.reader import SegmentReader
from titanstore.tiers.cold import match_record

_FLAGS_AT_ONCE = 4_096
_SEGMENTS_AT_ONCE = 8  # looked at in one walk over the catalog


class _Documents(NamedTuple):
    """Wanted documents, and what several hold: is it wanted?"""

    numbers: frozenset[int]
    shared: dict[Address, bool]

    def hold(self, at: Address, document: int) -> bool:
        """Is a record, first written for a document, in one of them?"""
        return self.shared.get(at, document in self.numbers)


class Scope(NamedTuple):
    """What is scanned.

    Attributes
    ----------
    planes
        Each with a mask of the rows that count.
    scanned
        By segment: up to which row the plane had been marked when it was looked at.
    rowless
        Records that have no row: written by an older release, or with search off.
    revivals
        How many rollbacks had brought records back.
    segments
        Those that the store had.
    has_rows
        Is a current row of this dimension there, of whatever document?
    is_short
        Have planes fewer rows that are marked than there are vectors that have one? As long as the
        generation stays the same, that is damage.
    documents
        What it is narrowed to; None: all.
    """

    planes: list[tuple[Plane, Mask]]
    scanned: dict[int, int]
    rowless: list[Address]
    revivals: int
    segments: frozenset[int]
    has_rows: bool
    is_short: bool
    documents: _Documents | None

    def without(self, stale: Iterable[Address]) -> None:
        """Leave out rows that turned out not to be current."""
        for plane, mask in self.planes:
            offsets = [at.offset for at in stale if at.segment == plane.number]
            if offsets:
                mask &= ~np.isin(plane.rows["offset"], np.array(offsets, np.uint32))

    def is_whole(self, view: CatalogView) -> bool:
        """Is it sure that no file went, and no record came back, while this was looked at?"""
        return self.revivals == view.revivals() and self.segments <= view.segments().keys()


def look(
    catalog: Catalog,
    reader: SegmentReader,
    dimension: int,
    prefix: str | None = None,
    *,
    by_catalog: bool = False,
) -> Scope:
    """The rows of one moment, that of the first look at the catalog.

    Marks are looked at after that, and hold its current rows as long as the generation, which the
    caller has read before, stays the same. What came later lies behind the committed ends. With
    `by_catalog` marks are not asked, at 0.7 us a row the first time after a change, and the
    generation does not matter.

    Raises
    ------
    CorruptionError
        MISSING_SEGMENT also where a compaction has removed a file since: look again.
    """
    planes: list[tuple[Plane, Mask]] = []
    scanned: dict[int, int] = {}
    count = 0
    with catalog.reading() as view:
        revivals, segments = view.revivals(), view.segments()
        current = reader.planes.current()
        offsets = asked_together(view.offsets_of, (plane for plane, _ in current))
        for plane, marks in current:
            if plane.number not in segments:
                # its first write is under way, or was never acknowledged and will be written over
                reader.planes.forget(plane.number)
                continue
            if by_catalog or marks is None:  # None: of an earlier boot, and nobody made them anew
                marks = reader.planes.marks_by_catalog(plane, view.change(), offsets)
            known = _committed(plane, marks, segments[plane.number].end)
            count += int(np.count_nonzero(known))
            if plane.dimension != dimension:
                continue
            mask = blank_mask(len(plane.rows))
            np.equal(known, CURRENT, out=mask[: len(known)])
            # a row behind the last marked one may be about to be marked
            scanned[plane.number] = end_of_marked(mask)
            planes.append((plane, mask))
        has_rows = any(mask.any() for _, mask in planes)
        all_have_rows = view.all_have_rows()
        is_short = all_have_rows and count < view.entry_count()
        rowless = [] if all_have_rows else _without_rows(view, reader)
        documents = None
        if prefix is not None:
            documents = _of_documents(view, reader, prefix, planes)
            rowless = [at for at in rowless if documents.hold(at, reader.record(at).document)]
    return Scope(
        planes, scanned, rowless, revivals, frozenset(segments), has_rows, is_short, documents
    )


def end_of_marked(mask: Mask) -> int:
    """Where the last flag that is up ends; 0 if none is. Makes no copy of the whole."""
    for end in range(len(mask), 0, -_FLAGS_AT_ONCE):
        begin = max(0, end - _FLAGS_AT_ONCE)
        last = mask[begin:end].tobytes().rfind(1)
        if last >= 0:
            return begin + last + 1
    return 0


def _committed(plane: Plane, marks: MarkArray, end: int) -> MarkArray:
    """The marks of rows whose records lie before `end`."""
    known = min(len(marks), len(plane.rows))
    offsets = plane.rows["offset"]
    # rows are in the order of their records; one that was taken back leads to offset 0
    while known and not 0 < offsets[known - 1] < end:
        known -= 1
    return marks[:known]


def missing_rows(catalog: Catalog, reader: SegmentReader) -> CorruptionError | None:
    """What is wrong where a scope `is_short`."""
    with catalog.reading() as view:
        lost = _without_rows(view, reader)
    if not lost:
        return None
    with_planes = {plane.number for plane, _ in reader.planes.current()}
    for at in lost:
        if at.segment not in with_planes:
            return CorruptionError(
                f"segment {at.segment} has no plane file", ErrorKind.MISSING_SEGMENT
            )
    return CorruptionError(
        f"planes of segment {lost[0].segment} lack the rows of {len(lost)} vectors",
        ErrorKind.SHORT_SEGMENT,
    )


def dimensions(catalog: Catalog, reader: SegmentReader) -> set[int]:
    """Those of all current vectors, searchable or not; 0.5 us a vector."""
    with catalog.reading() as view:
        planes = [plane for plane, _ in reader.planes.current()]
        offsets = asked_together(view.offsets_of, planes)
        found = {
            plane.dimension
            for plane in planes
            if np.isin(offsets(plane.number), plane.rows["offset"]).any()
        }
        if not view.all_have_rows():
            found |= {reader.record(at).header.dimension for at in _without_rows(view, reader)}
    return found


def _without_rows(view: CatalogView, reader: SegmentReader) -> list[Address]:
    """Addresses of current records that no plane has a row of."""
    offsets: dict[int, list[NDArray[np.uint32]]] = {}
    for plane, _ in reader.planes.current():
        offsets.setdefault(plane.number, []).append(plane.rows["offset"])
    found: list[Address] = []
    numbers = list(view.segments())
    for first in range(0, len(numbers), _SEGMENTS_AT_ONCE):
        found += _without_rows_of(view, numbers[first : first + _SEGMENTS_AT_ONCE], offsets)
    return found


def _without_rows_of(
    view: CatalogView, segments: Sequence[int], offsets: dict[int, list[NDArray[np.uint32]]]
) -> list[Address]:
    found = []
    for segment, current in view.offsets_of(segments).items():
        rows = offsets.get(segment)
        missing = current if rows is None else current[~np.isin(current, np.concatenate(rows))]
        found += [Address(segment, int(offset)) for offset in np.sort(missing)]
    return found


def _of_documents(
    view: CatalogView,
    reader: SegmentReader,
    prefix: str,
    planes: list[tuple[Plane, Mask]],
) -> _Documents:
    """Narrow masks to the documents whose names begin with `prefix`; returns these."""
    wanted = frozenset(view.numbers_of_documents(prefix))
    table = np.zeros(max(wanted, default=0) + 2, np.bool_)
    table[list(wanted)] = True
    searchable = [mask.copy() for _, mask in planes]
    for plane, mask in planes:
        mask &= table[np.minimum(plane.rows["document"], len(table) - 1)]
    shared = _shared(view, reader, wanted)
    for (plane, mask), whole in zip(planes, searchable, strict=True):
        here = sorted(
            (at.offset, is_in) for at, is_in in shared.items() if at.segment == plane.number
        )
        offsets = np.array([offset for offset, _ in here], np.uint32)
        rows = np.flatnonzero(np.isin(plane.rows["offset"], offsets))
        places = np.searchsorted(offsets, plane.rows["offset"][rows])
        mask[rows] = whole[rows] & np.array([is_in for _, is_in in here], np.bool_)[places]
    return _Documents(wanted, shared)


def _shared(
    view: CatalogView, reader: SegmentReader, wanted: frozenset[int]
) -> dict[Address, bool]:
    """Records of keys that several documents hold, and whether a wanted one is among these.

    A record names only the first of its documents. 4 us a key.
    """
    found: dict[Address, bool] = {}
    for tagged, owners in view.all_owners():
        key = untagged_key(tagged)
        addresses = view.lookup_many([key.fingerprint()])[0]
        if len(addresses) > 1:
            matched = match_record(reader.head, key, addresses)
            addresses = [] if matched is None else [matched[0]]
        for at in addresses:  # one that is alone is the key's: what has owners has a record
            found[at] = not wanted.isdisjoint(owners)
    return found
