"""The folder of a store: its header file, the writer's lock, the generation counter.

    STORE           what this folder is: format version and store id, JSON
    LOCK            flock'd by the one writer
    GENERATION      8 bytes, raised whenever a stored value changed or went; mapped by all
    catalog/        LMDB
    segments/       00001.seg ...
    lance/          LanceDB's tables, one a dimension, where the store is large enough
    BLOOM           only with the setting `bloom`
    POOL            only with the setting `shared_pool`
    answers/        LMDB: what `titanstore.clients` needs to answer as Bedrock did

FORMAT.md, "Store folder, versions 1 to 3", is the contract.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import secrets
from pathlib import Path

from titanstore.errors import (
    BusyError,
    CorruptionError,
    ErrorKind,
    InvalidInputError,
    NewerFormatError,
    NotFoundError,
)
from titanstore.segments.disk import FileIdentity, make_folder, storage_error, sync_folder, write_at

FORMAT_VERSION = 3  # 1: without versions; 2: without sums over what they remember
_FORMAT_FIRST = 1  # of a new store, so that an older release can use it until it has a version
_HEADER, _LOCK, _GENERATION, _POOL = "STORE", "LOCK", "GENERATION", "POOL"
_PARTS = {
    _LOCK,
    _GENERATION,
    _POOL,
    "catalog",
    "segments",
    "lance",
    "answers",
    "BLOOM",
    "BLOOM.new",
    f"{_HEADER}.new",
}
_ID_BYTES = 16
_CATALOG_BYTES_NEW = 1 << 16  # more than LMDB writes before the first commit of ours


class StoreFolder:
    """Paths and identity of one store."""

    def __init__(self, path: Path, store_id: bytes) -> None:
        self.path = path
        self.store_id = store_id

    @property
    def catalog(self) -> Path:
        """Folder of the LMDB environment."""
        return self.path / "catalog"

    @property
    def segments(self) -> Path:
        """Folder of the segment files."""
        return self.path / "segments"

    @property
    def bloom(self) -> Path:
        """File of the Bloom filter."""
        return self.path / "BLOOM"

    @property
    def lance(self) -> Path:
        """Folder of the Lance tables."""
        return self.path / "lance"

    @property
    def pool(self) -> Path:
        """File that leads to the shared pool."""
        return self.path / _POOL

    @property
    def answers(self) -> Path:
        """Folder of the answers' LMDB environment, made by the first client that writes."""
        return self.path / "answers"

    @property
    def generation(self) -> Path:
        """File of the generation counter."""
        return self.path / _GENERATION

    def is_unused(self) -> bool:
        """Was nothing ever acknowledged? The first write begins a segment, the first version
        raises the format, and neither is ever undone.
        """
        data = self.catalog / "data.mdb"
        return (
            _format_of(self.path) == _FORMAT_FIRST
            and not any(self.segments.glob("*.seg"))
            and (not data.exists() or data.stat().st_size <= _CATALOG_BYTES_NEW)
        )

    def discard_catalog(self) -> None:
        """Remove a catalog that nothing was committed to; only where `is_unused`."""
        try:
            for name in ("data.mdb", "lock.mdb"):
                (self.catalog / name).unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, "making the catalog anew") from error

    def raise_format(self) -> None:
        """Keep releases from writing that would log no change, or not add it to its sum.

        Only the holder of the writer's lock may call it. It is done, durably, or was never begun.
        """
        if _read_header(self.path) is None:
            raise CorruptionError(
                f"{self.path / _HEADER} is missing: restore it", ErrorKind.NOT_A_STORE
            )
        try:
            _write_header(self.path, FORMAT_VERSION, self.store_id)
        except OSError as error:
            raise storage_error(error, f"writing {_HEADER}") from error


class WriterLock:
    """The right to write: at most one holder over all processes, freed by the kernel on a crash."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise storage_error(error, "taking the writer's lock") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._identity = FileIdentity(path / _LOCK)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 20, 0).decode(errors="replace") or "unknown"
            os.close(self._descriptor)
            raise BusyError(
                f"{path} is open for writing by process {holder}; wait for it, or open with "
                "read_only=True",
                ErrorKind.ALREADY_OPEN,
            ) from error
        except OSError as error:  # closed, or this process would keep itself off the store
            os.close(self._descriptor)
            raise storage_error(error, "taking the writer's lock") from error
        try:  # only for the message above, so a full disk does not matter
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        except OSError:
            pass

    def require(self) -> None:
        """Make sure that nobody else can hold it. Raises BusyError (ALREADY_OPEN), OSError."""
        if not self._identity.is_same():
            raise BusyError(
                f"{_LOCK} was removed or replaced, so another process may be writing: nothing was "
                "written; put it back, or close this store and open it again",
                ErrorKind.ALREADY_OPEN,
            )

    def release(self) -> None:
        """Give the lock back; idempotent. In a forked child this only drops the copy."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Generation:
    """A counter in a shared mapping: readers of other processes see each change in 40 ns.

    Attributes
    ----------
    cells
        One cell: the counter.
    file
        16 bytes that tell the file from every other one.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        try:
            descriptor = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
            try:
                status = os.fstat(descriptor)
                # no other file has both while this one is mapped, a copy of the store's neither
                self.file = status.st_dev.to_bytes(8, "little") + status.st_ino.to_bytes(
                    8, "little"
                )
                access = mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE
                self._mapping = mmap.mmap(descriptor, 8, access=access)
                self._identity = FileIdentity(path)
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise CorruptionError(
                f"{path.name} is missing: this store is incomplete", ErrorKind.NOT_A_STORE
            ) from error
        except ValueError as error:
            raise CorruptionError(
                f"{path.name} is shorter than 8 bytes", ErrorKind.NOT_A_STORE
            ) from error
        except OSError as error:
            raise storage_error(error, f"opening {path.name}") from error
        self.cells = memoryview(self._mapping).cast("Q")

    def require(self) -> None:
        """Make sure that the others look at the same counter. Raises CorruptionError, OSError."""
        if not self._identity.is_same():
            raise CorruptionError(
                f"{_GENERATION} was removed or replaced, so other processes would not learn of a "
                "change: nothing was written; put it back, or open the store again",
                ErrorKind.NOT_A_STORE,
            )

    def close(self) -> None:
        """Let the mapping go; the counter stands still from now on."""
        self.cells = memoryview(bytes(8)).cast("Q")
        del self._mapping

    def bump(self) -> int:
        """Tell every process that a value changed; returns the new number."""
        self.cells[0] = (self.cells[0] + 1) % 2**64
        return self.cells[0]


def _read_header(path: Path) -> bytes | None:
    header = _parsed_header(path)
    return None if header is None else header[1]


def _format_of(path: Path) -> int:
    header = _parsed_header(path)
    return 0 if header is None else header[0]


def _parsed_header(path: Path) -> tuple[int, bytes] | None:
    try:
        content = (path / _HEADER).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise storage_error(error, f"reading {_HEADER}") from error
    try:
        header = json.loads(content)
        version, store_id = int(header["format"]), bytes.fromhex(header["store_id"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise CorruptionError(
            f"{path / _HEADER} is damaged: {error!r}", ErrorKind.NOT_A_STORE
        ) from error
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{path}: store of format {version}, this release reads up to {FORMAT_VERSION}",
            ErrorKind.NEWER_FORMAT,
        )
    if version < 1 or len(store_id) != _ID_BYTES:
        raise CorruptionError(f"{path / _HEADER} is damaged", ErrorKind.NOT_A_STORE)
    return version, store_id


def open_folder(
    path: Path, *, read_only: bool, create: bool
) -> tuple[StoreFolder, WriterLock | None]:
    """Find or make the folder of a store, and take the writer's lock unless `read_only`.

    Raises
    ------
    NotFoundError
        NO_STORE: there is none, and it is not to be made.
    InvalidInputError
        NOT_A_STORE: the folder holds something else.
    BusyError, ReadOnlyError, StorageError, NewerFormatError, CorruptionError
    """
    store_id = _read_header(path)
    if store_id is None:
        if read_only or not create:
            raise NotFoundError(f"there is no store at {path}", ErrorKind.NO_STORE)
        _refuse_strangers(path)
    if read_only:
        assert store_id is not None
        return StoreFolder(path, store_id), None
    try:
        make_folder(path)  # durably: with a name above it a power cut would take it
    except OSError as error:
        raise storage_error(error, f"making {path}") from error
    lock = WriterLock(path)
    try:
        store_id = _read_header(path)
        if store_id is None:
            store_id = _create(path)
        else:
            _refuse_lost_catalog(path)
    except BaseException:
        lock.release()
        raise
    return StoreFolder(path, store_id), lock


def _refuse_strangers(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InvalidInputError(f"{path} is a file, not a store", ErrorKind.NOT_A_STORE)
    strangers = {entry.name for entry in path.iterdir()} - _PARTS if path.exists() else set()
    if strangers:
        raise InvalidInputError(
            f"{path} is not a store and not empty: it holds {sorted(strangers)[0]!r}",
            ErrorKind.NOT_A_STORE,
        )
    # a folder that was begun and not finished holds nothing yet: these come after the header
    if (path / "catalog" / "data.mdb").exists() or _has_segments(path):
        raise CorruptionError(
            f"{path} holds vectors, but its file {_HEADER} is missing: restore it, it names the "
            "format and the store id that each segment repeats",
            ErrorKind.NOT_A_STORE,
        )


def _has_segments(path: Path) -> bool:
    # not by pathlib's glob: the regular expression it makes stays, 31 kB, for as long as we live
    try:
        return any(name.endswith(".seg") for name in os.listdir(path / "segments"))  # noqa: PTH208
    except OSError:
        return False  # none yet, or whoever opens one will be told why not


def _refuse_lost_catalog(path: Path) -> None:
    # with an empty catalog in its place, every segment would count as a torn tail and be cut
    data = path / "catalog" / "data.mdb"
    if _has_segments(path) and not (data.exists() and data.stat().st_size):
        raise CorruptionError(
            f"{path} holds vectors, but {data.relative_to(path)} is missing or empty: restore it",
            ErrorKind.BAD_CATALOG,
        )


def _create(path: Path) -> bytes:
    """Make the parts, then the header: a folder with a header is complete."""
    store_id = secrets.token_bytes(_ID_BYTES)
    try:
        for name in ("catalog", "segments"):
            (path / name).mkdir(exist_ok=True)
        _write_durably(path / _GENERATION, bytes(8))
        sync_folder(path)  # or a power cut may leave the header's name and not the parts'
        _write_header(path, _FORMAT_FIRST, store_id)
        sync_folder(path.absolute().parent)  # or a power cut takes the whole folder
    except OSError as error:
        raise storage_error(error, f"making a store at {path}") from error
    return store_id


def _write_header(path: Path, version: int, store_id: bytes) -> None:
    header = json.dumps({"format": version, "store_id": store_id.hex()})
    fresh = path / f"{_HEADER}.new"
    _write_durably(fresh, header.encode())
    fresh.rename(path / _HEADER)
    sync_folder(path)


def _write_durably(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        write_at(descriptor, content, 0)  # or what a full disk took of it would be renamed
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
