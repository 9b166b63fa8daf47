"""The operating system's refusals as errors of our tree, and durable names in a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from titanstore.errors import ErrorKind, ReadOnlyError, StorageError, StoreError


def storage_error(error: OSError, doing: str) -> StoreError:
    """The error of our tree for an operating system's error while `doing` something."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(
            f"{doing}: {error.strerror}; nothing was written, free space and try again",
            ErrorKind.DISK_FULL,
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyError(
            f"{doing}: {error.strerror}; open the store with read_only=True or mount it writable",
            ErrorKind.READ_ONLY_DISK,
        )
    return StorageError(
        f"{doing}: {error.strerror or error}; nothing was acknowledged", ErrorKind.IO_FAILED
    )


@contextmanager
def refusals_named(doing: str) -> Iterator[None]:
    """The operating system's refusals in this block as errors of our tree.

    For calls that only look at names and sizes, which hardly ever fail and are many.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(error, doing) from error


class FileIdentity:
    """Which file a path led to: what is written to one that it no longer leads to is lost.

    Two system calls at the start, one each time it is asked: 2 us.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises OSError."""
        self._path = os.fspath(path)
        self._seen = self._now()

    def _now(self) -> tuple[int, int]:
        found = os.stat(self._path)  # noqa: PTH116  # a Path interns its parts, at each write
        return found.st_dev, found.st_ino

    def is_same(self) -> bool:
        """Does the path still lead to it? Raises OSError, but for a file that is gone."""
        try:
            return self._now() == self._seen
        except FileNotFoundError:
            return False

    def is_there(self) -> bool:
        """Is there anything at the path, this file or another one?"""
        return os.path.exists(self._path)  # noqa: PTH110  # as above


def write_at(descriptor: int, data: bytes | bytearray, offset: int) -> None:
    """Write all of `data`; raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        if not written:  # some file systems say so of a full disk; asking on would never end
            raise OSError(errno.EIO, "the file system wrote nothing and gave no reason")
        view, offset = view[written:], offset + written


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, each durably; raises OSError."""
    missing = []
    path = path.absolute()
    while not path.exists():
        missing.append(path)
        path = path.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)  # another process may be making it, too
        sync_folder(each.parent)


@cache
def boot_id() -> bytes:
    """16 bytes that name this start of the kernel: what was only in its memory is there or not."""
    return bytes.fromhex(
        Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    )
