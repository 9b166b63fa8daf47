"""What is measured: real source files, cut, embedded through boto3, kept as arrays on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.titan.digits import check_answer
from fixtures.titan.emulator import Serving
from harness.errors import HarnessError
from harness.subject import Vectors
from harness.subjects.reference import ReferenceSubject, embedding_key
from harness.workload.corpus import Corpus

__all__ = ["Population", "build_store", "embed_corpus", "load_population"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Documents, keys and vectors of one model; rows of one document are neighbours.

    Attributes
    ----------
    folder
        Holds vectors.npy, float32 of shape (documents * chunks, dimension), and population.json.
    keys
        One key a row.
    embedded
        How the vectors came about.
    """

    name: str
    folder: Path
    model: str
    dimension: int
    documents: tuple[str, ...]
    chunks_per_document: int
    keys: tuple[str, ...]
    corpus: str
    corpus_digest: str
    evidence: str
    embedded: str = "through boto3"

    def vectors(self) -> Vectors:
        """The vectors, mapped: read-only, no memory of the process's own."""
        mapped: Vectors = np.load(self.folder / "vectors.npy", mmap_mode="r")
        return mapped

    def facts(self) -> dict[str, Any]:
        """What a row of the report says about it."""
        return {
            "files": len(self.documents),
            "chunks": self.chunks_per_document,
            "vectors": len(self.keys),
            "dimension": self.dimension,
            "model": self.model,
            "corpus": f"{self.corpus} {self.corpus_digest[:8]}",
            "embedded": self.embedded,
        }


def embed_corpus(
    corpus: Corpus,
    serving: Serving,
    client: Any,
    folder: Path,
    *,
    on_chunk: Callable[[], None] = lambda: None,
) -> Population:
    """Embed each chunk by `invoke_model` and write the population into `folder`.

    Raises
    ------
    HarnessError
        An answer without a vector of the right length, which is what plain moto gives.
    """
    dimension = serving.dimensions[0]
    rows = []
    keys = []
    for document in corpus.documents:
        for text in document.chunks:
            request = {"inputText": text}
            answer = client.invoke_model(modelId=serving.model_id, body=json.dumps(request))
            body = answer["body"].read()
            try:
                rows.append(check_answer(body, dimension))
            except ValueError as error:
                raise HarnessError(
                    f"{serving.model_id} answered without a vector: {error}"
                ) from error
            keys.append(embedding_key(serving.model_id, text))
            on_chunk()
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", np.stack(rows))
    population = Population(
        name=folder.name,
        folder=folder,
        model=str(serving),
        dimension=dimension,
        documents=tuple(document.name for document in corpus.documents),
        chunks_per_document=corpus.chunks_per_document,
        keys=tuple(keys),
        corpus=corpus.name,
        corpus_digest=corpus.digest,
        evidence="emulated",
    )
    content = {**asdict(population), "folder": None}
    (folder / "population.json").write_text(json.dumps(content), encoding="utf-8")
    return population


def load_population(folder: Path) -> Population:
    """Read what `embed_corpus` wrote."""
    raw = json.loads((folder / "population.json").read_text(encoding="utf-8"))
    lists = {name: tuple(raw[name]) for name in ("documents", "keys")}
    return Population(**{**raw, **lists, "folder": folder})


def build_store(population: Population, path: Path, settings: dict[str, object]) -> None:
    """Store a population, one durable write a document, as a user would."""
    subject = ReferenceSubject(path, settings)
    vectors = population.vectors()
    count = population.chunks_per_document
    try:
        for place, document in enumerate(population.documents):
            rows = range(place * count, (place + 1) * count)
            subject.update_document(
                document, [(population.keys[row], np.asarray(vectors[row])) for row in rows]
            )
    finally:
        subject.close()
