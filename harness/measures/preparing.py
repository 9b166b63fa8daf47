"""Not a measure: makes populations and edits without the HTTP layer, in a process of its own.

Embedding 10 000 chunks through a client would take a run longer than its measures. The vectors are
those that the client would have got; such populations say "without the HTTP layer".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.titan.emulator import Emulator, Serving
from harness.population import Population
from harness.subjects.reference import embedding_key
from harness.workload.corpus import Corpus, read_corpus, read_many
from harness.workload.edits import make_edits, write_edits

__all__ = ["sample"]


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Write a population, edits of it, or both; the value is the number of vectors made."""
    source = None if job["corpus"] is None else Path(job["corpus"])
    corpus = (
        read_many(source, chunks=job["files"] * job["chunks"], chunks_per_document=job["chunks"])
        if job.get("many")
        else read_corpus(source, files=job["files"], chunks_per_file=job["chunks"])
    )
    serving, folder = Serving(job["serving"]), Path(job["folder"])
    made = 0
    if job["population"]:
        made += _write_population(corpus, serving, folder)
    if job["edits"]:
        edits = make_edits(corpus, job["edits"], np.random.default_rng(job["seed"]))
        write_edits(edits, serving, folder)
        made += sum(len(edit.texts) for edit in edits)
    return {"values": [float(made)], "facts": {}}


def _write_population(corpus: Corpus, serving: Serving, folder: Path) -> int:
    texts = [text for document in corpus.documents for text in document.chunks]
    vectors = np.stack([one.vector for one in Emulator(serving).embed_many(texts)])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "vectors.npy", vectors)
    population = Population(
        name=folder.name,
        folder=folder,
        model=str(serving),
        dimension=vectors.shape[1],
        documents=tuple(document.name for document in corpus.documents),
        chunks_per_document=corpus.chunks_per_document,
        keys=tuple(embedding_key(serving.model_id, text) for text in texts),
        corpus=corpus.name,
        corpus_digest=corpus.digest,
        evidence="emulated",
        embedded="without the HTTP layer",
    )
    content = json.dumps({**asdict(population), "folder": None})
    (folder / "population.json").write_text(content, encoding="utf-8")
    return len(texts)
