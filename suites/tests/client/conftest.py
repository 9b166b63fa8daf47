"""A store, a mocked Titan whose bodies a test may choose, and a client wrapped around both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from fixtures.titan.answers import Answer, Answers, EmulatedTitan
from fixtures.titan.responder import TitanResponder, bedrock_client
from fixtures.titan.wire import Wire, titan_server
from titanstore import EmbeddingStore
from titanstore.clients.bedrock import wrap

V1 = "amazon.titan-embed-text-v1"
V2 = "amazon.titan-embed-text-v2:0"
IMAGE = "amazon.titan-embed-image-v1"


class Scripted:
    """Answers every request with the same body."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def answer(self, model_id: str, body: bytes) -> Answer:
        return Answer(body=self.body, token_count=7)


@pytest.fixture(scope="session")
def emulated() -> EmulatedTitan:
    return EmulatedTitan()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddingStore]:
    with EmbeddingStore.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def titan(emulated: EmulatedTitan) -> Iterator[TitanResponder]:
    """The mocked service: counts calls, can be replaced by `answering`."""
    with TitanResponder(answers=emulated) as responder, mock_aws():
        yield responder


@pytest.fixture(scope="session")
def unwrapped() -> Any:
    """Making a client takes half a second; it works inside any `mock_aws`, and only there."""
    return bedrock_client()


@pytest.fixture
def plain(titan: TitanResponder, unwrapped: Any) -> Any:
    return unwrapped


@pytest.fixture(scope="session")
def server(emulated: EmulatedTitan) -> Iterator[Wire]:
    """Titan over real HTTP, for all tests that break nothing."""
    with titan_server(emulated) as wire:
        yield wire


@pytest.fixture(scope="session")
def over_http(server: Wire) -> Any:
    return bedrock_client(endpoint_url=server.url)


@pytest.fixture
def client(plain: Any, store: EmbeddingStore) -> Iterator[Any]:
    wrapped = wrap(plain, store)
    yield wrapped
    wrapped.titan.close()


@pytest.fixture
def answering(titan: TitanResponder) -> Callable[[Answers], None]:
    """Let the mocked service answer otherwise from now on."""

    def answer(answers: Answers) -> None:
        titan._answers = answers

    return answer


def body_of(text: str = "hello", **options: Any) -> str:
    return json.dumps({"inputText": text, **options})


def ask(client: Any, text: str = "hello", model: str = V2, **options: Any) -> bytes:
    """The body of an answer."""
    found = client.invoke_model(modelId=model, body=body_of(text, **options))
    content: bytes = found["body"].read()
    return content
