"""Looks of a process at its own memory that do not change what they see.

Reading /proc/self/smaps takes 200 kB of strings, a tenth of what the store may add, and leaves
holes on the heap. Here the kernel's text goes into pages that lie ready before the first look, and
is parsed when the last one has been taken.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field

from harness.probes.mappings import bytes_by_mapping
from harness.probes.memory import page_types_of, peak_resident_bytes

__all__ = ["Looks", "Seen"]

_FILES = ("/proc/self/smaps_rollup", "/proc/self/smaps")
_ROOM_BYTES = 2**21  # a process with lancedb loaded has 0.9 MB of smaps


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look.

    Attributes
    ----------
    by_type
        Bytes under the names of PAGE_TYPES.
    by_mapping
        Bytes that count, by kind of mapping.
    peak_resident
        Highest resident size since the process began or the peak was reset.
    """

    by_type: dict[str, int]
    by_mapping: dict[str, int]
    peak_resident: int


@dataclass(slots=True)
class _Room:
    pages: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, _ROOM_BYTES))
    lengths: list[int] = field(default_factory=list)
    peak: int = 0

    def __post_init__(self) -> None:
        self.pages.write(b"\0" * _ROOM_BYTES)  # touched: they are there before the first look

    def take(self) -> None:
        self.lengths.clear()
        place = 0
        for name in _FILES:
            handle = os.open(name, os.O_RDONLY)
            try:
                while True:
                    with memoryview(self.pages)[place:] as free:
                        count = os.readv(handle, [free])
                    if not count:
                        break
                    place += count
                    if place == _ROOM_BYTES:
                        raise OSError(f"{name} is longer than {_ROOM_BYTES} bytes")
            finally:
                os.close(handle)
            self.lengths.append(place - sum(self.lengths))
        self.peak = peak_resident_bytes()

    def texts(self) -> list[str]:
        first = 0
        found = []
        for length in self.lengths:
            found.append(self.pages[first : first + length].decode())
            first += length
        return found


class Looks:
    """A number of looks, made ready at once; not shared between threads.

    Parameters
    ----------
    names
        Of the looks that will be taken.
    """

    def __init__(self, *names: str) -> None:
        self._rooms = {name: _Room() for name in names}

    def take(self, name: str) -> None:
        """Look; allocates some hundred bytes, frees them, and keeps nothing on the heap.

        Raises
        ------
        KeyError
            No look of that name was made ready.
        OSError
            The kernel's text is longer than the room for it.
        """
        self._rooms[name].take()

    def read(self, name: str, *, store: str) -> Seen:
        """What a look saw, parsed now. `store` is the folder whose mapped files are the store's."""
        room = self._rooms[name]
        rollup, smaps = room.texts()
        return Seen(
            by_type=page_types_of(rollup, smaps),
            by_mapping=bytes_by_mapping(smaps, store),
            peak_resident=room.peak,
        )
