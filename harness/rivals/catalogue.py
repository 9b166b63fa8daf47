"""Every rival: what it is, how it is set up, how durable it is, and what it needs.

A rival is a file in `harness.subjects` and a row here.
"""

from __future__ import annotations

import importlib
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.subject import SearchSubject, Subject, Vectors
from harness.subjects.redis_server import SERVERS

__all__ = [
    "OURS",
    "OURS_WITHOUT_SEARCH",
    "SEARCHERS",
    "STORES",
    "Rival",
    "open_searcher",
    "open_store",
    "why_not",
]

OURS = "titanstore"
OURS_WITHOUT_SEARCH = "titanstore-no-search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """One subject of the comparison.

    Attributes
    ----------
    place
        Module of harness.subjects, and the class in it.
    settings
        What was chosen, as its own documentation recommends.
    durable
        Whose fsync makes a put durable before it returns.
    arguments
        For the class, after the folder.
    packages
        Distributions that it needs, whose versions are in the result.
    programs
        One of these has to be on the machine.
    is_on_sqlite
        It runs on the SQLite that Python brings, whose version is in the result too.
    not_kept
        Which float32 values do not come back bit for bit; "" if all do.
    """

    name: str
    what: str
    place: tuple[str, str]
    settings: str
    durable: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    is_on_sqlite: bool = False
    not_kept: str = ""

    def make(self) -> type[Any]:
        """Its class; nothing of the rival is imported before it is used."""
        module = importlib.import_module(f"harness.subjects.{self.place[0]}")
        found: type[Any] = getattr(module, self.place[1])
        return found

    def versions(self) -> dict[str, str]:
        """Of its packages and of the program that it runs."""
        found = {name: metadata.version(name) for name in self.packages}
        if self.is_on_sqlite:
            found["SQLite"] = sqlite3.sqlite_version
        for program in self.programs:
            if path := shutil.which(program):
                said = subprocess.run(
                    [path, "--version"], capture_output=True, text=True, check=False, timeout=10
                ).stdout
                version = re.search(r"v=(\S+)", said)
                found[program] = version.group(1) if version else said.strip()[:60]
                break
        return found


_LINES = "keys in a file of JSON lines"
_ADDED = "fsync added by the harness"
_OWN = "its own"
_PACKAGES = ("titanstore", "lmdb", "zstandard", "numkong", "numpy")  # ours and what it stores by

STORES: Mapping[str, Rival] = {
    one.name: one
    for one in (
        Rival(
            name=OURS,
            what="this store",
            place=("reference", "ReferenceSubject"),
            settings="the defaults; its search index is in its bytes",
            durable=_OWN,
            packages=_PACKAGES,
        ),
        Rival(
            name=OURS_WITHOUT_SEARCH,
            what="this store, search switched off",
            place=("reference", "ReferenceSubject"),
            arguments={"settings": {"search": False}},
            settings="search off, so that it keeps what the rivals keep; else the defaults",
            durable=_OWN,
            packages=_PACKAGES,
        ),
        Rival(
            name="langchain-files",
            what="LangChain CacheBackedEmbeddings over LocalFileStore",
            place=("langchain_files", "LangChainSubject"),
            settings="a JSON file a text, keys encoded by BLAKE2b",
            durable=_ADDED,
            packages=("langchain-classic", "langchain-core"),
            not_kept="payloads of NaN",
        ),
        Rival(
            name="diskcache",
            what="diskcache, float32 bytes",
            place=("disk_cache", "DiskCacheSubject"),
            settings="no eviction, synchronous=FULL",
            durable=_OWN,
            packages=("diskcache",),
            is_on_sqlite=True,
        ),
        Rival(
            name="lmdb-raw",
            what="LMDB, float32 bytes",
            place=("lmdb_values", "LmdbSubject"),
            arguments={"form": "raw"},
            settings="synchronous commits, no read-ahead",
            durable=_OWN,
            packages=("lmdb",),
        ),
        Rival(
            name="lmdb-zstd",
            what="LMDB, each vector through zstd",
            place=("lmdb_values", "LmdbSubject"),
            arguments={"form": "zstd"},
            settings="as lmdb-raw; zstd level 19 with checksum",
            durable=_OWN,
            packages=("lmdb", "zstandard"),
        ),
        Rival(
            name="lmdb-shuffle-zstd",
            what="LMDB, each vector's byte planes through zstd",
            place=("lmdb_values", "LmdbSubject"),
            arguments={"form": "shuffle-zstd"},
            settings="as lmdb-zstd",
            durable=_OWN,
            packages=("lmdb", "zstandard"),
        ),
        Rival(
            name="sqlite-blob",
            what="SQLite, float32 blobs",
            place=("sqlite_blob", "SqliteBlobSubject"),
            settings="WAL, synchronous=FULL, mapped",
            durable=_OWN,
            is_on_sqlite=True,
        ),
        Rival(
            name="lancedb",
            what="LanceDB alone",
            place=("lance_table", "LanceTableSubject"),
            settings="async, BTREE index on the key, merge_insert, optimize after loading",
            durable=_ADDED,
            packages=("lancedb", "pyarrow"),
            not_kept="NaN in any place: it refuses them",
        ),
        Rival(
            name="numpy-memmap",
            what="a float32 matrix mapped by numpy",
            place=("memory_map", "MemoryMapSubject"),
            settings=f"rows appended, {_LINES}",
            durable=_ADDED,
            packages=("numpy",),
        ),
        Rival(
            name="zarr-pcodec",
            what="zarr, a chunk a vector",
            place=("zarr_rows", "ZarrSubject"),
            settings=f"pcodec level 12, {_LINES}",
            durable=_ADDED,
            packages=("zarr", "numcodecs", "pcodec"),
        ),
        Rival(
            name="blosc2-file",
            what="blosc2, frames in one file",
            place=("framed_file", "FramedFileSubject"),
            arguments={"codec": "blosc2"},
            settings=f"bitshuffle + zstd level 9, {_LINES}",
            durable=_ADDED,
            packages=("blosc2",),
        ),
        Rival(
            name="pcodec-file",
            what="pcodec, frames in one file",
            place=("framed_file", "FramedFileSubject"),
            arguments={"codec": "pcodec"},
            settings=f"level 12, {_LINES}",
            durable=_ADDED,
            packages=("pcodec",),
        ),
        Rival(
            name="redis",
            what="Redis on this machine, float32 bytes",
            place=("redis_server", "RedisSubject"),
            settings="Unix socket, appendonly, appendfsync always, no snapshots",
            durable=_OWN,
            packages=("redis", "hiredis"),
            programs=SERVERS,
        ),
    )
}
"""What keeps vectors by key, ours first."""

SEARCHERS: Mapping[str, Rival] = {
    one.name: one
    for one in (
        Rival(
            name="lancedb-flat",
            what="LanceDB's exhaustive search",
            place=("lance_flat", "LanceFlatSubject"),
            settings="async, one fragment, no index",
            packages=("lancedb",),
        ),
        Rival(
            name="numpy-float32",
            what="numpy's product with a float32 matrix",
            place=("numpy_flat", "NumpyFlatSubject"),
            settings="normalised rows in memory",
            packages=("numpy",),
        ),
        Rival(
            name="faiss-flat",
            what="faiss IndexFlatIP",
            place=("faiss_flat", "FaissFlatSubject"),
            settings="normalised rows in memory",
            packages=("faiss-cpu",),
        ),
        Rival(
            name="usearch-exact",
            what="usearch's exact search",
            place=("usearch_exact", "UsearchExactSubject"),
            settings="float32 rows in memory, cosine",
            packages=("usearch", "numkong"),
        ),
    )
}
"""What only searches; they are compared with ours in `search`."""


def why_not(name: str) -> str:
    """Why a rival cannot be measured here; "" if it can."""
    rival = {**STORES, **SEARCHERS}[name]
    for package in rival.packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            return f"package {package} is not installed (make rivals installs it)"
    if rival.programs and not any(shutil.which(program) for program in rival.programs):
        return f"none of the programs {', '.join(rival.programs)} is installed"
    return ""


def open_store(name: str, path: Path) -> Subject:
    """Open what keeps vectors by key; KeyError for another name."""
    rival = STORES[name]
    found: Subject = rival.make()(path, **rival.arguments)
    return found


def open_searcher(name: str, path: Path, keys: Sequence[str], vectors: Vectors) -> SearchSubject:
    """Open what only searches, filled; KeyError for another name."""
    rival = SEARCHERS[name]
    given = (path,) if name == "lancedb-flat" else ()
    found: SearchSubject = rival.make()(*given, keys, vectors)
    return found
