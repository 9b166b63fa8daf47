"""One LMDB environment a process and folder, shared by all stores that this process has open on it.

LMDB forbids a process to open a folder twice, and to use an environment that was opened before a
fork. Both are seen to here.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import lmdb

from titanstore.errors import BusyError, ErrorKind

DATABASES = ("entries", "names", "documents", "owners", "meta")
_MAP_BYTES_FIRST = 1 << 30  # address space, not memory; grown when full
_READERS_MAX = 1024


@dataclass(slots=True)
class SharedEnvironment:
    """An open environment, its named databases, and how many catalogs use it."""

    environment: lmdb.Environment
    databases: dict[str, lmdb._Database]
    is_read_only: bool
    path: str
    pid: int
    users: int = 1


_open: dict[str, SharedEnvironment] = {}
_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


def acquire(folder: Path, *, read_only: bool, durable: bool) -> SharedEnvironment:
    """Open the environment in a folder, or join the one that this process has open.

    Raises
    ------
    BusyError
        ALREADY_OPEN: this process has it open read-only and now wants to write.
    lmdb.Error
        As LMDB has it.
    """
    path = os.path.realpath(folder)
    with _lock:
        found = _open.get(path)
        if found is not None and found.pid != os.getpid():
            found.environment.close()  # the parent's: touches no slot but those of this process
            del _open[path]
            found = None
        if found is not None:
            if found.is_read_only and not read_only:
                raise BusyError(
                    f"{folder.parent} is open read-only in this process; close that store first",
                    ErrorKind.ALREADY_OPEN,
                )
            found.users += 1
            return found
        opened = _open_environment(path, read_only=read_only, durable=durable)
        _open[path] = opened
        return opened


def _open_environment(path: str, *, read_only: bool, durable: bool) -> SharedEnvironment:
    data = Path(path, "data.mdb")
    size = data.stat().st_size if data.exists() else 0
    environment = lmdb.open(
        path,
        map_size=max(_MAP_BYTES_FIRST, 2 * size),
        max_dbs=len(DATABASES),
        max_readers=_READERS_MAX,
        readonly=read_only,
        # a read-only medium has no writer, so there is nothing to lock against
        lock=not read_only or os.access(path, os.W_OK),
        sync=durable,
        readahead=False,
        create=not read_only,
    )
    try:
        databases = {
            name: environment.open_db(
                name.encode(),
                create=not read_only,
                dupsort=name == "entries",
                dupfixed=name == "entries",
            )
            for name in DATABASES
        }
        if not read_only:
            environment.reader_check()  # slots of killed readers would keep old pages
    except BaseException:
        environment.close()
        raise
    return SharedEnvironment(environment, databases, read_only, path, os.getpid())


def release(shared: SharedEnvironment) -> None:
    """Give up one use; the last one of this process closes the environment."""
    with _lock:
        if shared.pid != os.getpid() or _open.get(shared.path) is not shared:
            return
        shared.users -= 1
        if not shared.users:
            del _open[shared.path]
            shared.environment.close()
