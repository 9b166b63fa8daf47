"""titanstore: a bit-exact, compressed, tiered store for text embeddings.

Importing it loads numpy and numkong: no I/O, no thread, no optional package.
"""

from titanstore.check import CheckReport, Problem
from titanstore.config import StoreConfig, load_config
from titanstore.errors import (
    AnswerError,
    BusyError,
    ClosedError,
    CorruptionError,
    ErrorKind,
    InvalidInputError,
    MigrationError,
    NewerFormatError,
    NotFoundError,
    ReadOnlyError,
    StorageError,
    StoreError,
)
from titanstore.keys import embedding_key
from titanstore.rebuild import rebuild_from_lance
from titanstore.stats import Maintenance, StoreStats
from titanstore.store import EmbeddingStore
from titanstore.types import Difference, Hit, Version
from titanstore.versions.view import VersionView

__version__ = "0.1.0"
__all__ = [
    "AnswerError",
    "BusyError",
    "CheckReport",
    "ClosedError",
    "CorruptionError",
    "Difference",
    "EmbeddingStore",
    "ErrorKind",
    "Hit",
    "InvalidInputError",
    "Maintenance",
    "MigrationError",
    "NewerFormatError",
    "NotFoundError",
    "Problem",
    "ReadOnlyError",
    "StorageError",
    "StoreConfig",
    "StoreError",
    "StoreStats",
    "Version",
    "VersionView",
    "embedding_key",
    "load_config",
    "rebuild_from_lance",
]
