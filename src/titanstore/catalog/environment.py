"""One LMDB environment a process and folder, shared by all stores that this process has open on it.

LMDB forbids a process to open a folder twice, and to use an environment that was opened before a
fork. Both are seen to here.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lmdb

from titanstore.errors import BusyError, CorruptionError, ErrorKind, StoreError
from titanstore.segments.disk import FileIdentity, refusals_named, storage_error, sync_folder

_FIRST_DATABASES = ("entries", "names", "documents", "owners", "meta")  # every store has them
DATABASES = (*_FIRST_DATABASES, "versions", "changes")
_MAP_BYTES_FIRST = 1 << 30  # address space, not memory; grown when full
_READERS_MAX = 1024
_FORK_PATIENCE_S = 5.0  # for transactions of other threads to end


class Gate:
    """Held open by every transaction; shut while the map is moved or closed under them.

    Remapping or closing takes the pages away from transactions that are under way in other
    threads. A thread that is inside may enter again only where nobody can shut it: while it writes.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Open and empty, with locks of its own: in a child the parent's may be held for ever."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._is_shut = False

    def __enter__(self) -> None:
        with self._lock:
            while self._is_shut:
                self._changed.wait()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._is_shut:
                self._changed.notify_all()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Wait until nobody is inside and let nobody in meanwhile."""
        self.begin_shut()
        try:
            yield
        finally:
            self.end_shut()

    def begin_shut(self, timeout_s: float | None = None) -> None:
        """`shut` by hand; after `timeout_s` it is shut with somebody still inside."""
        with self._lock:
            while self._is_shut:
                self._changed.wait()
            self._is_shut = True
            self._changed.wait_for(lambda: not self._inside, timeout_s)

    def end_shut(self) -> None:
        """Let everybody in again."""
        with self._lock:
            self._is_shut = False
            self._changed.notify_all()


@dataclass(slots=True)
class SharedEnvironment:
    """An open environment, its named databases, and how many catalogs use it."""

    environment: lmdb.Environment
    databases: dict[str, lmdb._Database]
    is_read_only: bool
    is_durable: bool
    path: str
    pid: int
    names: tuple[str, ...] | None  # of databases that it may have; None: a catalog's
    users: int = 1
    gate: Gate = field(default_factory=Gate)
    identity: FileIdentity | None = None  # of its file, where it may be written
    is_broken: bool = False  # LMDB refuses everything until it is opened anew
    stands_in: bool = False  # read-only, for one that the disk does not let be opened to write

    def renew(self, *, to_write: bool) -> None:
        """Open it anew, in place, where that is needed; only with the gate shut.

        After a failed write of a meta page LMDB serves nobody any more, though all that it had
        committed is in the file. While the disk refuses what a writer's environment needs, a
        read-only one stands in: without a lock, since whoever may write is the one who calls.

        Raises
        ------
        CorruptionError
            BAD_CATALOG: the file is gone.
        lmdb.Error, StorageError, ReadOnlyError
            It is to write and still cannot; or it cannot even be read.
        """
        if not (self.is_broken or (to_write and self.stands_in)):
            return
        data = Path(self.path, "data.mdb")
        with refusals_named("opening the catalog"):
            if not data.exists() or not data.stat().st_size:  # LMDB would make an empty one
                raise CorruptionError(
                    f"{data} is missing or empty: restore it", ErrorKind.BAD_CATALOG
                )
        self.environment.close()
        self.is_broken = True
        try:
            self._take(
                _open_environment(
                    self.path,
                    read_only=self.is_read_only,
                    durable=self.is_durable,
                    names=self.names,
                )
            )
        except (lmdb.Error, StoreError):
            self._take(
                _open_environment(
                    self.path, read_only=True, durable=False, names=self.names, lock=False
                )
            )
            self.stands_in = True
            if to_write:
                raise

    def _take(self, fresh: SharedEnvironment) -> None:
        self.environment, self.databases = fresh.environment, fresh.databases
        self.identity = fresh.identity
        self.is_broken = self.stands_in = False


_open: dict[str, SharedEnvironment] = {}
_lock = threading.Lock()


# A child must close its parent's environment before it can open its own, and that ends all
# transactions in the table of readers that both share. So none may be under way during a fork.
def _before_fork() -> None:
    _lock.acquire()
    for shared in _open.values():
        shared.gate.begin_shut(_FORK_PATIENCE_S)


def _after_fork_in_parent() -> None:
    for shared in _open.values():
        shared.gate.end_shut()
    _lock.release()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # the parent's
    for shared in _open.values():
        shared.gate.renew()  # shut for this fork; the next one would wait for it for ever


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)


def acquire(
    folder: Path,
    *,
    read_only: bool,
    durable: bool,
    names: tuple[str, ...] | None = None,
) -> SharedEnvironment:
    """Open the environment in a folder, or join the one that this process has open.

    Parameters
    ----------
    names
        Databases that every such environment has; None: it is a catalog.

    Raises
    ------
    BusyError
        ALREADY_OPEN: this process has it open read-only, or without durability, and now wants to
        write, or to write durably.
    StorageError, ReadOnlyError
        The folder cannot be synced.
    lmdb.Error
        As LMDB has it.
    """
    path = os.path.realpath(folder)
    with _lock:
        found = _open.get(path)
        if found is not None and found.pid != os.getpid():
            found.environment.close()  # the parent's
            del _open[path]
            found = None
        if found is not None:
            if found.is_read_only and not read_only:
                raise BusyError(
                    f"{folder.parent} is open read-only in this process; close that store first",
                    ErrorKind.ALREADY_OPEN,
                )
            if durable and not read_only and not found.is_durable:
                raise BusyError(
                    f"{folder.parent} is open in this process without durability; close that "
                    "store first",
                    ErrorKind.ALREADY_OPEN,
                )
            found.users += 1
            return found
        opened = _open_environment(path, read_only=read_only, durable=durable, names=names)
        _open[path] = opened
        return opened


def _open_environment(
    path: str,
    *,
    read_only: bool,
    durable: bool,
    names: tuple[str, ...] | None,
    lock: bool = True,
) -> SharedEnvironment:
    try:
        data = Path(path, "data.mdb")
        size = data.stat().st_size if data.exists() else 0
        environment = lmdb.open(
            path,
            map_size=max(_MAP_BYTES_FIRST, 2 * size),
            max_dbs=len(names or DATABASES),
            max_readers=_READERS_MAX,
            readonly=read_only,
            # a read-only medium has no writer, so there is nothing to lock against
            lock=lock and (not read_only or os.access(path, os.W_OK)),
            sync=durable,
            readahead=False,
            create=not read_only,
        )
    except OSError as error:  # LMDB makes the folder itself
        raise storage_error(error, "opening the catalog") from error
    try:
        if durable and not read_only:
            # that the file is there does not say that its name is on the disk: who made it may
            # have been killed before it had synced the folder
            sync_folder(Path(path))
        databases = {
            name: _open_database(environment, name, create=not read_only)
            for name in names or (_FIRST_DATABASES if read_only else DATABASES)
        }
        shared = SharedEnvironment(
            environment, databases, read_only, durable, path, os.getpid(), names
        )
        find_databases(shared)
        if not read_only:
            environment.reader_check()  # slots of killed readers would keep old pages
            shared.identity = FileIdentity(data)
    except OSError as error:
        environment.close()
        raise storage_error(error, "opening the catalog") from error
    except BaseException:
        environment.close()
        raise
    return shared


def _open_database(environment: lmdb.Environment, name: str, *, create: bool) -> lmdb._Database:
    is_entries = name == "entries"
    return environment.open_db(
        name.encode(), create=create, dupsort=is_entries, dupfixed=is_entries
    )


def find_databases(shared: SharedEnvironment) -> None:
    """Open those databases that are there and were not when the environment was opened."""
    for name in shared.names or DATABASES:
        if name not in shared.databases:
            with contextlib.suppress(lmdb.NotFoundError):  # of a release that had no versions
                shared.databases[name] = _open_database(shared.environment, name, create=False)


def release(shared: SharedEnvironment) -> None:
    """Give up one use; the last one of this process closes the environment."""
    with _lock:
        if shared.pid != os.getpid() or _open.get(shared.path) is not shared:
            return
        shared.users -= 1
        if not shared.users:
            del _open[shared.path]
            with shared.gate.shut():
                shared.environment.close()
