"""Memory of a process by page type, from /proc.

Source: the kernel's Documentation/filesystems/proc.rst. RSS is of no use here: it counts clean
pages of mapped files, which belong to the page cache (FACTS, "Other tools").
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "PAGE_TYPES",
    "counted_bytes",
    "give_back_free_memory",
    "page_types",
    "page_types_of",
    "peak_resident_bytes",
    "reset_peak_resident",
]

PAGE_TYPES = ("anonymous", "shared memory", "swapped", "dirty file pages", "clean file pages")
_COUNTED = PAGE_TYPES[:4]
# Names in the kernel's answer for pages that Pss_Shmem counts already, though they have an inode
_SHARED_MEMORY = ("/dev/shm/", "/dev/zero (deleted)", "/memfd:", "/SYSV")  # noqa: S108
_HEADER = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+)\s*(.*)$")


def page_types(pid: int | str = "self") -> dict[str, int]:
    """Bytes of a process by page type; shared pages count with the process's share of them.

    Returns
    -------
    dict
        Pss_Anon, Pss_Shmem, SwapPss, dirty pages of private view of files, and the rest of
        Pss_File, under the names of PAGE_TYPES.

    Notes
    -----
    Walks all mappings: some milliseconds.
    """
    return page_types_of(
        Path(f"/proc/{pid}/smaps_rollup").read_text(), Path(f"/proc/{pid}/smaps").read_text()
    )


def page_types_of(rollup_text: str, smaps_text: str) -> dict[str, int]:
    """`page_types` of what the kernel's two files said."""
    rollup = dict(_fields(rollup_text))
    dirty = _dirty_file_bytes(smaps_text)
    return {
        "anonymous": rollup["Pss_Anon"],
        "shared memory": rollup["Pss_Shmem"],
        "swapped": rollup["SwapPss"],
        "dirty file pages": dirty,
        "clean file pages": max(0, rollup["Pss_File"] - dirty),
    }


def counted_bytes(by_type: dict[str, int]) -> int:
    """What the gate counts: everything but clean file pages (SPEC section 2, memory.steady)."""
    return sum(by_type[name] for name in _COUNTED)


def peak_resident_bytes(pid: int | str = "self") -> int:
    """Highest resident size since the process began, or since `reset_peak_resident`.

    Clean pages of mapped files are in it: a bound on what a process took, not what the gate counts.
    """
    status = dict(_fields(Path(f"/proc/{pid}/status").read_text()))
    return status["VmHWM"]


def reset_peak_resident(pid: int | str = "self") -> bool:
    """Begin the peak anew at the present size; False where the kernel does not let us.

    Source: proc(5), /proc/pid/clear_refs, value 5 (Linux 4.0).
    """
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def give_back_free_memory() -> bool:
    """Have malloc return free pages to the kernel; False where the C library cannot.

    Without it, a leak of small buffers hides for hours in memory that was freed before: only
    what is in use then counts as anonymous.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc; musl has none
    if trim is None:
        return False
    trim(0)
    return True


def _fields(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        if colon and rest.endswith(" kB"):
            yield name, 1024 * int(rest[:-3])


def _dirty_file_bytes(text: str) -> int:
    """Private dirty pages of mapped files that are not copies on write (those are anonymous)."""
    total = 0
    is_file = False
    dirty = anonymous = 0
    for line in [*text.splitlines(), "0-0 - - - 0 "]:
        header = _HEADER.match(line)
        if header is None:
            name, _, rest = line.partition(":")
            if name == "Private_Dirty":
                dirty = 1024 * int(rest[:-3])
            elif name == "Anonymous":
                anonymous = 1024 * int(rest[:-3])
            continue
        if is_file:
            total += max(0, dirty - anonymous)
        is_file = header.group(1) != "0" and not header.group(2).startswith(_SHARED_MEMORY)
        dirty = anonymous = 0
    return total
