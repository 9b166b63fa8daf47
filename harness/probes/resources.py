"""What a process holds besides memory, and what a store's folder takes on the disk."""

from __future__ import annotations

from pathlib import Path

__all__ = ["RESOURCES", "bytes_by_room", "resources"]

RESOURCES = ("descriptors", "threads", "mappings")
_ROOMS = {
    "catalog": "catalog (LMDB)",
    "segments": "segments",
    "lance": "Lance table",
}


def resources(pid: int | str = "self") -> dict[str, int]:
    """Open descriptors, threads and mappings of a process, under the names of RESOURCES.

    Raises
    ------
    OSError
        There is no such process any more, or it is another user's.
    """
    folder = Path(f"/proc/{pid}")
    with (folder / "maps").open("rb") as maps:
        mappings = sum(1 for _ in maps)
    return {
        "descriptors": sum(1 for _ in (folder / "fd").iterdir()),
        "threads": sum(1 for _ in (folder / "task").iterdir()),
        "mappings": mappings,
    }


def bytes_by_room(store: Path) -> dict[str, dict[str, int]]:
    """Files and bytes below a store's folder, by what they are for.

    Returns
    -------
    dict
        For each room: "files", and "bytes" as the disk has them: holes take no space.

    Notes
    -----
    A file that vanishes meanwhile is not counted: maintenance removes what nobody needs.
    """
    found: dict[str, dict[str, int]] = {}
    for path in store.rglob("*"):
        try:
            about = path.lstat()
        except FileNotFoundError:
            continue
        if not path.is_file():
            continue
        room = _room(path.relative_to(store))
        entry = found.setdefault(room, {"files": 0, "bytes": 0})
        entry["files"] += 1
        entry["bytes"] += min(about.st_size, 512 * about.st_blocks)
    return dict(sorted(found.items()))


def _room(path: Path) -> str:
    if path.suffix in (".plane", ".marks"):
        return "planes and marks"
    return _ROOMS.get(path.parts[0], "other") if len(path.parts) > 1 else "other"
