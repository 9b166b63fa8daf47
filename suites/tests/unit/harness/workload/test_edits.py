"""Risk: "one file changed" changes another number of chunks, or nothing at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fixtures.titan.emulator import Emulator, Serving
from harness.measures import preparing
from harness.population import load_population
from harness.subjects.reference import embedding_key
from harness.workload.corpus import Corpus, read_corpus
from harness.workload.edits import Session, make_edits

COUNT = 60


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return read_corpus(files=4, chunks_per_file=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    job = {"corpus": None, "files": 4, "chunks": 5, "serving": str(Serving.TEXT_V1)}
    job |= {"population": True, "edits": COUNT, "seed": 1, "folder": str(folder)}
    made = preparing.sample(job)["values"][0]
    assert made == 20 + len(np.load(folder / "edits.npy"))
    return folder


def test_an_edit_changes_one_to_three_neighbours_and_no_text_comes_twice(corpus: Corpus) -> None:
    edits = make_edits(corpus, COUNT, np.random.default_rng(1))
    assert len(edits) == COUNT
    assert {len(edit.texts) for edit in edits} == {1, 2, 3}
    assert {edit.document for edit in edits} == {0, 1, 2, 3}
    assert all(0 <= edit.first <= 5 - len(edit.texts) for edit in edits)
    texts = [text for edit in edits for text in edit.texts]
    texts += [text for document in corpus.documents for text in document.chunks]
    assert len(set(texts)) == len(texts)


def test_the_same_seed_gives_the_same_edits(corpus: Corpus) -> None:
    once, again = (make_edits(corpus, 9, np.random.default_rng(7)) for _ in range(2))
    assert once == again
    assert once != make_edits(corpus, 9, np.random.default_rng(8))


def test_a_save_hands_over_the_whole_document_with_the_edit_in_it(
    corpus: Corpus, folder: Path
) -> None:
    population = load_population(folder)
    assert population.facts()["embedded"] == "without the HTTP layer"
    session = Session(folder, population)
    before = session.documents()
    vectors = session.vectors()
    edits = make_edits(corpus, COUNT, np.random.default_rng(1))
    texts = [text for edit in edits for text in edit.texts]
    made = Emulator(Serving.TEXT_V1).embed_many(texts)
    places = {embedding_key(Serving.TEXT_V1.model_id, text): at for at, text in enumerate(texts)}
    for edit, (name, content) in zip(session.edits, session.saves(COUNT), strict=True):
        keys = [key for key, _ in content]
        changed = [at for at in range(5) if keys[at] != before[name][at]]
        assert changed == list(range(edit.first, edit.first + len(edit.keys)))
        for at, (key, vector) in enumerate(content):
            if at not in changed:
                assert vector.tobytes() == vectors[key].tobytes()
            else:
                assert key not in vectors
                assert vector.dtype == np.float32
                assert vector.tobytes() == made[places[key]].vector.tobytes()
        before, vectors = session.documents(), session.vectors()
    assert session.done == COUNT
    assert len(vectors) == 20
    with pytest.raises(ValueError, match="0 edits are left"):
        next(session.saves(1))
