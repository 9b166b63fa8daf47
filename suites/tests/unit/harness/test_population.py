"""Risk: what is measured is not what Titan answered, or an answer without a vector goes unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moto import mock_aws

from fixtures.titan.answers import EmulatedTitan, EmulatorOptions
from fixtures.titan.emulator import Serving
from fixtures.titan.responder import ResponderOptions, TitanResponder, bedrock_client
from harness.errors import HarnessError
from harness.population import build_store, embed_corpus, load_population
from harness.subjects.reference import ReferenceSubject, effective_config, embedding_key
from harness.workload.corpus import Corpus, SourceFile

CORPUS = Corpus(
    name="two",
    documents=(
        SourceFile(name="a.py", chunks=("import os\n", "x = 1\n", "y = 2\n")),
        SourceFile(name="b.py", chunks=("def f():\n", "    return 3\n", "class C: ...\n")),
    ),
    digest="0123456789abcdef",
)


def embed(folder: Path, serving: Serving = Serving.TEXT_V1, *, empty_body: bool = False) -> Any:
    answers = EmulatedTitan(EmulatorOptions(text_v2=Serving.TEXT_V2_2024))
    calls: list[None] = []
    options = ResponderOptions(empty_body=empty_body)
    with TitanResponder(options, answers) as titan, mock_aws():
        client = bedrock_client()
        found = embed_corpus(CORPUS, serving, client, folder, on_chunk=lambda: calls.append(None))
        assert titan.calls == len(calls) == 6
    return found


@pytest.mark.parametrize(
    ("serving", "dimension"), [(Serving.TEXT_V1, 1536), (Serving.TEXT_V2_2024, 1024)]
)
def test_each_chunk_gets_the_vector_that_titan_answered(
    tmp_path: Path, serving: Serving, dimension: int
) -> None:
    population = embed(tmp_path / "p", serving)
    vectors = population.vectors()
    assert (vectors.shape, vectors.dtype) == ((6, dimension), np.float32)
    with (
        TitanResponder(
            ResponderOptions(), EmulatedTitan(EmulatorOptions(text_v2=Serving.TEXT_V2_2024))
        ),
        mock_aws(),
    ):
        body = json.dumps({"inputText": "    return 3\n"})
        answer = bedrock_client().invoke_model(modelId=serving.model_id, body=body)
        again = np.array(json.loads(answer["body"].read())["embedding"], np.float32)
    assert np.array_equal(vectors[4].view(np.uint32), again.view(np.uint32))
    assert population.keys[4] == embedding_key(serving.model_id, "    return 3\n")
    assert len({row.tobytes() for row in vectors}) == 6


def test_what_is_written_is_read(tmp_path: Path) -> None:
    population = embed(tmp_path / "p")
    assert load_population(tmp_path / "p") == population
    assert population.facts() == {
        "files": 2,
        "chunks": 3,
        "vectors": 6,
        "dimension": 1536,
        "model": str(Serving.TEXT_V1),
        "corpus": "two 01234567",
        "embedded": "through boto3",
    }
    assert population.evidence == "emulated"


def test_its_vectors_cannot_be_changed(tmp_path: Path) -> None:
    vectors = embed(tmp_path / "p").vectors()
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1.0


def test_an_empty_answer_stops_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="answered without a vector") as caught:
        embed(tmp_path / "p", empty_body=True)
    assert caught.value.exit_code == 4
    assert "titan-embed-text-v1" in str(caught.value)
    assert not (tmp_path / "p").exists()


def test_a_store_is_built_of_every_document(tmp_path: Path) -> None:
    population = embed(tmp_path / "p")
    settings, _ = effective_config(None)
    build_store(population, tmp_path / "store", settings)
    subject = ReferenceSubject(tmp_path / "store", settings, read_only=True)
    try:
        assert subject.space()["vectors"] == 6
        stored = subject.get_many(population.keys)
        assert np.array_equal(stored.view(np.uint32), population.vectors().view(np.uint32))
        subject.get(population.keys[0])
        subject.wait_for_prefetch()
        assert subject.problems() == []
    finally:
        subject.close()
