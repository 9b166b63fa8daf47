"""Shared memory without a name: it lives as long as a process has it open, and no longer.

A memfd has no entry in any folder, so nothing can be left behind: whoever is killed, at whatever
instant, the kernel counts one reference less. Another process of the same user opens it through
/proc/<pid>/fd/<number> of one that has it open (proc(5)); what it finds there is believed only
after every check of `attach_memory` and what its header says.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from contextlib import suppress

_NAME = "titanstore-pool"
_LINK = f"/memfd:{_NAME} (deleted)"
_NOEXEC_SEAL = 0x8  # MFD_NOEXEC_SEAL, linux/memfd.h, since Linux 6.3
# Of a fixed size from the beginning: no process can make another one's mapping end in SIGBUS
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_MODE = 0o600


def make_memory(nbytes: int) -> tuple[int, mmap.mmap]:
    """New memory, all zeros and all there: (a descriptor for others to find it by, a mapping).

    Raises OSError: no memory, no descriptors left, or a kernel that refuses.
    """
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        descriptor = os.memfd_create(_NAME, flags | _NOEXEC_SEAL)
    except OSError:
        descriptor = os.memfd_create(_NAME, flags)
    try:
        os.fchmod(descriptor, _MODE)
        os.posix_fallocate(descriptor, 0, nbytes)  # or a later store could find no memory
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return descriptor, mmap.mmap(descriptor, nbytes)
    except BaseException:
        os.close(descriptor)
        raise


def attach_memory(pid: int, number: int, nbytes: int) -> tuple[int, mmap.mmap] | None:
    """Memory that process `pid` has open under a descriptor: (a descriptor of our own, a mapping).

    None if that process has ended, or closed it, or may not be looked into, or has something else
    there: a process number that was given again, a file of another user, kind or size.
    """
    path = f"/proc/{pid}/fd/{number}"
    try:
        if _link(path) != _LINK:  # before opening: opening a device could do something
            return None
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        is_ours = (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == _MODE
            and status.st_uid == os.geteuid()
            and status.st_nlink == 0
            and status.st_size == nbytes
            and fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS == _SEALS
        )
        if is_ours:
            return descriptor, mmap.mmap(descriptor, nbytes)
    except OSError:
        pass
    close_descriptor(descriptor)
    return None


def is_attachable(pid: int, number: int) -> bool:
    """Does that process still have memory of this kind under that descriptor?"""
    try:
        return _link(f"/proc/{pid}/fd/{number}") == _LINK
    except OSError:
        return False


def close_descriptor(descriptor: int) -> None:
    """Close; the mapping stays as long as anything looks at it."""
    with suppress(OSError):
        os.close(descriptor)


def _link(path: str) -> str:
    return os.readlink(path)  # noqa: PTH115  # a Path's parts stay interned for good
