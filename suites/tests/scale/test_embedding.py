"""Risk: a job that embeds texts asks twice, takes a wrong answer, or reads what is no text."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.titan.answers import EmulatedTitan
from fixtures.titan.responder import ResponderOptions, TitanResponder
from suites.tests.scale.inputs import V2, write_texts
from titanstore import AnswerError, ErrorKind, InvalidInputError, MigrationError, embedding_key
from titanstore.migration.lines import LINE_BYTES_MAX
from titanstore.scale import (
    Embedding,
    Job,
    LocalRunner,
    Location,
    Part,
    SharedTable,
    parts_of,
    run_job,
    verify,
)


@pytest.fixture
def bedrock(server: str) -> Any:
    """What answers at the endpoint of moto's server."""
    with TitanResponder() as responder:
        yield responder


def embed_job(place: Location, endpoint: str, source: Path, **options: Any) -> Job:
    how = Embedding(
        model=V2, options=options or {"dimensions": 256}, endpoint=endpoint, region="us-east-1"
    )
    parts = parts_of([source], files_per_part=2)
    return Job(table=place, parts=parts, dimension=how.dimension, embedding=how)


def test_texts_are_embedded_once_and_found_by_a_clients_keys(
    server: str, bucket: Location, tmp_path: Path, bedrock: TitanResponder
) -> None:
    texts = write_texts(tmp_path / "texts")
    done = run_job(embed_job(bucket, server, tmp_path / "texts"), LocalRunner())
    assert (done.added, done.repeated, done.parts) == (12, 2, 4)
    assert bedrock.calls == 14
    keys = [embedding_key(V2, text, {"dimensions": 256}) for text in texts]
    found = SharedTable.open(bucket).get_many(keys)
    for text, row in zip(texts, found, strict=True):
        body = json.dumps({"inputText": text, "dimensions": 256}).encode()
        answer = json.loads(EmulatedTitan().answer(V2, body).body)["embedding"]
        wanted = np.array(answer, np.float64).astype(np.float32)
        assert np.array_equal(row.view(np.uint32), wanted.view(np.uint32))
    rows = {row.key: row for row in SharedTable.open(bucket).rows()}
    assert rows[keys[0]].document == "a.py"
    assert {row.model for row in rows.values()} == {V2}
    assert verify(bucket, LocalRunner()).is_clean


def test_an_answer_without_a_vector_ends_the_job(
    server: str, folder: Location, tmp_path: Path
) -> None:
    write_texts(tmp_path / "texts")
    job = embed_job(folder, server, tmp_path / "texts")
    with TitanResponder(ResponderOptions(empty_body=True)), pytest.raises(AnswerError) as caught:
        run_job(job, LocalRunner())
    assert caught.value.kind is ErrorKind.NO_VECTOR
    assert len(SharedTable.open(folder)) == 0


def test_a_model_that_throttles_is_asked_again(
    server: str, folder: Location, tmp_path: Path
) -> None:
    write_texts(tmp_path / "texts")
    job = embed_job(folder, server, tmp_path / "texts")
    with TitanResponder(ResponderOptions(throttle_pattern=(*[False] * 10, True))) as titan:
        assert run_job(job, LocalRunner()).added == 12
        assert titan.outcomes["ThrottlingException"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.jsonl", "{"),
        ("a.jsonl", '{"body": "x"}'),
        ("a.jsonl", "[1]"),
        ("a.jsonl", "[" * 100_000),
        ("a.jsonl", r'{"text": "\ud800"}'),
        ("a.jsonl", r'{"text": "x", "document": "\udfff"}'),
        ("a.jsonl.gz", gzip.compress(b" " * LINE_BYTES_MAX + b'{"text": "x"}', 1)),
        ("a.txt", b"\xff\xfe"),
        ("a.txt", b"x" * LINE_BYTES_MAX),
    ],
    ids=range(9),
)
def test_texts_that_cannot_be_read_end_the_job(
    folder: Location, tmp_path: Path, name: str, line: str | bytes
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / name).write_bytes(line if isinstance(line, bytes) else line.encode())
    with pytest.raises(MigrationError) as caught:
        run_job(embed_job(folder, "http://127.0.0.1:9", source), LocalRunner())
    assert caught.value.kind is ErrorKind.BAD_SOURCE


def test_jobs_that_cannot_be_meant_are_refused(folder: Location, tmp_path: Path) -> None:
    part = (Part(0, (str(tmp_path),)),)
    refusals: list[tuple[ErrorKind, Callable[[], object]]] = [
        (ErrorKind.NOT_TITAN, lambda: Embedding(model="gpt")),
        (ErrorKind.BAD_SETTING, lambda: Embedding(model=V2, options={"dimensions": "many"})),
        (ErrorKind.BAD_SETTING, lambda: Embedding(model=V2, parallel=0)),
        (ErrorKind.BAD_SETTING, lambda: Job(table=folder, parts=part, dimension=3)),
    ]
    for kind, call in refusals:
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert caught.value.kind is kind
    for missing in ([tmp_path / "nowhere"], []):
        with pytest.raises(MigrationError):
            parts_of(missing)
