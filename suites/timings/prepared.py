"""What the timings work on: vectors, and stores filled with them; made once a process.

The size is read from the environment: TIMINGS_SIZE=smoke is small enough for tests; anything else
than that or "full", the default, is refused. Results of the two never mix: the size is part of
`version`. TIMINGS_STORES names a folder that keeps the store that is read and searched, so that
the next process need not make it (0.5 s); it is for processes of one build of titanstore only.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fixtures import vectors as synthetic
from fixtures.documents import document_rows
from fixtures.titan.recorded import load_recorded, usual_folder
from titanstore import EmbeddingStore, StoreConfig, embedding_key

Vectors = NDArray[np.float32]

SEED: Final = 20_261_125
CHUNKS: Final = 22  # of one document: SPEC section 2, "100 files"
DIMENSION: Final = 1024
_SIZES: Final = {"smoke": 10, "full": 100}  # documents of the store that is read and searched
_SMALL_DOCUMENTS: Final = 10
_VECTORS: Final = 62  # of each kind: as many as the smallest recorded set has

# Samples of a round: at least, at most, seconds. asv's own 5 are too few where a sample is one
# call, and it is where there is a `setup` (reports/decisions/0012).
REPEAT: Final = (10, 200, 1.0)

SIZE: Final = os.environ.get("TIMINGS_SIZE", "full")
if SIZE not in _SIZES:
    raise ValueError(f"TIMINGS_SIZE={SIZE!r}, wanted {' or '.join(_SIZES)}")
DOCUMENTS: Final = _SIZES[SIZE]

# kind -> name of the recorded set, dimension, and what stands in for it
_KINDS: Final[dict[str, tuple[str, int, synthetic.Generator]]] = {
    "v1": ("v1_chunks", 1536, synthetic.bfloat16),
    "v2-2024": ("v2_scaled_bf16", 1024, synthetic.bfloat16_divided),
    "v2": ("v2_token_mean", 1024, synthetic.token_mean),
}
KINDS: Final = list(_KINDS)


def version(number: int) -> str:
    """A benchmark's version: raise the number when what it does is no longer comparable."""
    return str(number) if SIZE == "full" else f"{number}-{SIZE}"


def needed(module: str, *names: str) -> list[Any]:
    """Parts of titanstore that are not its public face; a commit may lack them.

    Raises
    ------
    NotImplementedError
        Which asv shows as a skipped benchmark.
    """
    try:
        found = importlib.import_module(f"titanstore.{module}")
        return [getattr(found, name) for name in names]
    except (ImportError, AttributeError) as error:
        raise NotImplementedError(f"not in this commit: {error}") from error


@cache
def _recorded() -> dict[str, Vectors]:
    folder = usual_folder()
    return {} if folder is None else {one.name: one.vectors for one in load_recorded(folder)}


@cache
def vectors_of(kind: str) -> Vectors:
    """62 vectors of a kind, recorded where the folder is there; shape (62, dimension), read-only.

    Of recorded rows the middle ones by place, evenly spread over the set.
    """
    name, dimension, imitate = _KINDS[kind]
    found = _recorded().get(name)
    if found is None:
        made = imitate(np.random.default_rng(SEED), _VECTORS, dimension)
    else:
        made = found[np.linspace(0, len(found) - 1, _VECTORS).astype(int)]
    made = np.ascontiguousarray(made)
    made.flags.writeable = False
    return made


@cache
def document_vectors() -> Vectors:
    """Rows of all documents, 22 neighbours each, on text-v2's grid of 2024; synthetic, read-only.

    Recorded sets are too small for 2 200 different ones.
    """
    return document_rows(SEED, DOCUMENTS, CHUNKS, DIMENSION)


@cache
def document_keys() -> list[str]:
    """One key a row of `document_vectors`."""
    return [embedding_key("timings", f"chunk {row}") for row in range(DOCUMENTS * CHUNKS)]


def evidence() -> dict[str, dict[str, str]]:
    """Where each set of vectors comes from, and the digest of its values: two runs on different
    digests say nothing about each other.
    """
    told = {}
    for kind, (name, _, _) in _KINDS.items():
        source = "recorded" if name in _recorded() else "synthetic"
        told[kind] = {"source": source, "digest": _digest(vectors_of(kind))}
    told["documents"] = {"source": "synthetic", "digest": _digest(document_vectors())}
    return told


def _digest(vectors: Vectors) -> str:
    described = hashlib.blake2b(str(vectors.shape).encode(), digest_size=16)
    described.update(vectors.astype("<f4").tobytes())
    return described.hexdigest()


@cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="timings-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def config(**settings: Any) -> StoreConfig:
    """Settings of these stores: defaults, but nothing is synced to the disk."""
    return StoreConfig(durability="power_cut_may_lose_store", **settings)


@cache
def read_path() -> Path:
    """A closed store of all documents; below TIMINGS_STORES, where an earlier process left it."""
    kept = os.environ.get("TIMINGS_STORES")
    name = f"{SIZE}-{_digest(document_vectors())}"
    path = Path(kept) / name if kept else _folder() / name
    if path.exists():
        return path
    step = 25 * CHUNKS
    made = path.with_name(f"{name}-{os.getpid()}")
    with EmbeddingStore.open(made, config()) as store:
        for first in range(0, len(document_keys()), step):
            rows = slice(first, first + step)
            store.put_many(document_keys()[rows], document_vectors()[rows])
    return made.rename(path)


@cache
def readable(**settings: Any) -> EmbeddingStore:
    """That store, open for reading with settings; the same object each time."""
    return _kept(EmbeddingStore.open(read_path(), config(**settings), read_only=True))


@cache
def writable(name: str) -> EmbeddingStore:
    """A store of 10 documents of its own for each name, "document 0" and on, open for writing."""
    store = _kept(EmbeddingStore.open(_folder() / name, config()))
    _fill(store)
    return store


def folder(name: str) -> Path:
    """A place for a store, another one each time."""
    return Path(tempfile.mkdtemp(dir=_folder())) / name


@cache
def closed(name: str) -> Path:
    """The same, closed."""
    with EmbeddingStore.open(_folder() / name, config()) as store:
        _fill(store)
    return _folder() / name


def _fill(store: EmbeddingStore) -> None:
    for document in range(_SMALL_DOCUMENTS):
        rows = slice(document * CHUNKS, (document + 1) * CHUNKS)
        store.put_many(document_keys()[rows], document_vectors()[rows], f"document {document}")


def _kept(store: EmbeddingStore) -> EmbeddingStore:
    """Open until the process ends; closed before the folder goes, which is registered earlier."""
    _folder()
    atexit.register(store.close)
    return store


def digest_of_rows() -> str:
    """SHA-256 of all rows of `document_vectors`, one after the other."""
    return hashlib.sha256(document_vectors().tobytes()).hexdigest()


def check_bits(seen: Vectors | None, wanted: Vectors) -> None:
    """Raise AssertionError if a benchmark's answer is not the vectors that were put, bit for bit.

    None, the answer of a benchmark that has not run, passes.
    """
    if seen is not None and not np.array_equal(seen.view(np.uint32), wanted.view(np.uint32)):
        raise AssertionError("the benchmark returned other bits: its times do not count")
