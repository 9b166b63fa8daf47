"""After a crash: cut what was written but never acknowledged."""

from __future__ import annotations

import os
from pathlib import Path

from titanstore.errors import CorruptionError, ErrorKind
from titanstore.segments.disk import storage_error
from titanstore.segments.layout import Address
from titanstore.segments.reader import segment_path


def cut_tail(folder: Path, last: Address) -> int:
    """Remove every byte after the committed end of the last segment; return how many.

    An append is acknowledged when the catalog has committed its end, so whatever lies behind that
    end was torn off by a crash, whole or not. Cost: a few system calls, whatever the store's size.

    Raises
    ------
    CorruptionError
        MISSING_SEGMENT or SHORT_SEGMENT: acknowledged bytes are gone.
    StorageError, ReadOnlyError
        The tail could not be cut.
    """
    cut = 0
    try:
        if last.segment:
            path = segment_path(folder, last.segment)
            try:
                size = path.stat().st_size
            except FileNotFoundError as error:
                raise CorruptionError(
                    f"segment {last.segment} is missing: {path.name}", ErrorKind.MISSING_SEGMENT
                ) from error
            if size < last.offset:
                raise CorruptionError(
                    f"segment {last.segment} has {size} bytes, {last.offset} were acknowledged",
                    ErrorKind.SHORT_SEGMENT,
                )
            if size > last.offset:
                os.truncate(path, last.offset)
                cut += size - last.offset
        # a crash between beginning a segment and committing its first record leaves a file
        following = segment_path(folder, last.segment + 1)
        if following.exists():
            cut += following.stat().st_size
            following.unlink()
    except OSError as error:
        raise storage_error(error, "cutting the tail of the last segment") from error
    return cut
