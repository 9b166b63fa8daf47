"""From recorded calls to what they did to a disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from harness.errors import HarnessError
from harness.reliability.calls import DATA_WRITES, Call, touching
from harness.reliability.disk import Acknowledged, Change, Disk, Event, Sync

__all__ = ["record"]

_DESCRIPTOR = re.compile(r"^(\d+)<")
_MAPPED = re.compile(r", (\d+)<[^>]*>, 0x?[0-9a-f]*$")


class _Recorder:
    """Follows names, descriptors and positions as the kernel would."""

    def __init__(self, folder: str, base: Disk, files: Disk) -> None:
        self._folder = folder
        self._names = {
            path: -1 - at for at, path in enumerate(sorted(base)) if not path.endswith("/")
        }
        self._files = files
        self._descriptors: dict[int, tuple[int, str, bool]] = {}  # file, path, is O_DSYNC
        self._positions: dict[int, int] = {}
        self._next = 1
        self._mapped: dict[int, int] = {}  # file: place of its event
        self._addresses: dict[int, int] = {}  # of mappings: file
        self.events: list[Event] = []  # those of mappings without data until it is `finished`

    def _below(self, path: str) -> str:
        return path[len(self._folder) + 1 :]

    def follow(self, call: Call) -> None:
        """One call that succeeded."""
        if call.name == "sendto":
            self.events.append(Acknowledged())
        elif call.name == "openat":
            self._open(call)
        elif call.name in DATA_WRITES:
            self._write(call)
        elif call.name in ("fsync", "fdatasync"):
            self._sync(call)
        elif call.name == "ftruncate":
            file, _, is_synced = self._of(call)
            size = int(call.arguments.rpartition(",")[2])
            self.events.append(Change("size", file, offset=size, is_synced=is_synced))
        elif call.name == "fallocate":
            file, _, is_synced = self._of(call)
            _, _, offset, length = call.arguments.rsplit(",", 3)
            # of a file that is longer already it changes nothing that can be read
            size = int(offset) + int(length)
            self.events.append(Change("longer", file, offset=size, is_synced=is_synced))
        elif call.name == "truncate":
            size = int(call.arguments.rpartition(",")[2])
            self.events.append(Change("size", self._names[self._below(call.paths[0])], offset=size))
        elif call.name in ("rename", "renameat", "renameat2"):
            old, new = (self._below(path) for path in call.paths if path.startswith(self._folder))
            file = self._names.pop(old)
            self._names[new] = file
            self.events.append(Change("moved", file, new))
        elif call.name in ("unlink", "unlinkat"):
            path = self._below(call.paths[-1])
            self._names.pop(path)
            self.events.append(Change("gone", 0, path))
        elif call.name in ("mkdir", "mkdirat"):
            self.events.append(Change("folder", 0, self._below(call.paths[-1])))
        elif call.name == "lseek":
            self._positions[self._number(call)] = int(call.result or 0)
        elif call.name in ("read", "readv"):
            self._positions[self._number(call)] += int(call.result or 0)
        elif call.name == "mmap" and call.is_write:
            self._map(call)
        elif call.name == "msync":
            self._sync_mapping(call)
        elif call.is_write and call.name != "mmap":
            raise HarnessError(f"nobody said what {call.name} does to a disk")

    def _number(self, call: Call) -> int:
        found = _DESCRIPTOR.match(call.arguments)
        if found is None:
            raise HarnessError(f"{call.name} without a descriptor: {call.arguments[:100]}")
        return int(found[1])

    def _of(self, call: Call) -> tuple[int, str, bool]:
        return self._descriptors[self._number(call)]

    def _open(self, call: Call) -> None:
        path = self._below(call.paths[-1])
        if "O_DIRECTORY" in call.arguments:
            self._descriptors[int(call.result or 0)] = (0, path, False)
            return
        file = self._names.get(path)
        if file is None:
            file, self._next = self._next, self._next + 1
            self._names[path] = file
            self.events.append(Change("name", file, path))
        elif "O_TRUNC" in call.arguments:
            self.events.append(Change("size", file))
        is_synced = "O_DSYNC" in call.arguments or "O_SYNC" in call.arguments
        self._descriptors[int(call.result or 0)] = (file, path, is_synced)
        self._positions[int(call.result or 0)] = 0

    def _write(self, call: Call) -> None:
        number = self._number(call)
        file, _, is_synced = self._descriptors[number]
        data = b"".join(call.strings)[: call.result]
        if call.name.startswith("p"):
            offset = int(call.arguments.rpartition(",")[2])
        else:
            offset = self._positions[number]
            self._positions[number] += len(data)
        self.events.append(Change("data", file, offset=offset, data=data, is_synced=is_synced))

    def _sync(self, call: Call) -> None:
        file, path, _ = self._of(call)
        self.events.append(Sync(file) if file else Sync(folder=path))

    def _map(self, call: Call) -> None:
        found = _MAPPED.search(call.arguments)
        if found is None:
            raise HarnessError(f"a mapping of no file: {call.arguments[:100]}")
        file, _, _ = self._descriptors[int(found[1])]
        self._addresses[call.result or 0] = file
        if file not in self._mapped:
            self._mapped[file] = len(self.events)
            self.events.append(Change("mapped", file))

    def finished(self) -> list[Event]:
        """The events, with what mappings wrote: not to be seen, the last content stands for it."""
        last = {file: self._files.get(path, b"") for path, file in self._names.items()}
        for file, place in self._mapped.items():
            self.events[place] = Change("mapped", file, data=last.get(file, b""))
        return self.events

    def _sync_mapping(self, call: Call) -> None:
        address = int(call.arguments.split(",")[0], 16)
        if address not in self._addresses:
            raise HarnessError(f"a mapping that nobody made is synced: {call.arguments[:100]}")
        self.events.append(Sync(self._addresses[address]))


def record(
    calls: Iterable[Call], folder: str, base: Disk, files: Mapping[str, bytes]
) -> list[Event]:
    """What happened to the disk, in order.

    Parameters
    ----------
    calls
        All of a process, with their data.
    folder
        The store's.
    base, files
        What it held before and at the end, by path below the folder.

    Raises
    ------
    HarnessError
        A call whose effect on a disk nobody wrote down.
    """
    recorder = _Recorder(folder, base, files)
    ours = {id(call) for call in touching(calls, folder)}
    for call in calls:
        if call.result is None or call.result < 0:
            continue
        if id(call) in ours or (call.name == "sendto" and call.strings == [b"."]):
            recorder.follow(call)
    return recorder.finished()
