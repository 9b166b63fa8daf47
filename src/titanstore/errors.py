"""Every error that titanstore raises on purpose, grouped by what the caller does next.

StoreError
    InvalidInputError   (also ValueError)  fix the call
    NotFoundError       (also KeyError)    embed the text, or create the store
    CorruptionError                        stop, keep the files, run `check`
    NewerFormatError                       upgrade titanstore
    BusyError                              wait, or open with `read_only=True`
    ReadOnlyError                          open for writing, or mount the disk writable
    StorageError                           free space or mend the disk, then try again
    ClosedError                            open the store again (in this process)
    AnswerError                            ask the model again; nothing was stored
    MigrationError                         mend the source, or say how to read it
"""

from __future__ import annotations

from enum import StrEnum


class ErrorKind(StrEnum):
    """Stable names of what went wrong; kinds are added, never renamed."""

    EMPTY_KEY = "empty-key"
    KEY_TOO_LONG = "key-too-long"
    KEY_NOT_TEXT = "key-not-text"
    DUPLICATE_KEY = "duplicate-key"
    WRONG_DTYPE = "wrong-dtype"
    WRONG_SHAPE = "wrong-shape"
    WRONG_DIMENSION = "wrong-dimension"
    MIXED_DIMENSIONS = "mixed-dimensions"
    NON_FINITE = "non-finite"
    BAD_SETTING = "bad-setting"
    BAD_K = "bad-k"
    BAD_METRIC = "bad-metric"
    SEARCH_OFF = "search-off"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_DOCUMENT = "unknown-document"
    UNKNOWN_VERSION = "unknown-version"
    VERSION_GONE = "version-gone"
    TAG_IN_USE = "tag-in-use"
    NO_STORE = "no-store"
    NOT_A_STORE = "not-a-store"
    TRUNCATED_FRAME = "truncated-frame"
    CHECKSUM_MISMATCH = "checksum-mismatch"
    BAD_FRAME = "bad-frame"
    BAD_RECORD = "bad-record"
    BAD_SEGMENT = "bad-segment"
    SHORT_SEGMENT = "short-segment"
    MISSING_SEGMENT = "missing-segment"
    BAD_CATALOG = "bad-catalog"
    BAD_PLANE = "bad-plane"
    BAD_BLOOM = "bad-bloom"
    BAD_INDEX = "bad-index"
    NEWER_FORMAT = "newer-format"
    ALREADY_OPEN = "already-open"
    OPENED_READ_ONLY = "opened-read-only"
    READ_ONLY_DISK = "read-only-disk"
    DISK_FULL = "disk-full"
    IO_FAILED = "io-failed"
    CLOSED = "closed"
    BAD_ANSWERS = "bad-answers"
    NO_VECTOR = "no-vector"
    NOT_TITAN = "not-titan"
    NO_CLIENT = "no-client"
    BAD_SOURCE = "bad-source"
    INEXACT = "inexact"
    CONFLICT = "conflict"
    SOURCE_CHANGED = "source-changed"
    NOT_AS_WRITTEN = "not-as-written"
    MISSING_PACKAGE = "missing-package"
    TOO_MANY_WRITERS = "too-many-writers"


class StoreError(Exception):
    """Base of every error this package raises on purpose."""

    def __init__(self, message: str, kind: ErrorKind) -> None:
        super().__init__(message, kind)  # both in args: survives pickling to a parent process
        self.kind = kind

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidInputError(StoreError, ValueError):
    """An argument or setting cannot be used. Nothing was written. Fix the call."""


class NotFoundError(StoreError, KeyError):
    """What was asked for is not in the store, or there is no store at that path."""


class CorruptionError(StoreError):
    """Stored bytes are not what was written. Stop, keep the files, run `check`."""


class NewerFormatError(StoreError):
    """The files were written by a newer titanstore. Nothing was touched. Upgrade."""


class BusyError(StoreError):
    """Others write: one has the store open for it, or many were faster on a shared table."""


class ReadOnlyError(StoreError):
    """The store was opened read-only, or lies on a disk that cannot be written."""


class StorageError(StoreError):
    """The operating system refused a write or a read. Nothing of the call was acknowledged."""


class ClosedError(StoreError):
    """The store was closed, or belongs to the parent process of a fork."""


class AnswerError(StoreError):
    """The model answered without a vector. Nothing was stored."""


class MigrationError(StoreError):
    """A source cannot be moved whole. What was moved before stays, and can be undone."""
