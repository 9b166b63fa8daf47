"""Memory of a process by kind of mapping: where the bytes lie that a page type only sums up."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["KINDS", "bytes_by_mapping"]

HEAP, ANONYMOUS, STACK = "heap", "anonymous mappings", "main stack"
LIBRARIES, STORE, FILES = "written pages of libraries", "files of the store", "other files"
SHARED = "shared memory"
KINDS = (HEAP, ANONYMOUS, STACK, LIBRARIES, STORE, FILES, SHARED)
"""Anonymous mappings are the allocator's arenas, Python's, the row pool and stacks of threads."""

_SHARED_MEMORY = ("/dev/shm/", "/dev/zero (deleted)", "/memfd:", "/SYSV")  # noqa: S108


def bytes_by_mapping(smaps: str, store: str) -> dict[str, int]:
    """Bytes that the gate counts, by kind of mapping: anonymous, swapped, shared, dirty.

    Parameters
    ----------
    smaps
        Text of /proc/PID/smaps.
    store
        Folder of the store: files below it are its own.

    Returns
    -------
    dict
        Every one of KINDS. Clean pages of files count nowhere.
    """
    found = dict.fromkeys(KINDS, 0)
    for name, is_file, sizes in _mappings(smaps):
        anonymous = sizes.get("Anonymous", 0) + sizes.get("SwapPss", 0)
        if name.startswith(_SHARED_MEMORY):
            found[SHARED] += sizes.get("Pss", 0) - sizes.get("Anonymous", 0)
            found[ANONYMOUS] += anonymous
        elif is_file:
            dirty = max(0, sizes.get("Private_Dirty", 0) - sizes.get("Anonymous", 0))
            found[_kind_of_file(name, store)] += anonymous + dirty
        else:
            found[{"[heap]": HEAP, "[stack]": STACK}.get(name, ANONYMOUS)] += anonymous
    return found


def _kind_of_file(name: str, store: str) -> str:
    if store and name.startswith(f"{store.rstrip('/')}/"):
        return STORE
    if ".so" in name.rpartition("/")[2] or "/bin/" in name:
        return LIBRARIES
    return FILES


def _mappings(smaps: str) -> Iterator[tuple[str, bool, dict[str, int]]]:
    """Name, whether it is a file's, and sizes in bytes of each mapping."""
    name, is_file = "", False
    sizes: dict[str, int] = {}
    for line in smaps.splitlines():
        field, colon, rest = line.partition(":")
        if colon and rest.endswith(" kB"):
            sizes[field] = 1024 * int(rest[:-3])
        elif not field.isidentifier():  # a header: 7f00-7f01 r--p 00000000 fd:01 42  /name
            if sizes:
                yield name, is_file, sizes
            parts = line.split(maxsplit=5)
            is_file = parts[4] != "0"
            name = parts[5] if len(parts) > 5 else ""
            sizes = {}
    if sizes:
        yield name, is_file, sizes
