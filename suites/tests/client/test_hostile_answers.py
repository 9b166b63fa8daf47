"""Risk: what is no embedding is kept as one, or a body comes back as another."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import botocore.exceptions
import numpy as np
import pytest
import urllib3.exceptions

from fixtures.titan.answers import Answers, EmulatedTitan
from fixtures.titan.digits import DigitForm, render_body
from fixtures.titan.emulator import Serving
from fixtures.titan.responder import TitanResponder, bedrock_client
from fixtures.titan.wire import Wire, titan_server
from fixtures.vectors import GENERATORS
from suites.tests.client.conftest import V1, V2, Scripted, ask, body_of
from titanstore import AnswerError, EmbeddingStore, ErrorKind
from titanstore.clients.bedrock import wrap
from titanstore.clients.bedrock.bodies import Form, learn_form, read_body

NUMBERS = [0.5] * 1024
REFUSED: dict[str, bytes] = {
    "empty object": b"{}",
    "nothing": b"",
    "not JSON": b"<html>",
    "half": json.dumps({"embedding": NUMBERS}).encode()[:-3],
    "a list": json.dumps(NUMBERS).encode(),
    "null": b"null",
    "no list": b'{"embedding": null, "inputTextTokenCount": 1}',
    "an object": b'{"embedding": {"0": 1}}',
    "empty vector": b'{"embedding": [], "inputTextTokenCount": 1}',
    "too short": json.dumps({"embedding": NUMBERS[1:]}).encode(),
    "too long": json.dumps({"embedding": [*NUMBERS, 0.5]}).encode(),
    "NaN": json.dumps({"embedding": [*NUMBERS[1:], float("nan")]}).encode(),
    "infinity": json.dumps({"embedding": [*NUMBERS[1:], float("inf")]}).encode(),
    "beyond float32": json.dumps({"embedding": [*NUMBERS[1:], 1e39]}).encode(),
    "beyond float64": json.dumps({"embedding": [*NUMBERS[1:], 0]}).encode()[:-2]
    + b"9" * 400
    + b"]}",
    "a string": json.dumps({"embedding": [*NUMBERS[1:], "0.5"]}).encode(),
    "true": json.dumps({"embedding": [*NUMBERS[1:], True]}).encode(),
    "nested": json.dumps({"embedding": [NUMBERS]}).encode(),
    "an error": b'{"message": "no vector today"}',
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_vector_is_handed_on_and_never_kept(
    what: str,
    client: Any,
    store: EmbeddingStore,
    answering: Callable[[Answers], None],
    titan: TitanResponder,
    emulated: EmulatedTitan,
) -> None:
    answering(Scripted(REFUSED[what]))
    for _ in range(2):
        assert ask(client) == REFUSED[what]
    assert titan.calls == 2
    with pytest.raises(AnswerError) as found:
        client.titan.embedder(V2).embed("hello")
    assert found.value.kind is ErrorKind.NO_VECTOR
    assert (client.titan.counters.refused, client.titan.counters.kept) == (3, 0)
    assert len(store) == 0
    answering(emulated)
    assert len(json.loads(ask(client))["embedding"]) == 1024
    assert client.titan.counters.kept == 1


def odd_bodies() -> Iterator[tuple[str, bytes]]:
    """Bodies with a good vector that neither form prints, and a few that a form does."""
    rng = np.random.default_rng(5)
    vector = GENERATORS["gaussian" if "gaussian" in GENERATORS else next(iter(GENERATORS))](
        rng, 1, 1024
    )[0]
    values = np.nan_to_num(vector.astype(np.float64), nan=0.25, posinf=1, neginf=-1).tolist()
    yield "real doubles", json.dumps({"embedding": np.linspace(-1, 1, 1024).tolist()}).encode()
    yield "indented", json.dumps({"embedding": values}, indent=1).encode()
    yield "whole numbers", json.dumps({"embedding": [0, 1] * 512}).encode()
    yield "zeros", json.dumps({"embedding": [0.0, -0.0] * 512}).encode()
    yield "five digits", ('{"embedding":[' + ",".join(f"{v:.5f}" for v in values) + "]}").encode()
    yield "capitals", ('{"embedding":[' + ",".join(f"{v:.9E}" for v in values) + "]}").encode()
    fields = {"embedding": values, "inputTextTokenCount": 3}
    yield "other order", json.dumps(dict(reversed(fields.items()))).encode()
    yield "a message", json.dumps({**fields, "message": None}).encode()
    yield "brackets in text", json.dumps({"note": "[1, 2]", **fields}).encode()
    yield "count in text", json.dumps({"note": '"inputTextTokenCount": 3', **fields}).encode()
    yield "long text", json.dumps({**fields, "note": "x" * 5_000}).encode()
    yield "twice", b'{"embedding": [1], "embedding": ' + json.dumps(values).encode() + b"}"
    yield "other types", json.dumps({**fields, "embeddingsByType": {"int8": [1] * 1024}}).encode()
    yield (
        "float twin differs",
        json.dumps({**fields, "embeddingsByType": {"float": values[::-1]}}).encode(),
    )
    yield "count is a float", json.dumps({**fields, "inputTextTokenCount": 3.0}).encode()
    yield "count is negative", json.dumps({**fields, "inputTextTokenCount": -3}).encode()
    yield "count is huge", json.dumps({**fields, "inputTextTokenCount": 2**40}).encode()
    yield "count is absent", json.dumps({"embedding": values}).encode()
    yield "count with a zero before", json.dumps(fields).encode().replace(b": 3", b": 3 ")
    yield "unicode", json.dumps({**fields, "note": "é𝄞"}, ensure_ascii=False).encode()
    yield "line at the end", json.dumps(fields).encode() + b"\n"


ODD = dict(odd_bodies())


@pytest.mark.parametrize("what", ODD)
def test_a_body_of_any_form_comes_back_byte_for_byte(
    what: str,
    client: Any,
    plain: Any,
    store: EmbeddingStore,
    answering: Callable[[Answers], None],
    titan: TitanResponder,
) -> None:
    answering(Scripted(ODD[what]))
    wanted = json.loads(ODD[what])
    assert [ask(client), ask(client)] == [ODD[what]] * 2
    assert titan.calls == 1
    floats = client.titan.embedder(V2).floats("hello")
    assert list(map(repr, floats)) == list(map(repr, wanted["embedding"]))
    vector = client.titan.embedder(V2).embed("hello")
    assert np.array_equal(vector, np.array(wanted["embedding"], np.float64).astype(np.float32))
    client.titan.close()
    with EmbeddingStore.open(store.path, read_only=True) as again:
        assert ask(wrap(plain, again)) == ODD[what]
    assert titan.calls == 1


def test_unknown_forms_are_kept_verbatim_and_known_ones_not(
    client: Any, answering: Callable[[Answers], None]
) -> None:
    for place, body in enumerate(ODD.values()):
        answering(Scripted(body))
        ask(client, f"text {place}")
    counted = client.titan.counters
    assert counted.kept == len(ODD)
    assert 5 < counted.kept_verbatim < len(ODD) - 5


@pytest.mark.parametrize("kind", list(GENERATORS))
@pytest.mark.parametrize("digits", list(DigitForm))
def test_hostile_vectors_print_as_the_emulator_prints_them(kind: str, digits: DigitForm) -> None:
    """Every generator's finite rows, in both forms: found, and printed again to the last digit."""
    rng = np.random.default_rng(7)
    for vector in GENERATORS[kind](rng, 12, 256):
        finite = np.where(np.isfinite(vector), vector, np.float32(0.125))
        for serving in (Serving.TEXT_V1, Serving.TEXT_V2):
            body = render_body(serving, finite, 12, form=digits)
            embedded = read_body(body, 256)
            assert embedded is not None
            assert np.array_equal(embedded.vector.view(np.uint32), finite.view(np.uint32))
            form = learn_form(body, embedded)
            assert form is not None, kind
            again = Form.from_bytes(form.to_bytes())
            assert again.render(embedded.vector, embedded.token_count) == body


@pytest.fixture
def broken(emulated: EmulatedTitan) -> Iterator[Wire]:
    with titan_server(emulated) as wire:
        yield wire


def test_a_stream_that_breaks_is_an_error_and_not_kept(broken: Wire, store: EmbeddingStore) -> None:
    plain = bedrock_client(endpoint_url=broken.url, attempts=1)
    client = wrap(plain, store)
    broken.cut_after = 100
    told = []
    for asked in (plain, client):
        response = asked.invoke_model(modelId=V1, body=body_of())
        with pytest.raises(
            (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError)
        ) as found:
            response["body"].read()
        told.append((type(found.value), str(found.value)))
    assert told[0] == told[1]
    with pytest.raises(type(found.value)):
        client.titan.embedder(V1).embed("hello")
    assert client.titan.counters.kept == 0
    broken.cut_after = None
    assert read_body(ask(client, model=V1), 1536)


TEXTS = {
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "ligature": "o\ufb03ce",
    "plain": "office",
    "capital": "Office",
    "blank after": "office ",
    "line end": "office\n",
    "zero": "a\x00b",
    "no zero": "ab",
    "emoji": "👩‍🔬",
    "beyond the plane": "𝄞",
    "half a pair": "\ud834",
    "right to left": "\u202eabc",
    "a mark": "\ufeffabc",
}


def test_texts_that_look_alike_are_kept_apart(client: Any, titan: TitanResponder) -> None:
    keys = {name: client.titan.key(modelId=V2, body=body_of(text)) for name, text in TEXTS.items()}
    assert len(set(keys.values())) == len(TEXTS)
    first = {name: ask(client, text) for name, text in TEXTS.items()}
    calls = titan.calls
    assert {name: ask(client, text) for name, text in TEXTS.items()} == first
    assert titan.calls == calls == len(TEXTS)


def test_every_option_is_part_of_the_key(client: Any, titan: TitanResponder) -> None:
    """A changed dimension, norm or type never meets an old answer."""
    options: list[dict[str, Any]] = [
        {},
        {"dimensions": 1024},
        {"dimensions": 512},
        {"dimensions": 256},
        {"normalize": True},
        {"normalize": False},
        {"embeddingTypes": ["float"]},
        {"embeddingTypes": ["binary"]},
        {"embeddingTypes": ["float", "binary"]},
        {"embeddingTypes": ["binary", "float"]},
        {"dimensions": 256, "normalize": False},
    ]
    first = [ask(client, **one) for one in options]
    assert titan.calls == len(options)
    assert [ask(client, **one) for one in options] == first
    assert titan.calls == len(options)
    assert {len(json.loads(body)["embedding"]) for body in first} == {1024, 512, 256}
    reordered = json.dumps({"normalize": False, "dimensions": 256, "inputText": "hello"})
    assert client.invoke_model(modelId=V2, body=reordered)["body"].read() == first[-1]
    for other in (V1, "amazon.titan-embed-g1-text-02"):
        ask(client, model=other)
    assert titan.calls == len(options) + 2
    arn = f"arn:aws:bedrock:us-east-1::foundation-model/{V1}"
    assert ask(client, model=arn) == ask(client, model=V1)
    assert titan.calls == len(options) + 2


def test_a_huge_text_is_found_again(client: Any, titan: TitanResponder) -> None:
    text = "word " * 9_999
    embed = client.titan.embedder(V1)
    with pytest.raises(client.exceptions.ValidationException):  # too many tokens
        embed.embed(text)
    text = "extraordinary" * 3_800
    assert embed.embed(text) is embed.embed(text) or titan.calls == 2
    assert titan.calls == 2


def test_regions_can_be_kept_apart(plain: Any, store: EmbeddingStore) -> None:
    one, other = wrap(plain, store), wrap(plain, store, by_region=True)
    arguments = {"modelId": V1, "body": body_of()}
    assert one.titan.key(**arguments) != other.titan.key(**arguments)
    assert other.titan.embedder(V1).key("hello") == other.titan.key(**arguments)
    assert one.titan.embedder(V1).key("hello") == one.titan.key(**arguments)


def test_names_of_ones_own_lead_to_a_model(plain: Any, store: EmbeddingStore) -> None:
    mine = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"
    client = wrap(plain, store, models={mine: V1})
    assert client.titan.key(modelId=mine, body=body_of()) == client.titan.key(
        modelId=V1, body=body_of()
    )
    assert wrap(plain, store).titan.key(modelId=mine, body=body_of()) is None
