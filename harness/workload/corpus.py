"""Real source files, cut into chunks: the text that gets embedded (SPEC section 4, "corpus")."""

from __future__ import annotations

import io
import itertools
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

__all__ = ["Corpus", "SourceFile", "read_corpus", "read_many"]

SUFFIXES = frozenset(
    {".c", ".cc", ".cpp", ".cs", ".go", ".h", ".hpp", ".java", ".js", ".jsx", ".kt", ".lua", ".md"}
    | {".php", ".pl", ".py", ".pyi", ".rb", ".rs", ".rst", ".scala", ".sh", ".sql", ".swift"}
    | {".ts", ".tsx", ".txt"}
)
# Not the library itself: what was installed into it, and what was generated from it.
SKIPPED_FOLDERS = frozenset({"site-packages", "dist-packages", "__pycache__", "node_modules"})
# A chunk of 22 stays below Titan's 8 192 tokens even at two bytes a token.
FILE_BYTES_MAX = 22 * 2 * 8192
# Fewer lines make chunks of a line or two, which no one would embed.
LINES_PER_CHUNK_MIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One document: joined, its chunks are the file's text, byte for byte."""

    name: str
    chunks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Documents of one size, in order of name; `digest` changes when any name or text does."""

    name: str
    documents: tuple[SourceFile, ...]
    digest: str

    def __post_init__(self) -> None:
        if not self.documents:
            raise ValueError("a corpus needs at least one document")
        sizes = {len(document.chunks) for document in self.documents}
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(f"documents of {sorted(sizes)} chunks; one size above 0 wanted")

    @property
    def chunks_per_document(self) -> int:
        return len(self.documents[0].chunks)


def read_corpus(
    folder: Path | None = None, *, files: int = 100, chunks_per_file: int = 22
) -> Corpus:
    """Choose `files` source files of a folder and cut each into `chunks_per_file` chunks.

    Parameters
    ----------
    folder
        Searched with its subfolders, symbolic links not followed; by default the standard
        library of the running Python.
    files, chunks_per_file
        How many documents, and how many chunks of each.

    Returns
    -------
    Corpus
        Chunks are runs of whole lines, none blank, no text twice in the corpus.

    Raises
    ------
    ValueError
        A count below 1, no such folder, or too few files that fit; the message says how many.

    Notes
    -----
    The choice is deterministic: files in the order of the digest of their path inside the folder,
    so it is spread over the whole tree and one new file moves at most one other out. A file is
    passed over when it is not UTF-8, has fewer than 3 lines a chunk or more than `FILE_BYTES_MAX`
    bytes, or has a chunk that is blank or a text already in the corpus: equal texts have equal
    keys, so a repeated chunk would be stored once and counted twice.
    """
    if files < 1 or chunks_per_file < 1:
        raise ValueError(f"{files} files of {chunks_per_file} chunks; at least 1 of each wanted")
    root = Path(sysconfig.get_paths()["stdlib"]) if folder is None else folder
    if not root.is_dir():
        raise ValueError(f"no such folder: {root}")
    chosen: list[SourceFile] = []
    seen: set[str] = set()
    for name in sorted(_source_names(root), key=_order):
        chunks = _cut(_read_text(root / name), chunks_per_file)
        if not chunks or not seen.isdisjoint(chunks):
            continue
        seen.update(chunks)
        chosen.append(SourceFile(name=name, chunks=chunks))
        if len(chosen) == files:
            documents = tuple(sorted(chosen, key=lambda document: document.name))
            name = "python-stdlib" if folder is None else root.resolve().name
            return Corpus(name=name, documents=documents, digest=_digest(documents))
    raise ValueError(
        f"{root} has {len(chosen)} UTF-8 source files with {chunks_per_file} distinct chunks; "
        f"{files} wanted"
    )


def read_many(folder: Path | None = None, *, chunks: int, chunks_per_document: int = 25) -> Corpus:
    """As many distinct chunks as asked for, by cutting files anew into ever more of them.

    A file that was cut into 25 chunks comes again cut into 50 and so on, as further documents: its
    texts overlap then, but none comes twice.

    Raises
    ------
    ValueError
        No such folder, `chunks` no multiple of a document's, or too little text.
    """
    root = Path(sysconfig.get_paths()["stdlib"]) if folder is None else folder
    if not root.is_dir():
        raise ValueError(f"no such folder: {root}")
    if chunks < 1 or chunks % chunks_per_document:
        raise ValueError(f"{chunks} chunks, a multiple of {chunks_per_document} wanted")
    names = sorted(_source_names(root), key=_order)
    documents: list[SourceFile] = []
    seen: set[str] = set()
    for cuts in (1, 2, 3, 4, 6, 8, 12, 16):
        for name in names:
            found = _cut(_read_text(root / name), cuts * chunks_per_document)
            if not found or not seen.isdisjoint(found):
                continue
            seen.update(found)
            for part in range(cuts):
                texts = found[part * chunks_per_document : (part + 1) * chunks_per_document]
                documents.append(SourceFile(name=f"{name} {part + 1}/{cuts}", chunks=texts))
                if len(documents) * chunks_per_document == chunks:
                    name = "python-stdlib" if folder is None else root.resolve().name
                    kept = tuple(documents)
                    return Corpus(name=name, documents=kept, digest=_digest(kept))
    raise ValueError(
        f"{root} has text for {len(documents) * chunks_per_document} chunks; {chunks} wanted"
    )


def _source_names(root: Path) -> Iterator[str]:
    """Paths inside the root, with "/", of regular files with a known suffix."""
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [
            name for name in subfolders if name not in SKIPPED_FOLDERS and not name.startswith(".")
        ]
        for name in names:
            path = Path(folder, name)
            if path.suffix in SUFFIXES and path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix()


def _order(name: str) -> bytes:
    # surrogateescape: a file name on disk need not be UTF-8
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _read_text(path: Path) -> str:
    """The file's text, or nothing when it is too large, unreadable or not UTF-8."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            return ""
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _cut(text: str, chunks: int) -> tuple[str, ...]:
    """Equal runs of lines, or nothing when they would be short, blank or repeated."""
    lines = list(io.StringIO(text, newline="\n"))
    if len(lines) < LINES_PER_CHUNK_MIN * chunks:
        return ()
    edges = [place * len(lines) // chunks for place in range(chunks + 1)]
    cut = tuple("".join(lines[a:b]) for a, b in itertools.pairwise(edges))
    distinct = len(set(cut)) == chunks and all(chunk.strip() for chunk in cut)
    return cut if distinct else ()


def _digest(documents: tuple[SourceFile, ...]) -> str:
    """BLAKE2b over names and texts, each led by its length so that none can run into the next."""
    state = blake2b(digest_size=16)
    for document in documents:
        for part in (document.name, *document.chunks):
            encoded = part.encode("utf-8", "surrogateescape")
            state.update(len(encoded).to_bytes(8, "little"))
            state.update(encoded)
    return state.hexdigest()
