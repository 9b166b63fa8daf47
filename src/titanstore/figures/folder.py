"""Where figures files lie: a folder of each user in shared memory.

Not in the store's folder: a page of a file on a disk that is written to all the time makes its
writer wait whenever the kernel writes it back (reports/decisions/0017), and a reader must not
write there at all. Nothing outlives the machine's uptime, and nothing is ever flushed.

A file is locked (`flock`) as long as its process lives, by whatever it dies: who can lock it may
remove it. Everything is asked of an open folder that is known to be the user's own, since anybody
may make names in /dev/shm.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import mmap
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from titanstore.figures.layout import FILE_BYTES, Figures, FiguresError, parse_figures

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of our own in it, checked
_PREFIX = "titanstore-"
_LOOKED_AT_MAX = 16  # files of dead processes, at each open


def pid_namespace() -> int:
    """What tells apart the numbers of processes of different containers. Raises OSError."""
    return Path("/proc/self/ns/pid").stat().st_ino


@contextmanager
def _user_folder(user: int, *, create: bool = False) -> Iterator[int]:
    """A descriptor of a user's folder. Raises OSError, also where it is not what it should be."""
    path = SHARED_MEMORY / f"{_PREFIX}{user}"
    if create:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(folder)
        if found.st_uid != user or stat.S_IMODE(found.st_mode) != 0o700:
            raise PermissionError(f"{path} is not a folder of user {user} alone")
        yield folder
    finally:
        os.close(folder)


class FiguresFile:
    """A file of this process, mapped and locked, visible to others as soon as it is whole.

    The lock is held by the mapping, so it ends with the last reference to that: a forked child
    must drop its own.
    """

    def __init__(self, head: bytes, store_id: bytes) -> None:
        """Make it. Raises OSError wherever that cannot be done."""
        self._user = os.geteuid()
        self._name = f"{store_id.hex()}-{secrets.token_hex(8)}"
        with _user_folder(self._user, create=True) as folder:
            flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
            descriptor = os.open(".", flags, 0o600, dir_fd=folder)
            try:
                os.fchmod(descriptor, 0o600)  # whatever the umask
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # all of it now: a page for which there is no room later would be a SIGBUS
                os.posix_fallocate(descriptor, 0, FILE_BYTES)
                self.mapping = memoryview(mmap.mmap(descriptor, FILE_BYTES))
                self.mapping[: len(head)] = head
                os.link(f"/proc/self/fd/{descriptor}", self._name, dst_dir_fd=folder)
            finally:
                os.close(descriptor)  # the mapping has a copy, and with it the lock

    def remove(self) -> None:
        """Take it away; its mapping stays valid for whoever still writes to it."""
        with contextlib.suppress(OSError), _user_folder(self._user) as folder:
            os.unlink(self._name, dir_fd=folder)


def remove_dead(user: int, limit: int | None = _LOOKED_AT_MAX) -> None:
    """Remove files of processes that are gone, of any store; looks at `limit` of them."""
    with contextlib.suppress(OSError), _user_folder(user) as folder:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in itertools.islice(entries, limit)]
        for name in names:
            with contextlib.suppress(OSError):
                os.close(_open_living(folder, name, user))


def _open_living(folder: int, name: str, user: int) -> int:
    """A descriptor of a file whose process lives; a dead one's is removed. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != user:
            raise PermissionError(f"{name} is not a file of user {user}")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return descriptor
        os.unlink(name, dir_fd=folder)
        raise ProcessLookupError(f"the process of {name} is gone")
    except BaseException:
        os.close(descriptor)
        raise


def published(store_id: bytes) -> tuple[dict[str, Figures], int]:
    """What living processes published of a store, and how many files of them are not understood.

    Of this user's processes; root sees everybody's. By a name that no other file ever has.
    """
    found: dict[str, Figures] = {}
    unreadable = 0
    for user in _users():
        remove_dead(user, None)
        with contextlib.suppress(OSError), _user_folder(user) as folder:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if entry.name.startswith(store_id.hex())]
            for name in names:
                try:
                    descriptor = _open_living(folder, name, user)
                except OSError:
                    continue
                try:
                    # never mapped here: who cuts it short must not kill us
                    found[name] = parse_figures(os.pread(descriptor, FILE_BYTES, 0), store_id)
                except (OSError, FiguresError):
                    unreadable += 1
                finally:
                    os.close(descriptor)
    return found, unreadable


def _users() -> list[int]:
    user = os.geteuid()
    if user != 0:
        return [user]
    try:
        names = [path.name.removeprefix(_PREFIX) for path in SHARED_MEMORY.glob(f"{_PREFIX}*")]
    except OSError:
        return [user]
    return sorted({user, *(int(name) for name in names if name.isdecimal() and name.isascii())})
