"""What one write does to segments and catalog: all of it in one transaction, or nothing.

A record is appended and synced before the catalog commits its address; only then does anybody see
it. A document's entry always leads to the current records of its keys, so that a prefetch can
never bring in a value that was replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from titanstore.catalog.catalog import Catalog, MapIsFullError
from titanstore.catalog.layout import SegmentState, runs_of
from titanstore.catalog.lookups import Lookups
from titanstore.catalog.views import CatalogView, CatalogWriter
from titanstore.codec.base import Vector
from titanstore.codec.choose import RAW, encode_frames
from titanstore.codec.frame import parse_header
from titanstore.config import StoreConfig
from titanstore.keys import StoredKey
from titanstore.segments.layout import NO_ROW, SEGMENT_HEADER_BYTES, Address, Record
from titanstore.segments.plane import PlaneRow, plane_rows
from titanstore.segments.planes import RowAddress
from titanstore.segments.reader import SegmentReader
from titanstore.segments.writer import NewRecord, Placed, SegmentWriter
from titanstore.tiers.cold import document_records, match_record
from titanstore.unchanged import are_unchanged
from titanstore.vectors import same_bits

_Members = dict[StoredKey, Placed]
_Result = TypeVar("_Result")


class Outcome(NamedTuple):
    """What a write did."""

    written: tuple[StoredKey, ...] = ()  # whose records were appended
    unchanged: int = 0  # vectors found in place
    replaced: int = 0  # keys that had another value
    deleted: int = 0  # keys that are gone
    stale: tuple[str, ...] = ()  # keys whose earlier value every tier must forget
    retired: tuple[RowAddress, ...] = ()  # rows to be unmarked once this is committed


class _Entry(NamedTuple):
    """A key to be stored, its vector, and its record so far."""

    key: StoredKey
    vector: Vector
    current: Record | None
    at: Address | None


class Changes:
    """Writes of one store. One thread at a time; the store's write lock sees to it."""

    def __init__(
        self,
        config: StoreConfig,
        catalog: Catalog,
        reader: SegmentReader,
        writer: SegmentWriter,
        announce: Callable[[list[bytes]], None] | None = None,
        hot: Callable[[str], Vector | None] = lambda _: None,
    ) -> None:
        self._hot = hot  # the decoded row of a key where one is in memory
        self._config = config
        self._catalog = catalog
        self._reader = reader
        self._writer = writer
        self._retired: list[RowAddress] = []  # of the change under way
        self._announce = announce  # told the fingerprints of new keys before they can be seen

    def put(self, vectors: dict[StoredKey, Vector], document: str | None) -> Outcome:
        """Store vectors; with a document, their keys join it at its end."""
        return self._in_transaction(lambda view: self._put(view, vectors, document, replace=False))

    def update_document(self, document: str, vectors: dict[StoredKey, Vector]) -> Outcome:
        """Make `vectors` the whole content of a document; without any, the document goes."""
        return self._in_transaction(lambda view: self._put(view, vectors, document, replace=True))

    def delete(self, keys: Iterable[StoredKey], *, in_documents: bool = True) -> Outcome:
        """Remove keys, from their documents too or only those in none; absent ones are passed."""
        wanted = list(dict.fromkeys(keys))
        return self._in_transaction(
            lambda view: self._delete(view, wanted, in_documents=in_documents)
        )

    def _in_transaction(self, change: Callable[[CatalogWriter], Outcome]) -> Outcome:
        def begin_and_change(view: CatalogWriter) -> Outcome:
            self._retired.clear()
            return change(view)

        return in_transaction(self._catalog, begin_and_change)

    # -- storing ---------------------------------------------------------------------------

    def _put(
        self,
        view: CatalogWriter,
        vectors: dict[StoredKey, Vector],
        document: str | None,
        *,
        replace: bool,
    ) -> Outcome:
        number = 0
        content: dict[StoredKey, tuple[Record, Address]] = {}
        if document is not None:
            number, content = self._document(view, document, is_wanted=bool(vectors))
        members = {key: Placed(at, record.end) for key, (record, at) in content.items()}
        # A document leads to the current records of its keys: those need not be looked up. But
        # lengths of records without a row have no checksum, so that a damaged one may mislead.
        entries = []
        for key, vector in vectors.items():
            record, at = content.get(key) or (None, None)
            if record is None or record.row == NO_ROW:
                record, at = self._current(view, key)
            entries.append(_Entry(key, vector, record, at))
        to_write = self._not_in_place(entries, number, may_be_hot=replace)
        if self._announce is not None:
            self._announce([entry.key.fingerprint() for entry in to_write if entry.current is None])
        placed = self._append(view, to_write, number)
        stale = self._repoint(view, to_write, placed, number)
        if document is not None:
            self._join(view, document, number, members, entries, placed, replace=replace)
            if replace:
                gone = [key for key in members if key not in vectors]
                stale += self._leave(view, number, gone)
        replaced = sum(entry.current is not None for entry in to_write)
        return Outcome(
            written=tuple([entry.key for entry in to_write]),
            unchanged=len(entries) - len(to_write),
            replaced=replaced,
            deleted=len(stale) - replaced,
            stale=tuple(stale),
            retired=tuple(self._retired),
        )

    def _document(
        self, view: CatalogWriter, name: str, *, is_wanted: bool
    ) -> tuple[int, dict[StoredKey, tuple[Record, Address]]]:
        """A document's number, a new one if it is wanted, and its records by key, in order."""
        number = view.document_number(name)
        if number is None:
            return (view.new_document(name) if is_wanted else 0), {}
        records = document_records(view, self._reader, number)
        return number, {record.key: (record, at) for at, record in records}

    def _current(self, view: CatalogView, key: StoredKey) -> tuple[Record | None, Address | None]:
        """The current record of a key, as `SegmentReader.head` has it, and where it is."""
        places = view.lookup_many([key.fingerprint()])[0]
        found = match_record(self._reader.head, key, places)
        return (None, None) if found is None else (found[1], found[0])

    def _not_in_place(
        self, entries: Sequence[_Entry], number: int, *, may_be_hot: bool
    ) -> list[_Entry]:
        """Those not stored yet with the same bits and where their document can find them.

        Mostly a row is hot, since who saves a document has read it: that spares its decoding. But
        a put mends a frame whose body is damaged on the disk, so it looks there (`may_be_hot`
        False).
        """
        is_in_place: dict[StoredKey, bool] = {}
        to_compare = []
        for entry in entries:
            if entry.current is None or entry.at is None:
                continue
            if number and not entry.current.document:
                continue  # a record without a document would never bring its siblings in
            row = self._hot(entry.key.text) if may_be_hot else None
            if row is None:
                to_compare.append((entry, (entry.current, entry.at)))
            else:
                is_in_place[entry.key] = same_bits(row, entry.vector)
        same = are_unchanged(
            self._reader,
            [stored for _, stored in to_compare],
            [entry.vector for entry, _ in to_compare],
        )
        is_in_place |= {
            entry.key: is_same for (entry, _), is_same in zip(to_compare, same, strict=True)
        }
        return [entry for entry in entries if not is_in_place.get(entry.key, False)]

    def _append(
        self, view: CatalogWriter, entries: Sequence[_Entry], number: int
    ) -> dict[StoredKey, Placed]:
        if not entries:
            return {}
        records = new_records(
            [
                (key, number or (current.document if current is not None else 0), vector)
                for key, vector, current, _ in entries
            ],
            self._config,
        )
        if not self._config.search:
            view.set_all_have_rows(is_so=False)
        elif not view.entry_count():
            view.set_all_have_rows(is_so=True)
        places = append_records(view, self._writer, records)
        return {record.key: place for record, place in zip(records, places, strict=True)}

    def _repoint(
        self,
        view: CatalogWriter,
        entries: Sequence[_Entry],
        placed: dict[StoredKey, Placed],
        number: int,
    ) -> list[str]:
        """Lead the catalog and the other documents of each key to its new record."""
        moved: dict[int, _Members] = {}
        stale = []
        for key, _, current, at in entries:
            view.add(key.fingerprint(), placed[key].address)
            if current is None or at is None:
                continue
            view.remove(key.fingerprint(), at)
            self._bury(view, key, current, at)
            stale.append(key.text)
            owners = documents_of(view, key, current)
            for owner in owners - {number}:
                moved.setdefault(owner, {})[key] = placed[key]
            if number and owners - {number} and view.owners(key.tagged) is None:
                view.set_owners(key.tagged, owners)  # the new record names another document
        for owner, places in moved.items():
            self._move_members(view, owner, places)
        return stale

    def _move_members(self, view: CatalogWriter, number: int, places: _Members) -> None:
        found = view.document(number)
        if found is not None:
            view.set_document(number, found[0], runs_of(self._merged(view, number, places)))

    def _merged(self, view: CatalogWriter, number: int, places: _Members) -> list[Placed]:
        return [
            places.get(record.key, Placed(at, record.end))
            for at, record in document_records(view, self._reader, number)
        ]

    def _join(
        self,
        view: CatalogWriter,
        name: str,
        number: int,
        members: _Members,
        entries: Sequence[_Entry],
        placed: dict[StoredKey, Placed],
        *,
        replace: bool,
    ) -> None:
        """Write the document's new content, and who shares its new keys."""
        content: _Members = {} if replace else dict(members)
        for key, _, current, at in entries:
            if key in placed:
                content[key] = placed[key]
            elif current is not None and at is not None:
                content[key] = Placed(at, current.end)
            if current is None:
                continue
            owners = documents_of(view, key, current)
            if number not in owners and (owners or key not in placed):  # else the record names it
                view.set_owners(key.tagged, owners | {number})
        if number:
            view.set_document(number, name, runs_of(content.values()))

    # -- removing --------------------------------------------------------------------------

    def _leave(self, view: CatalogWriter, number: int, keys: Sequence[StoredKey]) -> list[str]:
        """Take keys out of a document whose entry is written already; unshared ones go."""
        stale = []
        for key in keys:
            record, at = self._current(view, key)
            if record is None or at is None:
                continue
            owners = documents_of(view, key, record)
            if number not in owners:
                continue  # damage of the document's entry led here
            left = owners - {number}
            if left:
                view.set_owners(key.tagged, left)
                continue
            self._remove(view, key, record, at)
            stale.append(key.text)
        return stale

    def _delete(
        self, view: CatalogWriter, keys: Sequence[StoredKey], *, in_documents: bool
    ) -> Outcome:
        gone: dict[int, set[StoredKey]] = {}
        found = []
        for key in keys:
            record, at = self._current(view, key)
            if record is None or at is None:
                continue
            owners = documents_of(view, key, record)
            if owners and not in_documents:
                continue
            found.append((key, record, at))
            for owner in owners:
                gone.setdefault(owner, set()).add(key)
        for number, removed in gone.items():
            document = view.document(number)
            if document is not None:
                left = [
                    Placed(at, record.end)
                    for at, record in document_records(view, self._reader, number)
                    if record.key not in removed
                ]
                view.set_document(number, document[0], runs_of(left))
        for key, record, at in found:
            self._remove(view, key, record, at)
        return Outcome(
            deleted=len(found),
            stale=tuple([key.text for key, _, _ in found]),
            retired=tuple(self._retired),
        )

    def _remove(self, view: CatalogWriter, key: StoredKey, record: Record, at: Address) -> None:
        view.remove(key.fingerprint(), at)
        view.set_owners(key.tagged, frozenset())
        self._bury(view, key, record, at)

    def _bury(self, view: CatalogWriter, key: StoredKey, record: Record, at: Address) -> None:
        bury(view, key.fingerprint(), at, record.end - record.offset)
        if record.row != NO_ROW:
            self._retired.append(row_address(at, record))


def new_records(
    vectors: Sequence[tuple[StoredKey, int, Vector]], config: StoreConfig
) -> list[NewRecord]:
    """What is appended under these settings for keys, numbers of documents, and vectors."""
    alone = [vector for _, _, vector in vectors]
    frames = encode_frames(alone, compress=config.compression, with_codes=config.search)
    places: dict[int, list[int]] = {}  # by dimension
    for place, vector in enumerate(alone):
        places.setdefault(vector.size, []).append(place)
    rows: list[PlaneRow | None] = [None] * len(vectors)
    if config.search:
        for some in places.values():
            found = plane_rows([alone[at] for at in some], [frames[at] for at in some])
            for at, row in zip(some, found, strict=True):
                rows[at] = row
    return [
        NewRecord(key, document, frame, parse_header(frame).codec_id == RAW.codec_id, row)
        for (key, document, _), frame, row in zip(vectors, frames, rows, strict=True)
    ]


def row_address(at: Address, record: Record) -> RowAddress:
    """Where the row of a record that has one lies."""
    return RowAddress(at.segment, record.header.dimension, record.row)


def documents_of(view: Lookups, key: StoredKey, record: Record) -> frozenset[int]:
    """Numbers of the documents that hold a key: the listed ones, else the one of its record."""
    listed = view.owners(key.tagged)
    if listed is not None:
        return listed
    return frozenset((record.document,)) if record.document else frozenset()


def in_transaction(catalog: Catalog, change: Callable[[CatalogWriter], _Result]) -> _Result:
    """Do `change` and commit; where the catalog's map is too small, grow it and do it again."""
    while True:
        try:
            with catalog.writing() as view:
                return change(view)
        except MapIsFullError:
            # what was appended lies behind the committed end and is written over
            catalog.grow()


def bury(view: CatalogWriter, fingerprint: bytes, address: Address, size: int) -> None:
    """Count the bytes of a record that is no longer current, unless a version needs it."""
    if not view.is_needed(fingerprint, address):
        count_dead(view, address.segment, size)


def count_dead(view: CatalogWriter, segment: int, size: int) -> None:
    """Count the bytes of a record that nothing leads to any more."""
    state = view.segment(segment)
    if state is not None:
        view.set_segment(segment, SegmentState(state.end, state.dead_bytes + size))


def append_records(
    view: CatalogWriter, writer: SegmentWriter, records: Sequence[NewRecord]
) -> list[Placed]:
    """Append records durably and tell the catalog the new ends; where each lies, in order."""
    places, ends = writer.append(records, view.last_end())
    for number, end in ends.items():
        state = view.segment(number) or SegmentState(SEGMENT_HEADER_BYTES, 0)
        view.set_segment(number, SegmentState(end, state.dead_bytes))
    return places
