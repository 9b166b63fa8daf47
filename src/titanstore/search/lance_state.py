"""STATE of a Lance table: which of LanceDB's versions holds what, in one small checked file.

LanceDB commits data, deletions, compaction and index one by one. What counts is only the version
that this file names; a table killed halfway is put back to it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from crc32c import crc32c

from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_files import Seal, Seals
from titanstore.search.lance_schema import Norms

STATE_FILE = "STATE"
_FORMAT = 2
NO_NORMS = Norms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one version of the table holds.

    Attributes
    ----------
    version
        LanceDB's number of it.
    watermark
        Everything the store wrote up to this sequence number is in.
    rows, digest
        Number of rows, and the sum of their checksums modulo 2**64.
    index
        LanceDB's name of the index's kind; empty without an index.
    trained_rows, partitions
        Rows the index was trained on, and its partitions.
    norms
        Range of the lengths of the vectors, ever since the table was made.
    """

    version: int
    watermark: int
    rows: int
    digest: int
    index: str = ""
    trained_rows: int = 0
    partitions: int = 0
    norms: Norms = NO_NORMS


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The table's folder, its present content, its files.

    Every file that the content needs has a seal.
    """

    table: str
    dimension: int
    values: str
    content: Content
    files: Seals = field(default_factory=dict)

    def with_content(self, content: Content) -> State:
        """The same table with another content."""
        return replace(self, content=content)


def read_state(folder: Path) -> State:
    """The state in a folder.

    Raises
    ------
    LanceUnavailableError
        There is none, or it is not what was written.
    """
    path = folder / STATE_FILE
    try:
        body, _, checksum = path.read_bytes().partition(b"\n")
        raw = json.loads(body)
        if int(checksum) != crc32c(body) or raw.pop("format") != _FORMAT:
            raise LanceUnavailableError(f"{STATE_FILE} is damaged, or of another release")
        files = {name: Seal(*seal) for name, seal in raw.pop("files").items()}
        return State(content=_content(raw.pop("content")), files=files, **raw)
    except FileNotFoundError as error:
        raise LanceUnavailableError("there is no table yet") from error
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise LanceUnavailableError(f"{STATE_FILE}: {error}") from error


def _content(raw: dict[str, Any]) -> Content:
    return Content(**raw | {"norms": Norms(*raw["norms"])})


def write_state(folder: Path, state: State, *, durable: bool) -> None:
    """Replace the state in one step. Raises OSError."""
    body = json.dumps({"format": _FORMAT} | asdict(state), sort_keys=True).encode()
    path = folder / f"{STATE_FILE}.new"
    with path.open("wb") as file:
        file.write(body + b"\n" + str(crc32c(body)).encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())
    path.replace(folder / STATE_FILE)
    if durable:
        _sync(folder)


def state_stamp(folder: Path) -> tuple[int, int]:
    """What changes whenever the state does; (0, 0) when there is none. About 2 us."""
    try:
        found = (folder / STATE_FILE).stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def file_time_ns() -> int:
    """The time as file times count it, a little earlier: their clock moves in steps."""
    return time.time_ns() - 50_000_000


def sync_tree(folder: Path, since_ns: int) -> None:
    """Make durable what changed below a folder since a moment of `file_time_ns`. Raises OSError.

    Lance never changes a file once written. A file that goes meanwhile is passed over.
    """
    for parent, _, names in os.walk(folder):
        changed = False
        for name in names:
            path = Path(parent, name)
            try:
                if path.stat().st_mtime_ns >= since_ns:
                    _sync(path)
                    changed = True
            except FileNotFoundError:
                continue
        if changed or Path(parent).stat().st_mtime_ns >= since_ns:
            _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
