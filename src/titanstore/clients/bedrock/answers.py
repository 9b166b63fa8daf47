"""Answers on the disk: an LMDB environment of its own in the store's folder.

The vectors are in the store. Here is, by key, what it takes to answer as Titan did. The folder may
be deleted at any time: then answers are asked for again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import lmdb

from titanstore.catalog.environment import SharedEnvironment, acquire, release
from titanstore.clients.bedrock.records import AnswerRecord, Style, damaged
from titanstore.errors import (
    ClosedError,
    CorruptionError,
    ErrorKind,
    ReadOnlyError,
    StorageError,
    StoreError,
)
from titanstore.segments.disk import storage_error, sync_folder

_DATABASES = ("answers", "styles")
_STYLES_MAX = 1_000
_FORMS_MAX = 900  # of them; where each body has a form of its own, the rest is kept verbatim
_NUMBER_BYTES = 2
_SCANNED = 10_000  # entries in one read transaction of `scan`
_Result = TypeVar("_Result")

if TYPE_CHECKING:
    _Databases = dict[str, lmdb._Database]  # noqa: SLF001  # has no other name
    _Act = Callable[[lmdb.Transaction[bytes], _Databases], _Result]


class Answers:
    """Answers of one store. Any thread may use an object; a forked child opens them anew.

    Parameters
    ----------
    folder
        Made by the first write. While it is missing there are no answers.
    """

    def __init__(self, folder: Path, *, read_only: bool, durable: bool) -> None:
        self._folder = folder
        self._is_read_only = read_only
        self._durable = durable
        self._lock = threading.Lock()
        self._shared: SharedEnvironment | None = None
        self._pid = os.getpid()
        self._styles: dict[int, Style] = {}
        self._numbers: dict[bytes, int] = {}
        self._is_closed = False

    # -- reading ---------------------------------------------------------------------------

    def get(self, key: str) -> AnswerRecord | None:
        """The record of a key of 32 hexadecimal digits, or None. About 4 us.

        Raises
        ------
        CorruptionError
            BAD_ANSWERS.
        ClosedError, StorageError
        """
        shared = self._opened(to_write=False)
        if shared is None:
            return None
        digest = bytes.fromhex(key)
        data = self._read(shared, lambda view, names: view.get(digest, db=names["answers"]))
        return None if data is None else AnswerRecord.from_bytes(data)

    def style(self, number: int) -> Style:
        """A style by its number. Raises as `get`."""
        found = self._styles.get(number)
        if found is None:
            shared = self._opened(to_write=False)
            data = None
            if shared is not None:
                place = _place(number)
                data = self._read(shared, lambda view, names: view.get(place, db=names["styles"]))
            if data is None:
                raise damaged(f"style {number} is missing")
            found = self._styles[number] = Style.from_bytes(data)
        return found

    def scan(self) -> Iterator[tuple[str, AnswerRecord | None]]:
        """Every key and its record, in order of keys; what is written meanwhile may be missing.

        None for a record that is not what was written: it answers nobody.
        """
        shared = self._opened(to_write=False)
        after = b""
        while shared is not None:
            block = self._read(shared, _block_reader(after))
            yield from ((key.hex(), _whole(data)) for key, data in block)
            if len(block) < _SCANNED:
                return
            after = block[-1][0]

    def file_bytes(self) -> int:
        """Bytes of the data file up to its last page in use."""
        shared = self._opened(to_write=False)
        if shared is None:
            return 0
        with shared.gate:
            info, stat = shared.environment.info(), shared.environment.stat()
            return int((info["last_pgno"] + 1) * stat["psize"])

    # -- writing ---------------------------------------------------------------------------

    def number_of(self, style: Style) -> int | None:
        """The number of a style, a new one if it has none; None where all numbers are taken.

        Raises
        ------
        ReadOnlyError, StorageError, CorruptionError, ClosedError
        """
        data = style.to_bytes()
        number = self._numbers.get(data)
        if number is None:
            most = _STYLES_MAX if style.form is None else _FORMS_MAX
            number = self._written(lambda view, names: _numbered(view, names, data, most))
            if number is not None:
                self._numbers[data] = number
        return number

    def put_many(self, records: Mapping[str, AnswerRecord]) -> None:
        """Keep records, all or none, durably where the store is."""
        items = [(bytes.fromhex(key), record.to_bytes()) for key, record in records.items()]

        def put(view: lmdb.Transaction[bytes], names: _Databases) -> None:
            for key, data in items:
                view.put(key, data, db=names["answers"])

        self._written(put)

    def delete_many(self, keys: Sequence[str]) -> int:
        """Remove records, all or none; returns how many there were."""
        digests = [bytes.fromhex(key) for key in keys]

        def delete(view: lmdb.Transaction[bytes], names: _Databases) -> int:
            answers = names["answers"]
            return sum(view.delete(digest, db=answers) for digest in digests)

        return self._written(delete)

    def close(self) -> None:
        """Give the environment up; idempotent."""
        with self._lock:
            self._is_closed = True
            shared, self._shared = self._shared, None
        if shared is not None:
            release(shared)

    # -- the environment -------------------------------------------------------------------

    def leave_parent(self) -> None:
        """In a forked child: locks may be held for ever, and LMDB must be opened anew."""
        self._lock = threading.Lock()
        self._shared = None
        self._is_read_only = True

    def _opened(self, *, to_write: bool) -> SharedEnvironment | None:
        shared = self._shared
        if shared is not None and self._pid == os.getpid():
            return shared
        with self._lock:
            if self._is_closed:
                raise ClosedError("the answers are closed", ErrorKind.CLOSED)
            if self._pid != os.getpid():
                self._shared, self._pid = None, os.getpid()
            if self._shared is None and (to_write or (self._folder / "data.mdb").exists()):
                self._shared = self._acquire()
            return self._shared

    def _acquire(self) -> SharedEnvironment:
        try:
            if not self._is_read_only and not self._folder.exists():
                self._folder.mkdir(exist_ok=True)  # another object's thread
                sync_folder(self._folder.parent)
            return acquire(
                self._folder,
                read_only=self._is_read_only,
                durable=self._durable,
                names=_DATABASES,
            )
        except OSError as error:
            raise storage_error(error, "opening the answers") from error
        except lmdb.Error as error:
            raise _answers_error(error) from error

    def _read(self, shared: SharedEnvironment, read: _Act[_Result]) -> _Result:
        return _transacted(shared, read, to_write=False)

    def _written(self, change: _Act[_Result]) -> _Result:
        if self._is_read_only:
            raise ReadOnlyError(
                "the store of these answers is open for reading only", ErrorKind.OPENED_READ_ONLY
            )
        shared = self._opened(to_write=True)
        assert shared is not None
        return _transacted(shared, change, to_write=True)


def _transacted(shared: SharedEnvironment, act: _Act[_Result], *, to_write: bool) -> _Result:
    """Do `act` in one transaction; after what made LMDB give up, with the environment renewed."""
    try:
        while True:
            size = 0
            try:
                with shared.gate:
                    if not shared.is_broken and not (to_write and shared.stands_in):
                        with shared.environment.begin(write=to_write) as view:
                            return act(view, shared.databases)
            except lmdb.MapFullError:
                size = 2 * shared.environment.info()["map_size"]
            except lmdb.MapResizedError:
                pass  # another process has grown the map
            except lmdb.PanicError:
                shared.is_broken = True  # a write of a meta page failed, at any time before
            with shared.gate.shut():
                shared.renew(to_write=to_write)
                shared.environment.set_mapsize(size)
    except lmdb.Error as error:
        raise _answers_error(error) from error


def _whole(data: bytes) -> AnswerRecord | None:
    try:
        return AnswerRecord.from_bytes(data)
    except CorruptionError:
        return None


def _place(number: int) -> bytes:
    return number.to_bytes(_NUMBER_BYTES, "big")


def _numbered(
    view: lmdb.Transaction[bytes], names: _Databases, data: bytes, most: int
) -> int | None:
    styles = names["styles"]
    last = -1
    for place, kept in view.cursor(db=styles):
        last = int.from_bytes(place, "big")
        if kept == data:
            return last
    if last + 1 >= most:
        return None
    view.put(_place(last + 1), data, db=styles)
    return last + 1


def _block_reader(after: bytes) -> _Act[list[tuple[bytes, bytes]]]:
    def read(view: lmdb.Transaction[bytes], names: _Databases) -> list[tuple[bytes, bytes]]:
        cursor = view.cursor(db=names["answers"])
        if not cursor.set_range(after + b"\0" if after else b"\0"):
            return []
        found = []
        for item in cursor:
            found.append(item)
            if len(found) == _SCANNED:
                break
        return found

    return read


def _answers_error(error: lmdb.Error) -> StoreError:
    if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.InvalidError):
        return damaged(str(error))
    if isinstance(error, lmdb.ReadonlyError):
        return ReadOnlyError(f"answers: {error}", ErrorKind.READ_ONLY_DISK)
    full = "No space left" in str(error) or "File too large" in str(error)
    kind = ErrorKind.DISK_FULL if full else ErrorKind.IO_FAILED
    return StorageError(f"answers: {error}; nothing was acknowledged", kind)
