"""titanstore: a bit-exact, compressed, tiered store for text embeddings.

Importing it loads numpy and nothing else: no I/O, no thread, no optional package.
"""

from titanstore.check import CheckReport, Problem
from titanstore.config import StoreConfig, load_config
from titanstore.errors import (
    BusyError,
    ClosedError,
    CorruptionError,
    ErrorKind,
    InvalidInputError,
    NewerFormatError,
    NotFoundError,
    ReadOnlyError,
    StorageError,
    StoreError,
)
from titanstore.keys import embedding_key
from titanstore.stats import Maintenance, StoreStats
from titanstore.store import EmbeddingStore

__version__ = "0.1.0"
__all__ = [
    "BusyError",
    "CheckReport",
    "ClosedError",
    "CorruptionError",
    "EmbeddingStore",
    "ErrorKind",
    "InvalidInputError",
    "Maintenance",
    "NewerFormatError",
    "NotFoundError",
    "Problem",
    "ReadOnlyError",
    "StorageError",
    "StoreConfig",
    "StoreError",
    "StoreStats",
    "embedding_key",
    "load_config",
]
