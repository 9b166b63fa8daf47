"""Not a measure: embeds one corpus in a process of its own, through a real boto3 client.

Client, signature, HTTP layer, request and response bodies are real for every chunk. The vectors in
them were made by the emulator in one batch before, which is ten times faster and, by its contract,
changes no bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto import mock_aws

from fixtures.titan.answers import EmulatedTitan, EmulatorOptions
from fixtures.titan.emulator import Embedding, Emulator, Serving
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
    serving = Serving(job["serving"])
    texts = [text for document in corpus.documents for text in document.chunks]
    answers = _Answers(serving, texts)
    options = ResponderOptions(empty_body=job["empty_body"])
    with _mocked_titan(options, answers) as (titan, client):
        embed_corpus(corpus, serving, client, Path(job["folder"]))
    return {"values": [float(titan.calls)], "facts": {}}


class _Ahead(Emulator):
    """An emulator that knows the texts it will be asked for."""

    def __init__(self, serving: Serving, texts: Sequence[str]) -> None:
        super().__init__(serving)
        self._ahead = dict(zip(texts, super().embed_many(texts), strict=True))

    def embed(
        self, text: str, *, dimensions: int | None = None, normalize: bool = True
    ) -> Embedding:
        """As the emulator's own."""
        is_usual = dimensions in (None, self.serving.dimensions[0]) and normalize
        if is_usual and text in self._ahead:
            return self._ahead[text]
        return super().embed(text, dimensions=dimensions, normalize=normalize)


class _Answers(EmulatedTitan):
    """Titan with one serving prepared for a corpus."""

    def __init__(self, serving: Serving, texts: Sequence[str]) -> None:
        super().__init__(EmulatorOptions(text_v2=Serving.TEXT_V2_2024))
        self._emulators[serving] = _Ahead(serving, texts)


@contextmanager
def _mocked_titan(
    options: ResponderOptions, answers: EmulatedTitan
) -> Iterator[tuple[TitanResponder, Any]]:
    with TitanResponder(options, answers) as titan, mock_aws():
        yield titan, bedrock_client()
