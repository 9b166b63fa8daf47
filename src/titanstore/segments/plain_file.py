"""Files read by pread: what the disk cannot give is an error, where a mapping ends the process."""

from __future__ import annotations

import contextlib
import mmap
import os

from titanstore.errors import CorruptionError, ErrorKind
from titanstore.segments.disk import storage_error


class PlainFile:
    """One file open for reading; any thread may. Closed when the last one lets go of it.

    That is why there is no `close`: a number that another thread reads from must not come to mean
    another file.
    """

    __slots__ = ("_descriptor", "_name")

    def __init__(self, path: str | os.PathLike[str], name: str) -> None:
        """Raises OSError."""
        self._descriptor = -1
        self._name = name
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)

    def size(self) -> int:
        """Bytes of the file now; raises OSError."""
        return os.fstat(self._descriptor).st_size

    def map(self, size: int) -> mmap.mmap:
        """A read-only mapping of the first `size` bytes, which the kernel does not read ahead in.

        It lives on without the file. Raises OSError.
        """
        mapping = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ)
        # read-ahead would pull in 128 kB and more, up to megabytes, for one frame or row
        mapping.madvise(mmap.MADV_RANDOM)
        return mapping

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer only at the end of the file.

        Raises
        ------
        StorageError
            IO_FAILED: the disk cannot give them.
        """
        parts = []
        try:
            while size:
                part = os.pread(self._descriptor, size, offset)
                if not part:
                    break
                parts.append(part)
                offset, size = offset + len(part), size - len(part)
        except OSError as error:
            raise storage_error(error, f"reading {self._name} at {offset}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_all(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on. Raises as `read`, and CorruptionError (SHORT_SEGMENT)."""
        found = self.read(offset, size)
        if len(found) < size:
            raise CorruptionError(
                f"{self._name} ends at {offset + len(found)}, {offset + size} bytes are wanted",
                ErrorKind.SHORT_SEGMENT,
            )
        return found
