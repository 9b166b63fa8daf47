"""Not a measure: embeds one corpus in a process of its own, through a real boto3 client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto import mock_aws

from fixtures.titan.answers import EmulatedTitan, EmulatorOptions
from fixtures.titan.emulator import Serving
from fixtures.titan.responder import ResponderOptions, TitanResponder, bedrock_client
from harness.population import embed_corpus
from harness.workload.corpus import read_corpus

__all__ = ["sample"]


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Cut, embed and write the population of a job; the value is the number of calls made."""
    corpus = read_corpus(
        None if job["corpus"] is None else Path(job["corpus"]),
        files=job["files"],
        chunks_per_file=job["chunks"],
    )
    with _mocked_titan(ResponderOptions(empty_body=job["empty_body"])) as (titan, client):
        embed_corpus(corpus, Serving(job["serving"]), client, Path(job["folder"]))
    return {"values": [float(titan.calls)], "facts": {}}


@contextmanager
def _mocked_titan(options: ResponderOptions) -> Iterator[tuple[TitanResponder, Any]]:
    answers = EmulatedTitan(EmulatorOptions(text_v2=Serving.TEXT_V2_2024))
    with TitanResponder(options, answers) as titan, mock_aws():
        yield titan, bedrock_client()
