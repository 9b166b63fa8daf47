"""Vectors that lie elsewhere, moved into a store bit for bit.

Importing it loads no optional package; pyarrow and lancedb come with the sources that need them.
"""

from titanstore.migration.find import open_source
from titanstore.migration.preview import Preview, preview
from titanstore.migration.run import Migrated, OnConflict, migrate
from titanstore.migration.source import KINDS, Batch, Source, SourceOptions
from titanstore.migration.undo import Undo, undo_migration

__all__ = [
    "KINDS",
    "Batch",
    "Migrated",
    "OnConflict",
    "Preview",
    "Source",
    "SourceOptions",
    "Undo",
    "migrate",
    "open_source",
    "preview",
    "undo_migration",
]
