"""Which kind of source lies at a path: told by its first bytes, never by its name alone."""

from __future__ import annotations

from pathlib import Path

from titanstore.migration.arrow import PARQUET_MAGIC, LanceFolder, ParquetFiles
from titanstore.migration.folders import files_of
from titanstore.migration.lines import GZIP_MAGIC, JsonLines
from titanstore.migration.local_store import LocalStore
from titanstore.migration.numpy_files import MAGIC, NumpyFile, NumpyFolder
from titanstore.migration.source import KINDS, Kind, Source, SourceOptions, reading, refused
from titanstore.migration.sqlite_file import SqliteFile

_MAGIC: dict[bytes, Kind] = {
    MAGIC["npy"]: "npy",
    MAGIC["npz"]: "npz",
    PARQUET_MAGIC: "parquet",
    b"SQLite format 3\0": "sqlite",
    GZIP_MAGIC: "jsonl",
}
_LOOKED_AT = 200  # files of a folder


def open_source(path: Path, options: SourceOptions | None = None) -> Source:
    """The source at a path, to be read as `options` say; reads some first bytes only.

    Raises
    ------
    MigrationError
        BAD_SOURCE: nothing is there, or nothing that is known; the message says what to name.
    """
    options = SourceOptions() if options is None else options
    with reading(path):
        is_there = path.exists()
    if not is_there:
        raise refused(f"there is no {path}")
    kind = options.kind or (_kind_of_folder(path) if path.is_dir() else _kind_of_file(path))
    if kind is None:
        raise refused(f"{path} is nothing known: name its kind, one of {', '.join(KINDS)} (--from)")
    if path.is_dir() is False and kind in ("lance", "langchain"):
        raise refused(f"{path} is a file; {kind} is a folder")
    if path.is_dir() and kind in ("sqlite", "jsonl"):
        raise refused(f"{path} is a folder; name one file of kind {kind}")
    if kind == "npy" or kind == "npz":
        return (NumpyFolder if path.is_dir() else NumpyFile)(path, kind, options)
    if options.keys_file is not None:
        raise refused(f"a file of keys goes with a matrix of numpy's, not with {kind}")
    if kind == "parquet":
        return ParquetFiles(path, options)
    if kind == "lance":
        return LanceFolder(path, options)
    if kind == "langchain":
        return LocalStore(path, options)
    return SqliteFile(path, options) if kind == "sqlite" else JsonLines(path, options)


def _kind_of_file(path: Path) -> Kind | None:
    with reading(path), path.open("rb") as file:
        head = file.read(4096)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return "jsonl" if head.lstrip()[:1] == b"{" else None


def _kind_of_folder(path: Path) -> Kind | None:
    """Of the first files of a folder, where they are all of one kind."""
    if path.suffix == ".lance" or any(one.is_dir() for one in path.glob("*.lance")):
        return "lance"
    kinds: set[Kind | None] = set()
    for looked, (_, file) in enumerate(files_of(path)):
        if looked == _LOOKED_AT:
            break
        kinds.add(_kind_of_member(file))
    return kinds.pop() if len(kinds) == 1 else None


def _kind_of_member(path: Path) -> Kind | None:
    kind = _kind_of_file(path)
    if kind in ("npy", "npz", "parquet"):
        return kind
    with reading(path), path.open("rb") as file:
        return "langchain" if file.read(1) == b"[" else None
