"""A store, a mocked Titan whose bodies a test may choose, and a client wrapped around both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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


class Switched:
    """Answers as whichever service a test has put in."""

    def __init__(self, service: TitanResponder) -> None:
        self.service = service

    def answer(self, model_id: str, body: bytes) -> Answer:
        return self.service.respond(model_id, body)


@pytest.fixture(scope="session")
def switched(emulated: EmulatedTitan) -> Switched:
    return Switched(TitanResponder(answers=emulated))


@pytest.fixture(scope="session")
def server(switched: Switched) -> Iterator[Wire]:
    """Titan over real HTTP, for all tests that break nothing of it."""
    with titan_server(switched) as wire:
        yield wire


@pytest.fixture(scope="session")
def over_http(server: Wire) -> Any:
    """Making a client takes half a second."""
    return bedrock_client(endpoint_url=server.url)


@pytest.fixture
def titan(switched: Switched, emulated: EmulatedTitan) -> TitanResponder:
    """The service of this test: counts calls, can be replaced by `answering`."""
    switched.service = TitanResponder(answers=emulated)
    return switched.service


@pytest.fixture
def plain(titan: TitanResponder, over_http: Any) -> Any:
    return over_http


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
