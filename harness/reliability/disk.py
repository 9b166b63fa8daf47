"""A disk that may lose what was not synced: pure, from recorded calls to possible contents.

The model is the strict one of fsync(2): data and size of a file are on the disk once it was synced
(or was opened with O_DSYNC); its name is, once its folder was. What was not synced is there or
not, each 512-byte sector and each change of a name by itself, in any order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "Acknowledged",
    "Atom",
    "Change",
    "Cut",
    "Disk",
    "Event",
    "Sync",
    "atoms_pending",
    "keep_patterns",
    "rebuild",
]

SECTOR_BYTES = 512
_OF_FOLDERS = frozenset({"name", "moved", "gone", "folder"})
Disk = Mapping[str, bytes]  # by path below the store's folder; folders end with a slash


class Change(NamedTuple):
    """One change that stays pending until something is synced.

    kind is "data" (data at offset), "size" (cut or extended to offset), "longer" (extended to
    offset where it is shorter), "name" (path leads to the file), "moved" (the same, and its earlier
    name does no more), "gone" (path leads nowhere), "folder" (path is a folder), "mapped" (the file
    was written through a mapping, and holds `data` at the end).
    """

    kind: str
    file: int
    path: str = ""
    offset: int = 0
    data: bytes = b""
    is_synced: bool = False  # by O_DSYNC, at once


class Sync(NamedTuple):
    """A file, or the names in a folder, is made durable."""

    file: int = -1
    folder: str | None = None


class Acknowledged(NamedTuple):
    """A step returned."""


Event = Change | Sync | Acknowledged


class Atom(NamedTuple):
    """A piece of a pending change that is on the disk or not: the change's place, and bytes."""

    change: int
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """The disk at the moment after `events` events.

    Attributes
    ----------
    durable
        Places of the changes that are surely there.
    pending
        Pieces of the others.
    acknowledged
        Steps that had returned.
    """

    events: int
    durable: tuple[int, ...]
    pending: tuple[Atom, ...]
    acknowledged: int


def folder_of(path: str) -> str:
    """The folder that a path lies in; the store's own is empty."""
    return path.rpartition("/")[0]


def atoms_pending(events: Sequence[Event], count: int) -> Cut:
    """What is durable and what is pending after the first `count` events."""
    synced_files: dict[int, int] = {}
    synced_folders: dict[str, int] = {}
    acknowledged = 0
    for at, event in enumerate(events[:count]):
        if isinstance(event, Sync):
            if event.folder is not None:
                synced_folders[event.folder] = at
            else:
                synced_files[event.file] = at
        acknowledged += isinstance(event, Acknowledged)
    durable: list[int] = []
    pending: list[Atom] = []
    for at, event in enumerate(events[:count]):
        if not isinstance(event, Change):
            continue
        if event.kind in _OF_FOLDERS:
            is_durable = synced_folders.get(folder_of(event.path), -1) > at
        else:
            is_durable = event.is_synced or synced_files.get(event.file, -1) > at
        if is_durable:
            durable.append(at)
        else:
            pending += _pieces(at, event)
    return Cut(count, tuple(durable), tuple(pending), acknowledged)


def _pieces(at: int, change: Change) -> Iterator[Atom]:
    if change.kind != "data":
        yield Atom(at)
        return
    start = 0
    while start < len(change.data):
        end = SECTOR_BYTES - (change.offset + start) % SECTOR_BYTES + start
        yield Atom(at, start, min(end, len(change.data)))
        start = end


def keep_patterns(
    cut: Cut, rng: random.Random, draws: int
) -> Iterator[tuple[str, frozenset[Atom]]]:
    """Which pending pieces are there: none, all, all but one change, one alone, and at random."""
    pending = cut.pending
    everything = frozenset(pending)
    yield "all dropped", frozenset()
    if not pending:
        return
    yield "all there", everything
    changes = sorted({atom.change for atom in pending})
    for change in rng.sample(changes, min(draws, len(changes))):
        alone = frozenset(atom for atom in pending if atom.change == change)
        yield "one alone", alone
        yield "one dropped", everything - alone
        torn = sorted(alone)
        if len(torn) > 1:
            yield "torn", everything - frozenset(torn[rng.randrange(1, len(torn)) :])
    for _ in range(draws):
        share = rng.choice((0.1, 0.5, 0.9))
        yield "at random", frozenset(atom for atom in pending if rng.random() < share)


def rebuild(base: Disk, events: Sequence[Event], cut: Cut, kept: Iterable[Atom]) -> Disk:
    """The disk after a cut where these pending pieces were there.

    A file that no name leads to is gone, and so is all in a folder whose own name is.
    """
    names = {path: -1 - at for at, path in enumerate(sorted(base)) if not path.endswith("/")}
    contents = {names[path]: bytearray(base[path]) for path in names}
    folders = {path[:-1] for path in base if path.endswith("/")}
    pieces: dict[int, list[Atom]] = {}
    for atom in sorted(kept):
        pieces.setdefault(atom.change, []).append(atom)
    for at in sorted({*cut.durable, *pieces}):
        change = events[at]
        assert isinstance(change, Change)
        if change.kind in ("name", "moved"):
            if change.kind == "moved":
                for path in [path for path, file in names.items() if file == change.file]:
                    del names[path]
            names[change.path] = change.file
        elif change.kind == "gone":
            names.pop(change.path, None)
        elif change.kind == "folder":
            folders.add(change.path)
        else:
            _write(contents.setdefault(change.file, bytearray()), change, pieces.get(at))
    files = {
        path: bytes(contents.get(file, b""))
        for path, file in names.items()
        if not folder_of(path) or folder_of(path) in folders
    }
    return dict(sorted({**files, **{f"{folder}/": b"" for folder in folders}}.items()))


def _write(content: bytearray, change: Change, pieces: Sequence[Atom] | None) -> None:
    if change.kind == "size":
        del content[change.offset :]
        content += bytes(change.offset - len(content))
        return
    if change.kind == "longer":
        content += bytes(max(0, change.offset - len(content)))
        return
    if change.kind == "mapped":
        if len(content) <= len(change.data):  # pages beyond the end are not written
            content[:] = change.data[: len(content)]
        return
    for _, start, end in pieces if pieces is not None else [Atom(0, 0, len(change.data))]:
        first = change.offset + start
        if len(content) < first:
            content += bytes(first - len(content))
        content[first : first + end - start] = change.data[start:end]
