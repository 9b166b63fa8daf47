"""Sources that numpy wrote, .npy and .npz: read in batches, never unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.frame import DIMENSION_MAX
from titanstore.migration.folders import file_stamp, files_named, folder_stamp
from titanstore.migration.source import Batch, SourceOptions, reading, refused

MAGIC: Mapping[str, bytes] = {"npy": b"\x93NUMPY", "npz": b"PK\x03\x04"}
_KEY_BYTES_MAX = 4096  # of one key of a key array, numpy's padding included


class NpyRows:
    """Rows of one .npy, in order, from a file that is read once.

    The header is numpy's own format, parsed by numpy; arrays of objects are refused, so that
    nothing is ever unpickled. A matrix in Fortran order has no rows that lie together.

    Raises
    ------
    MigrationError
        BAD_SOURCE: no .npy, another version, objects, Fortran order, more than two dimensions.
    """

    def __init__(self, stream: IO[bytes], place: str) -> None:
        with reading(place):
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            elif version == (2, 0):
                shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(stream)
            else:
                raise refused(f"{place}: version {version} of the format holds no plain numbers")
        if dtype.hasobject:
            raise refused(f"{place} holds objects: they would have to be unpickled, and are not")
        if len(shape) not in (1, 2):
            raise refused(f"{place} has shape {shape}; a vector or a matrix is wanted")
        if is_fortran and len(shape) == 2 and 1 not in shape:
            raise refused(f"{place} is in Fortran order: save numpy.ascontiguousarray(...) of it")
        self.shape = shape
        self.dtype: np.dtype[Any] = dtype
        self._stream = stream
        self._place = place

    @property
    def is_matrix(self) -> bool:
        """Does it hold many vectors?"""
        return len(self.shape) == 2

    @property
    def rows(self) -> int:
        """How many vectors it holds."""
        return self.shape[0] if self.is_matrix else 1

    def vectors(self, batch_rows: int) -> Iterator[NDArray[Any]]:
        """Matrices of at most `batch_rows` rows, then the check that the file ends there."""
        if self.dtype.kind != "f":
            raise refused(f"{self._place} holds {self.dtype}; only floats can be moved")
        width = self.shape[-1]
        if not 0 < width <= DIMENSION_MAX:
            raise refused(f"{self._place}: vectors have 1 to {DIMENSION_MAX} values, not {width}")
        yield from self._read(self.rows, width, batch_rows)

    def texts(self, batch_rows: int) -> Iterator[list[object]]:
        """Items of a one-dimensional array of strings or whole numbers."""
        is_wanted = self.dtype.kind in "USiu" and self.dtype.itemsize <= _KEY_BYTES_MAX
        if self.is_matrix or not is_wanted:
            raise refused(f"{self._place}: keys are one row of text or whole numbers")
        for part in self._read(self.shape[0], 1, batch_rows):
            yield part[:, 0].tolist()

    def _read(self, rows: int, width: int, batch_rows: int) -> Iterator[NDArray[Any]]:
        for first in range(0, rows, batch_rows):
            count = min(batch_rows, rows - first)
            wanted = count * width * self.dtype.itemsize
            with reading(self._place):
                data = self._stream.read(wanted)
            if len(data) != wanted:
                raise refused(
                    f"{self._place} ends in the middle of rows {first} to {first + count}"
                )
            yield np.frombuffer(data, self.dtype).reshape(count, width)
        with reading(self._place):
            if self._stream.read(1):  # at the end of an archive's member its checksum is compared
                raise refused(f"{self._place} goes on behind its last row")


def _keyed(
    rows: NpyRows, name: str, options: SourceOptions, keys: Iterator[list[str]] | None
) -> Iterator[Batch]:
    """Vectors with their keys: given ones, else the name and, in a matrix, the row's number."""
    first = 0
    for part in rows.vectors(options.batch_rows):
        count = len(part)
        if keys is not None:
            found = next(keys, [])
        elif rows.is_matrix:
            found = [f"{name}/{row}" for row in range(first, first + count)]
        else:
            found = [name]
        if len(found) != count:
            word = "fewer" if len(found) < count else "more"
            raise refused(f"{name}: {word} keys than its {rows.rows} vectors")
        # no document: joining one costs by its size, and a matrix may have millions of rows
        yield Batch(found, list(part), [None] * count)
        first += count
    if keys is not None and next(keys, []):
        raise refused(f"{name}: more keys than its {rows.rows} vectors")


def _lines(path: Path, batch_rows: int) -> Iterator[list[str]]:
    """Lines of a text file in batches."""
    found: list[str] = []
    with reading(path), path.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            found.append(line.removesuffix("\n").removesuffix("\r"))
            if len(found) == batch_rows:
                yield found
                found = []
    if found:
        yield found


class NumpyFile:
    """One .npy or .npz. A file of keys goes with a single matrix."""

    def __init__(self, path: Path, kind: Literal["npy", "npz"], options: SourceOptions) -> None:
        self.kind: Literal["npy", "npz"] = kind
        self._path = path
        self._name = path.stem
        self._options = options

    def fingerprint(self) -> str:
        """Of the file, and of that of the keys."""
        keys = self._options.keys_file
        return file_stamp(self._path) + ("" if keys is None else file_stamp(keys))

    def count(self) -> int | None:
        """Rows, by the headers."""
        return sum(rows for rows in self._counts())

    def _counts(self) -> Iterator[int]:
        if self.kind == "npy":
            with reading(self._path), self._path.open("rb") as stream:
                yield NpyRows(stream, str(self._path)).rows
            return
        with reading(self._path), zipfile.ZipFile(self._path) as archive:
            for member in self._vector_members(archive):
                with archive.open(member) as stream:
                    yield NpyRows(stream, member.filename).rows

    def batches(self, name: str | None = None) -> Iterator[Batch]:
        """All vectors of the file; `name` stands for it in the keys."""
        name = self._name if name is None else name
        keys_file = self._options.keys_file
        keys = None if keys_file is None else _lines(keys_file, self._options.batch_rows)
        if self.kind == "npy":
            with reading(self._path):
                stream = self._path.open("rb")
            with stream:
                yield from _keyed(NpyRows(stream, str(self._path)), name, self._options, keys)
            return
        with reading(self._path):
            archive = zipfile.ZipFile(self._path)
        with archive:
            yield from self._members(archive, keys)

    def _members(
        self, archive: zipfile.ZipFile, keys: Iterator[list[str]] | None
    ) -> Iterator[Batch]:
        options = self._options
        key_member = self._key_member(archive)
        vectors = self._vector_members(archive)
        if key_member is None and keys is None:
            for member in vectors:
                with reading(self._path):
                    stream = archive.open(member)
                with stream:
                    place = f"{self._path}: {member.filename}"
                    yield from _keyed(NpyRows(stream, place), _member_name(member), options, None)
            return
        if len(vectors) != 1:
            names = ", ".join(_member_name(one) for one in vectors) or "none"
            raise refused(f"{self._path}: which member are the vectors? {names} (--vector-column)")
        with ExitStack() as open_now:
            if key_member is not None:
                with reading(self._path):
                    text = open_now.enter_context(archive.open(key_member))
                place = f"{self._path}: {key_member.filename}"
                found = NpyRows(text, place).texts(options.batch_rows)
                keys = ([options.key_of(one, place) for one in part] for part in found)
            with reading(self._path):
                stream = open_now.enter_context(archive.open(vectors[0]))
            rows = NpyRows(stream, f"{self._path}: {vectors[0].filename}")
            yield from _keyed(rows, _member_name(vectors[0]), options, keys)

    def _vector_members(self, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        key_member, wanted = self._key_member(archive), self._options.vector
        return [
            one
            for one in _members(archive)
            if one is not key_member and wanted in (None, _member_name(one))
        ]

    def _key_member(self, archive: zipfile.ZipFile) -> zipfile.ZipInfo | None:
        wanted = self._options.text or self._options.key
        for member in _members(archive):
            if _member_name(member) == (wanted or "keys"):
                return member
        if wanted is not None:
            names = ", ".join(_member_name(one) for one in _members(archive))
            raise refused(f"{self._path} has no member {wanted!r}; it has {names}")
        return None


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [member for member in archive.infolist() if member.filename.endswith(".npy")]


def _member_name(member: zipfile.ZipInfo) -> str:
    """A name and never a path: nothing is unpacked."""
    return member.filename.removesuffix(".npy")


class NumpyFolder:
    """A folder of .npy or of .npz files: keys begin with the file's name below the folder."""

    def __init__(self, path: Path, kind: Literal["npy", "npz"], options: SourceOptions) -> None:
        if options.keys_file is not None:
            raise refused("a file of keys goes with one matrix, not with a folder")
        self.kind: Literal["npy", "npz"] = kind
        self._path = path
        self._suffix = f".{kind}"
        self._options = options

    def fingerprint(self) -> str:
        """Of all its files."""
        return folder_stamp(self._path, self._suffix)

    def count(self) -> int | None:
        """Unknown: each file would have to be opened."""
        return None

    def batches(self) -> Iterator[Batch]:
        """All vectors of all files; single ones gathered, so that a file is not a commit."""
        waiting = Batch([], [], [])
        for name, path in files_named(self._path, self._suffix, MAGIC[self.kind]):
            word = name.removesuffix(self._suffix)
            for batch in NumpyFile(path, self.kind, self._options).batches(word):
                found = batch
                if self.kind == "npz":
                    found = batch._replace(keys=[f"{word}/{key}" for key in batch.keys])
                if len(found.keys) > 1:
                    yield found
                    continue
                waiting.keys.extend(found.keys)
                waiting.vectors.extend(found.vectors)
                waiting.documents.extend(found.documents)
                if len(waiting.keys) >= self._options.batch_rows:
                    yield waiting
                    waiting = Batch([], [], [])
        if waiting.keys:
            yield waiting
