"""What rivals without a file format of their own have in common: keys in lines, and fsync.

A rival that does not synchronise its files is given the same durability as ours: its subject
synchronises what the rival wrote before a put returns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.errors import HarnessError

__all__ = ["KeyLines", "sync_files"]


def sync_files(paths: Iterable[Path]) -> None:
    """fsync each file, then each folder that holds one of them: new names are durable too."""
    folders = set()
    for path in paths:
        _sync(path)
        folders.add(path.parent)
    for folder in folders:
        _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class KeyLines:
    """Where each key is: JSON lines `[key, number, ...]` in a file; the newest line of a key wins.

    It is what people write around a format that has no keys: appended, fsync'd, read whole at the
    start. A last line that a crash cut off is dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        is_new = not path.exists()
        self._file = path.open("a+b")
        if is_new:
            sync_files([path])
        self._file.seek(0)
        whole, newline, torn = self._file.read().rpartition(b"\n")
        if torn:
            self._file.truncate(len(whole) + len(newline))
        try:
            rows = json.loads(b"[" + whole.replace(b"\n", b",") + b"]")
            self.places = {str(row[0]): tuple(int(one) for one in row[1:]) for row in rows}
        except (ValueError, TypeError, IndexError, KeyError) as error:
            self._file.close()
            raise HarnessError(f"{path.name}: {error}") from error

    def append(self, keys: Sequence[str], places: Sequence[tuple[int, ...]]) -> None:
        """Durable when it returns; call it after what the places lead to is durable."""
        lines = [json.dumps([key, *place]) for key, place in zip(keys, places, strict=True)]
        self._file.write(("\n".join(lines) + "\n").encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.places.update(zip(keys, places, strict=True))

    def close(self) -> None:
        """Close the file; idempotent."""
        self._file.close()
