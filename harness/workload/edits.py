"""A session of saves on real source files: which chunks change, and what their text then is.

SPEC section 2, `update.latency`: "one file changed", 1 to 3 of its chunks differ. An edit is one
place in the text, so the chunks that differ are neighbours. Which file comes next is left to
chance: no file is favoured by what the store keeps in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fixtures.titan.emulator import Emulator, Serving
from harness.population import Population
from harness.subject import Vectors
from harness.subjects.reference import embedding_key
from harness.workload.corpus import Corpus
from harness.workload.visits import CHUNKS_CHANGED_MAX, CHUNKS_CHANGED_MIN

__all__ = ["Edit", "EditedText", "Session", "make_edits", "write_edits"]

Content = list[tuple[str, Vectors]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedText:
    """New text of some neighbouring chunks of a document."""

    document: int
    first: int
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """New keys of some neighbouring chunks of a document; their vectors begin at row `row`."""

    document: int
    first: int
    keys: tuple[str, ...]
    row: int


def make_edits(corpus: Corpus, count: int, rng: np.random.Generator) -> list[EditedText]:
    """`count` edits one after the other; no text comes twice.

    Each changed chunk gets one more line, a line of another chunk of the file and the number of
    the edit, somewhere in its text.
    """
    texts = [list(document.chunks) for document in corpus.documents]
    edits = []
    for number in range(count):
        document = int(rng.integers(len(texts)))
        chunks = texts[document]
        changed = min(len(chunks), int(rng.integers(CHUNKS_CHANGED_MIN, CHUNKS_CHANGED_MAX + 1)))
        first = int(rng.integers(len(chunks) - changed + 1))
        for chunk in range(first, first + changed):
            lines = chunks[chunk].splitlines(keepends=True)
            others = chunks[int(rng.integers(len(chunks)))].splitlines()
            line = others[int(rng.integers(len(others)))]
            lines.insert(int(rng.integers(len(lines) + 1)), f"{line}  # edit {number}\n")
            chunks[chunk] = "".join(lines)
        edits.append(
            EditedText(document=document, first=first, texts=tuple(chunks[first : first + changed]))
        )
    return edits


def write_edits(edits: Sequence[EditedText], serving: Serving, folder: Path) -> None:
    """Embed the new texts in one batch and write edits.json and edits.npy into `folder`."""
    texts = [text for edit in edits for text in edit.texts]
    vectors = np.stack([one.vector for one in Emulator(serving).embed_many(texts)])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "edits.npy", vectors)
    listed = []
    row = 0
    for edit in edits:
        keys = [embedding_key(serving.model_id, text) for text in edit.texts]
        listed.append([edit.document, edit.first, keys, row])
        row += len(keys)
    (folder / "edits.json").write_text(json.dumps(listed), encoding="utf-8")


class Session:
    """A population in the course of its edits: what each save hands to the store.

    All vectors are in memory, so that no save waits for them. `documents` leaves out all but the
    first ones, and their edits. One thread.
    """

    def __init__(
        self, folder: Path, population: Population, *, documents: int | None = None
    ) -> None:
        listed = json.loads((folder / "edits.json").read_text(encoding="utf-8"))
        names = population.documents[:documents]
        self.edits = [
            Edit(document=document, first=first, keys=tuple(keys), row=row)
            for document, first, keys, row in listed
            if document < len(names)
        ]
        self.done = 0
        self._new = np.load(folder / "edits.npy")
        stored = np.array(population.vectors())
        count = population.chunks_per_document
        self._names = names
        self._contents: list[Content] = [
            [(population.keys[row], stored[row]) for row in range(at, at + count)]
            for at in range(0, len(self._names) * count, count)
        ]

    def saves(self, count: int) -> Iterator[tuple[str, Content]]:
        """The next `count` saves: a document's name, and its whole content after the edit.

        Raises ValueError when there are fewer edits left.
        """
        if self.done + count > len(self.edits):
            raise ValueError(f"{len(self.edits) - self.done} edits are left, {count} wanted")
        for _ in range(count):
            edit = self.edits[self.done]
            content = list(self._contents[edit.document])
            for place, key in enumerate(edit.keys):
                content[edit.first + place] = (key, self._new[edit.row + place])
            self._contents[edit.document] = content
            self.done += 1
            yield self._names[edit.document], content

    def documents(self) -> dict[str, list[str]]:
        """Keys of every document as they are after the saves so far."""
        return {
            name: [key for key, _ in content]
            for name, content in zip(self._names, self._contents, strict=True)
        }

    def vectors(self) -> dict[str, Vectors]:
        """Every key and its vector after the saves so far."""
        return {key: vector for content in self._contents for key, vector in content}
