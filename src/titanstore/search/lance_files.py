"""Checksums over the files of a Lance table, verified before LanceDB may read them.

LanceDB has none, and a damaged length inside a file makes it ask for more memory than there is,
which ends the process. It writes a file once and never changes it, so a checksum of each is enough.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from crc32c import crc32c

from titanstore.search.lance_errors import LanceUnavailableError

_READ_BYTES = 1 << 20


class Seal(NamedTuple):
    """What a file must be."""

    size: int
    checksum: int  # CRC-32C


Seals = dict[str, Seal]  # by path below the table's folder


def seal_files(folder: Path, known: Mapping[str, Seal]) -> Seals:
    """A seal for every file there is; files that have one are not read again.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    found: Seals = {}
    for name in _names(folder):
        seal = known.get(name) or _seal(folder / name)
        if seal is not None:
            found[name] = seal
    return found


def check_files(folder: Path, seals: Mapping[str, Seal], checked: set[str]) -> None:
    """Read every sealed file that is not in `checked` and add it; about 1 s for each GB.

    A file that is gone is passed over: pruning may have taken it, and LanceDB says so by itself if
    it needs it.

    Raises
    ------
    LanceUnavailableError
        A file is not what was sealed, or cannot be read.
    """
    for name, wanted in seals.items():
        if name in checked:
            continue
        try:
            seen = _seal(folder / name)
        except OSError as error:
            raise LanceUnavailableError(f"{folder / name}: {error}") from error
        if seen is not None and seen != wanted:
            raise LanceUnavailableError(f"{folder / name} is not what was written")
        checked.add(name)


def _names(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if not name.endswith(".json"):  # hints: replaced in place
                yield str(Path(parent, name).relative_to(folder))


def _seal(path: Path) -> Seal | None:
    size = checksum = 0
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(_READ_BYTES):
                checksum = crc32c(block, checksum)
                size += len(block)
    except FileNotFoundError:
        return None
    return Seal(size, checksum)
