"""The file POOL of a store: the one lock of its pool, and where the board is to be found.

    0     8   magic
    8     8   process that announced it, u64; 16: its descriptor of the board, u64
    24   16   nonce of the pool
    40    4   CRC-32C of bytes 0 to 39

The file is read and written, never mapped, so a full or failing disk is an error and not a signal.
It holds no row: whatever it says is a hint that `Board.attach` checks. Lost or damaged, the next
who publishes writes it anew.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import crc32c

from titanstore.pool.memory import close_descriptor

_MAGIC = b"TSDOOR1\n"
_RECORD = struct.Struct("<8sQQ16s")
_CHECK = struct.Struct("<I")
_NBYTES = _RECORD.size + _CHECK.size
_MODE = 0o600
_PAUSE_S = 50e-6
_TRIES = 3  # to open the file, while others replace it


class Announcement(NamedTuple):
    """Where a board is to be found."""

    pid: int
    descriptor: int
    nonce: bytes


class Door:
    """The open file. Threads use it under a lock of their own."""

    def __init__(self, path: Path) -> None:
        """Open the file or make it. Raises OSError, PermissionError for one of another user."""
        self._descriptor = _open(path)

    @contextmanager
    def exclusive(self, patience_s: float) -> Iterator[bool]:
        """Hold the pool's lock; False: somebody else has it, for `patience_s` already, or closed.

        The kernel takes it from a process that ends. Nobody waits without end, so a process that
        is stopped while it holds the lock costs the others rows to share, not time.
        """
        is_held = self._take(patience_s)
        try:
            yield is_held
        finally:
            if is_held:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _take(self, patience_s: float) -> bool:
        if self._descriptor < 0:
            return False
        begun = 0.0
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                begun = begun or now
                if now - begun >= patience_s:
                    return False
                time.sleep(_PAUSE_S)
            else:
                return True

    def read(self) -> Announcement | None:
        """What is announced; None if nothing that makes sense. Under the lock. Raises OSError."""
        content = os.pread(self._descriptor, _NBYTES, 0)
        if len(content) != _NBYTES or content[:8] != _MAGIC:
            return None
        if _CHECK.pack(crc32c.crc32c(content[: _RECORD.size])) != content[_RECORD.size :]:
            return None
        _, pid, descriptor, nonce = _RECORD.unpack_from(content)
        return Announcement(pid, descriptor, nonce)

    def write(self, announcement: Announcement) -> None:
        """Announce a board that this process has. Under the lock. Raises OSError."""
        content = _RECORD.pack(_MAGIC, *announcement)
        content += _CHECK.pack(crc32c.crc32c(content))
        if os.pwrite(self._descriptor, content, 0) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Let go of the file; idempotent."""
        if self._descriptor >= 0:
            close_descriptor(self._descriptor)
            self._descriptor = -1


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for _ in range(_TRIES):
        descriptor = os.open(path, flags, _MODE)
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            close_descriptor(descriptor)
            raise PermissionError(
                errno.EPERM, f"{path.name} belongs to user {status.st_uid}, not {os.geteuid()}"
            )
        is_private = not stat.S_IMODE(status.st_mode) & ~_MODE and status.st_nlink == 1
        if stat.S_ISREG(status.st_mode) and is_private:
            return descriptor
        # ours, but others could open it, or have: whoever uses it goes on with it, apart from us
        close_descriptor(descriptor)
        path.unlink(missing_ok=True)
    raise OSError(errno.EBUSY, f"{path.name} is replaced again and again")
