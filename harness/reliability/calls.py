"""System calls as strace writes them down, and which of them change a folder.

A call that touches the folder and is in none of the tables below is an error: whoever makes the
store use a new one has to say here what it does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import HarnessError

__all__ = [
    "DATA_WRITES",
    "READS",
    "SYNCS",
    "WRITES",
    "Call",
    "ordinals_at",
    "parse_calls",
    "touching",
]

DATA_WRITES = frozenset({"write", "pwrite64", "writev", "pwritev", "pwritev2"})
SYNCS = frozenset({"fsync", "fdatasync", "msync", "sync_file_range", "sync", "syncfs"})
_NAMES = frozenset(
    {
        *("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
        *("link", "linkat", "symlink", "symlinkat"),
    }
)
_SIZES = frozenset({"truncate", "ftruncate", "fallocate", "copy_file_range", "mremap"})
WRITES = DATA_WRITES | SYNCS | _NAMES | _SIZES  # and `openat` or `mmap`, where they write
READS = frozenset(
    {
        *("openat", "mmap", "read", "pread64", "readv", "preadv", "getdents64", "lseek"),
        *("fstat", "newfstatat", "stat", "lstat", "statx", "statfs", "fstatfs"),
        *("access", "faccessat", "faccessat2", "readlink", "readlinkat", "close"),
        *("madvise", "fadvise64", "fcntl", "flock", "ioctl", "dup", "dup3"),
    }
)
_BY_ADDRESS = frozenset({"msync", "mremap", "sync", "syncfs"})  # no file to be seen: count them all

_LINE = re.compile(r"^(?:(\d+) +)?(\w+)\((.*)\) += (0x[0-9a-f]+|-?\d+|\?).*$", re.DOTALL)
_ANNOTATED = re.compile(r"<((?:\\x[0-9a-f]{2})+)>")
_QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One system call.

    Attributes
    ----------
    ordinal
        How many calls of this name there were up to and with this one.
    result
        What it returned; None where it never did.
    paths
        Files and folders that it names, by descriptor or by text.
    """

    name: str
    arguments: str
    ordinal: int
    result: int | None
    paths: tuple[str, ...]

    def where(self, folder: str) -> str:
        """The first path below `folder` that it names: what strace knows it by. Empty if none."""
        found = [path for path in self.paths if path == folder or path.startswith(f"{folder}/")]
        return found[0] if found and not found[0].endswith(" (deleted)") else ""

    @property
    def is_write(self) -> bool:
        """Can it change what is stored?"""
        if self.name == "openat":
            return "O_CREAT" in self.arguments or "O_TRUNC" in self.arguments
        if self.name == "mmap":
            return "MAP_SHARED" in self.arguments and "PROT_WRITE" in self.arguments
        return self.name in WRITES

    @property
    def strings(self) -> list[bytes]:
        """Its arguments in quotes."""
        return [unescaped(found) for found in _QUOTED.findall(self.arguments)]


def unescaped(text: str) -> bytes:
    """What strace's -xx wrote as \\x61\\x62."""
    return bytes.fromhex(text.replace("\\x", ""))


def parse_calls(text: str) -> list[Call]:
    """The calls of one thread, from what `strace -y -xx -o` wrote.

    Raises
    ------
    HarnessError
        A line that is no call, as where threads cut in on each other: ordinals would be wrong.
    """
    counts: Counter[str] = Counter()
    found = []
    for line in text.splitlines():
        if "+++" in line or "---" in line:
            continue
        parsed = _LINE.match(line)
        if parsed is None:
            raise HarnessError(f"strace wrote what is no call of one thread: {line[:200]}")
        _, name, arguments, result = parsed.groups()
        counts[name] += 1
        found.append(
            Call(
                name=name,
                arguments=arguments,
                ordinal=counts[name],
                result=None if result == "?" else int(result, 0),
                paths=_paths(name, arguments),
            )
        )
    return found


def _paths(name: str, text: str) -> tuple[str, ...]:
    found = [unescaped(path) for path in _ANNOTATED.findall(text)]
    if name not in DATA_WRITES | {"read", "pread64", "readv", "preadv"}:
        found += [unescaped(path) for path in _QUOTED.findall(text)]
    return tuple(path.decode(errors="replace") for path in found)


def ordinals_at(calls: Iterable[Call], folder: str) -> dict[int, int]:
    """By id of a call that is about a path: which one it is of its name that names that path.

    That stays the same where a call elsewhere comes or goes, such as for memory.
    """
    counts: Counter[tuple[str, str]] = Counter()
    found = {}
    for call in calls:
        for path in set(call.paths):
            counts[call.name, path] += 1
        if where := call.where(folder):
            found[id(call)] = counts[call.name, where]
    return found


def touching(calls: Iterable[Call], folder: str) -> list[Call]:
    """Those of the calls that touch `folder` or what lies in it.

    Raises
    ------
    HarnessError
        One of them is in no table of this module.
    """
    found = []
    for call in calls:
        is_here = any(path == folder or path.startswith(f"{folder}/") for path in call.paths)
        if is_here and call.name not in WRITES | READS:
            raise HarnessError(f"{call.name} touches the store, and nobody said what it does")
        if is_here or call.name in _BY_ADDRESS:
            found.append(call)
    return found
