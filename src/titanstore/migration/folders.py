"""Files of a folder one by one, in memory that does not grow with their number."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from titanstore.migration.source import reading, refused

_MODULUS = 2**128


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name relative to the folder, and path, of every file below it, in the order of the disk.

    Hidden files are passed over. Nothing outside is reached.

    Raises
    ------
    MigrationError
        BAD_SOURCE: a link that leads out of the folder or to a folder; what is neither file nor
        folder (a pipe would never end).
    """
    root = folder.resolve()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        with reading(here), os.scandir(here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = Path(entry.path)
                if entry.is_symlink() and (
                    not path.resolve().is_relative_to(root) or not entry.is_file()
                ):
                    raise refused(f"{path} is a link that leads away: only files of {folder} count")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_file():
                    yield path.relative_to(folder).as_posix(), path
                else:
                    raise refused(f"{path} is neither a file nor a folder")


def files_named(folder: Path, suffix: str, magic: bytes) -> Iterator[tuple[str, Path]]:
    """Those of `files_of` whose names end so.

    Raises
    ------
    MigrationError
        As `files_of`; also a file that begins with `magic` and is not called so: to pass it over
        would lose its vectors.
    """
    for name, path in files_of(folder):
        if name.endswith(suffix):
            yield name, path
            continue
        with reading(path), path.open("rb") as file:
            is_like = file.read(len(magic)) == magic
        if is_like:
            raise refused(f"{path} looks like the others, but its name does not end in {suffix}")


def stamp(name: str, path: Path) -> int:
    """Of name, size, time of change and inode of a file; MigrationError where it is gone."""
    with reading(path):
        status = path.stat()
    told = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}"
    return int.from_bytes(hashlib.blake2b(os.fsencode(told), digest_size=16).digest(), "big")


def folder_stamp(folder: Path, suffix: str = "") -> str:
    """Of all files with a suffix, whatever their order."""
    total = sum(stamp(name, path) for name, path in files_of(folder) if name.endswith(suffix))
    return f"{total % _MODULUS:032x}"


def file_stamp(path: Path) -> str:
    """Of one file."""
    return f"{stamp(path.name, path):032x}"
