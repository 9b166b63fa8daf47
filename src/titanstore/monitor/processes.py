"""Other processes of this machine, from /proc.

Source: the kernel's Documentation/filesystems/proc.rst.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTypes:
    """Bytes of a process by page type; of pages that n processes share, a process has the nth part.

    Attributes
    ----------
    anonymous
        Its own: heap, stacks, rows.
    shared
        Shared memory.
    files
        Resident pages of mapped files, which belong to the page cache.
    swapped
        Anonymous ones that are in swap.
    peak
        Highest resident size so far, pages of files included.
    """

    anonymous: int
    shared: int
    files: int
    swapped: int
    peak: int


def page_types(pid: int) -> PageTypes | None:
    """Memory of a process; None where it is gone, or another user's.

    The process waits for this wherever it changes its mappings meanwhile: some 0.1 ms.
    """
    try:
        rollup = _fields(Path(f"/proc/{pid}/smaps_rollup"))
        status = _fields(Path(f"/proc/{pid}/status"))
        return PageTypes(
            anonymous=rollup["Pss_Anon"],
            shared=rollup["Pss_Shmem"],
            files=rollup["Pss_File"],
            swapped=rollup["SwapPss"],
            peak=status["VmHWM"],
        )
    except (OSError, KeyError, ValueError):  # a process that is ending has no fields
        return None


def _fields(path: Path) -> dict[str, int]:
    found = {}
    for line in path.read_text(errors="replace").splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            found[name] = 1024 * int(rest[:-3])
    return found


def lock_holders(file: Path) -> set[int]:
    """Processes that hold a lock (`fcntl`) on a file, whoever's they are, of this container.

    The kernel's own list, so nobody is in it who was killed.
    """
    try:
        inode = file.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        # 6: POSIX  ADVISORY  READ 4355 fe:00:2779332 0 0; "->" after the number where one waits
        words = line.split()
        if len(words) == 8 and words[1] == "POSIX" and words[5].endswith(f":{inode}"):
            found.add(int(words[4]))
    return {pid for pid in found if pid > 0 and _has_open(pid, file)}


def _has_open(pid: int, file: Path) -> bool:
    """Is it this file, and not one of that number on another disk? Yes where we may not look."""
    try:
        wanted = file.stat()
        numbers = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208  # names are all that is wanted
    except PermissionError:
        return True
    except OSError:
        return False
    for number in numbers:
        try:
            found = Path(f"/proc/{pid}/fd/{number}").stat()
        except OSError:
            continue  # closed meanwhile
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def command_of(pid: int) -> str:
    """Name of a process's program, at most 15 characters; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""
