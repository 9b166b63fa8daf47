"""Risk: a program notices that its client was wrapped: other bytes, fields, types or errors."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.client
import botocore.exceptions
import pytest
from botocore.response import StreamingBody
from moto import mock_aws

from fixtures.titan.answers import Answers, EmulatedTitan, RecordedTitan
from fixtures.titan.recorded import load_bodies
from fixtures.titan.responder import TitanResponder, bedrock_client, moto_server
from fixtures.titan.wire import Wire
from suites.tests.client.conftest import IMAGE, V1, V2, Scripted, ask, body_of
from titanstore import EmbeddingStore
from titanstore.clients.bedrock import wrap


def doubles(values: list[float]) -> list[bytes]:
    """Bits, so that -0.0 and the last place count."""
    return [struct.pack("<d", value) for value in values]


def test_recorded_bodies_come_back_byte_for_byte(
    recorded_folder: Path, store: EmbeddingStore
) -> None:
    bodies = load_bodies(recorded_folder)
    assert len({body.form for body in bodies}) == 2
    with TitanResponder(answers=RecordedTitan(bodies)) as titan, mock_aws():
        client = wrap(bedrock_client(), store)
        for turn in range(2):
            for body in bodies:
                request = json.dumps(dict(body.request))
                found = client.invoke_model(modelId=body.model, body=request)["body"].read()
                assert found == body.body, (turn, body.name)
                mine, theirs = json.loads(found), json.loads(body.body)
                assert doubles(mine["embedding"]) == doubles(theirs["embedding"])
        assert titan.calls == len(bodies)
    counted = client.titan.counters
    assert (counted.kept, counted.kept_verbatim, counted.hits) == (len(bodies), 0, len(bodies))


def test_a_hit_has_the_shape_of_the_call(client: Any, titan: TitanResponder) -> None:
    first, second = (client.invoke_model(modelId=V2, body=body_of()) for _ in range(2))
    assert titan.calls == 1
    assert list(first) == list(second)
    assert first["contentType"] == second["contentType"] == "application/json"
    one, two = first["ResponseMetadata"], second["ResponseMetadata"]
    assert list(one) == list(two)
    known = list(one["HTTPHeaders"])
    assert list(two["HTTPHeaders"]) == known
    changes = {"date", "x-amzn-requestid", "x-amzn-bedrock-invocation-latency"}
    for name in known:
        if name.lower() not in changes:
            assert one["HTTPHeaders"][name] == two["HTTPHeaders"][name], name
    assert (two["HTTPStatusCode"], two["RetryAttempts"]) == (200, 0)
    assert type(first["body"]) is type(second["body"]) is StreamingBody


def test_over_real_http_the_headers_are_the_same(
    emulated: EmulatedTitan, store: EmbeddingStore
) -> None:
    with TitanResponder(answers=emulated), moto_server() as url:
        client = wrap(bedrock_client(endpoint_url=url), store)
        first, second = (client.invoke_model(modelId=V1, body=body_of()) for _ in range(2))
        plain = bedrock_client(endpoint_url=url).invoke_model(modelId=V1, body=body_of())
    seen, headers = (found["ResponseMetadata"]["HTTPHeaders"] for found in (second, plain))
    assert list(seen) == [name for name in headers if not name.startswith("access-control")]
    bodies = [found["body"].read() for found in (first, second, plain)]
    assert bodies[0] == bodies[1] == bodies[2]


READERS: dict[str, Callable[[Any], object]] = {
    "read": lambda body: body.read(),
    "read some": lambda body: (body.read(10), body.tell(), body.read(5), body.read(), body.read()),
    "read nothing": lambda body: (body.read(0), body.tell()),
    "iterate": list,
    "next": next,
    "lines": lambda body: list(body.iter_lines()),
    "chunks": lambda body: list(body.iter_chunks(1_000)),
    "readlines": lambda body: body.readlines(),
    "readinto": lambda body: (body.readinto(room := bytearray(9)), bytes(room)),
    "json": lambda body: json.load(body),
    "with": lambda body: body.__enter__().read(7),
    "flags": lambda body: (body.readable(), body.closed, body.seekable(), body.writable()),
    "closed": lambda body: (body.close(), body.read()),
    "closed later": lambda body: (body.read(4), body.close(), body.read()),
    "after with": lambda body: (body.__exit__(None, None, None), body.read()),
    "detached": lambda body: body.fileno(),
    "text": lambda body: io.TextIOWrapper(io.BufferedReader(body), "utf-8").read(),
}


def told(read: Callable[[Any], object], body: Any) -> object:
    try:
        return read(body)
    except Exception as error:
        return type(error), str(error).replace(str(body), "")


@pytest.mark.parametrize("way", READERS)
def test_a_body_reads_as_one_from_the_network(
    way: str, server: Wire, plain: Any, store: EmbeddingStore
) -> None:
    client = wrap(plain, store)
    before = server.calls
    sent = plain.invoke_model(modelId=V1, body=body_of())["body"]
    called = client.invoke_model(modelId=V1, body=body_of())["body"]
    kept = client.invoke_model(modelId=V1, body=body_of())["body"]
    assert server.calls == before + 2
    wanted = told(READERS[way], sent)
    assert told(READERS[way], called) == wanted
    assert told(READERS[way], kept) == wanted


def test_a_timeout_can_be_set_on_a_kept_body(client: Any) -> None:
    ask(client)
    body = client.invoke_model(modelId=V2, body=body_of())["body"]
    body.set_socket_timeout(3)
    assert body.read()


BODIES: dict[str, Callable[[], Any]] = {
    "str": body_of,
    "bytes": lambda: body_of().encode(),
    "bytearray": lambda: bytearray(body_of().encode()),
    "file": lambda: io.BytesIO(body_of().encode()),
    "other blanks": lambda: '{ "inputText" :\n"hello" }',
    "escaped": lambda: '{"inputText": "h\\u0065llo"}',
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_may_be_given_as_botocore_takes_it(
    kind: str, server: Wire, plain: Any, store: EmbeddingStore
) -> None:
    client = wrap(plain, store)
    wanted = ask(client)
    before = server.calls
    assert plain.invoke_model(modelId=V2, body=BODIES[kind]())["body"].read() == wanted
    assert client.invoke_model(modelId=V2, body=BODIES[kind]())["body"].read() == wanted
    assert server.calls == before + 1
    with client.titan.past_cache():  # and it is sent whole
        assert client.invoke_model(modelId=V2, body=BODIES[kind]())["body"].read() == wanted
    assert server.calls == before + 2


def test_a_file_is_sent_whole_on_a_miss(client: Any, titan: TitanResponder) -> None:
    found = client.invoke_model(modelId=V2, body=io.BytesIO(body_of("new").encode()))
    assert json.loads(found["body"].read())["inputTextTokenCount"]
    assert titan.outcomes["ok"] == 1


WRONG: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no body": {"modelId": V2},
    "no model": {"body": body_of()},
    "unknown argument": {"modelId": V2, "body": body_of(), "model": V2},
    "body is a number": {"modelId": V2, "body": 5},
    "body is a list": {"modelId": V2, "body": ["x"]},
    "body is a memoryview": {"modelId": V2, "body": memoryview(b"{}")},
    "model is a number": {"modelId": 5, "body": body_of()},
    "model is a list": {"modelId": [V2], "body": body_of()},
    "model is empty": {"modelId": "", "body": body_of()},
    "accept is nothing": {"modelId": V2, "body": body_of(), "accept": None},
    "accept is a list": {"modelId": V2, "body": body_of(), "accept": ["*/*"]},
    "content type is nothing": {"modelId": V2, "body": body_of(), "contentType": None},
    "empty text": {"modelId": V2, "body": body_of("")},
    "no text": {"modelId": V2, "body": "{}"},
    "a number for a text": {"modelId": V2, "body": '{"inputText": 5}'},
    "null for a text": {"modelId": V2, "body": '{"inputText": null}'},
    "not JSON": {"modelId": V2, "body": "{"},
    "a list": {"modelId": V2, "body": "[]"},
    "extra field": {"modelId": V1, "body": body_of(dimensions=256)},
    "bad dimension": {"modelId": V2, "body": body_of(dimensions=300)},
    "a word for a dimension": {"modelId": V2, "body": body_of(dimensions="256")},
    "true for a dimension": {"modelId": V2, "body": body_of(dimensions=True)},
    "a float for a dimension": {"modelId": V2, "body": body_of(dimensions=1024.0)},
    "bad type": {"modelId": V2, "body": body_of(embeddingTypes=["int8"])},
    "too many tokens": {"modelId": V2, "body": body_of("a " * 9_000)},
    "image and no image": {"modelId": IMAGE, "body": "{}"},
    "bad image": {"modelId": IMAGE, "body": json.dumps({"inputImage": "%"})},
}


@pytest.mark.parametrize("what", WRONG)
def test_errors_are_botocores_own(what: str, client: Any, plain: Any) -> None:
    ask(client)  # the valid one is kept: a wrong one must not get its answer
    seen = []
    for asked in (plain, client, client):
        with pytest.raises(Exception) as found:  # compared below
            asked.invoke_model(**WRONG[what])
        error = found.value
        response = getattr(error, "response", {"Error": None})
        seen.append((type(error).__name__, str(error), response["Error"]))
    assert seen[0] == seen[1] == seen[2]
    assert client.titan.counters.kept == 1


def test_positional_arguments_are_refused_as_ever(client: Any, plain: Any) -> None:
    told = []
    for asked in (plain, client):
        with pytest.raises(TypeError) as found:
            asked.invoke_model(V2)
        told.append(str(found.value))
    assert told[0] == told[1]


def test_exceptions_of_the_client_catch_them(client: Any) -> None:
    with pytest.raises(client.exceptions.ValidationException):
        client.invoke_model(modelId=V2, body="{}")


def test_everything_else_is_the_clients(client: Any, plain: Any) -> None:
    assert isinstance(client, botocore.client.BaseClient)
    assert isinstance(client, type(plain))
    assert client.meta is plain.meta
    assert client.exceptions is plain.exceptions
    assert client.can_paginate("list_async_invokes") == plain.can_paginate("list_async_invokes")
    assert client.get_paginator("list_async_invokes")
    assert client.converse == plain.converse
    assert set(dir(client)) == {*dir(plain), "titan"}
    client.my_own = 5
    assert plain.my_own == 5
    del client.my_own
    assert not hasattr(plain, "my_own")
    assert not hasattr(client, "nothing_of_the_kind")
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = client.nothing_of_the_kind


OTHERS: dict[str, dict[str, Any]] = {
    "another model": {"modelId": "cohere.embed-english-v3", "body": body_of()},
    "a chat model": {"modelId": "amazon.titan-text-express-v1", "body": body_of()},
    "an ARN of something else": {"modelId": "arn:aws:x/y/" + V2, "body": body_of()},
    "an ARN of nothing": {"modelId": "my:foundation-model/" + V2, "body": body_of()},
    "trace": {"modelId": V2, "body": body_of(), "trace": "ENABLED"},
    "a guardrail": {
        "modelId": V2,
        "body": body_of(),
        "guardrailIdentifier": "abc",
        "guardrailVersion": "1",
    },
    "another content type": {"modelId": V2, "body": body_of(), "contentType": "text/plain"},
    "another accept": {"modelId": V2, "body": body_of(), "accept": "text/plain"},
    "a field twice": {"modelId": V2, "body": '{"inputText": "no", "inputText": "hello"}'},
    "a mark before": {"modelId": V2, "body": "\ufeff" + body_of()},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_calls_pass(
    what: str, client: Any, answering: Callable[[Answers], None], titan: TitanResponder
) -> None:
    ask(client)
    answering(Scripted(b'{"anything": 1}'))
    before = titan.calls
    for _ in range(2):
        found = client.invoke_model(**OTHERS[what])
        assert found["body"].read() == b'{"anything": 1}'
    assert titan.calls == before + 2
    assert client.titan.counters.passed == 2
    assert client.titan.counters.kept == 1


def test_utf_16_is_refused_by_the_service_alone(
    server: Wire, plain: Any, store: EmbeddingStore
) -> None:
    client = wrap(plain, store)
    ask(client)
    before = server.calls
    client.invoke_model(modelId=V2, body=body_of().encode("utf-16"))
    assert (server.calls, client.titan.counters.passed) == (before + 1, 1)


def test_an_answer_is_kept_across_processes(
    client: Any, plain: Any, store: EmbeddingStore, titan: TitanResponder
) -> None:
    wanted = ask(client)
    client.titan.close()
    store.close()
    for read_only in (True, False):
        with EmbeddingStore.open(store.path, read_only=read_only) as again:
            other = wrap(plain, again)
            assert ask(other) == wanted
            other.titan.close()
    assert titan.calls == 1


def test_throttling_and_retries_stay_botocores(
    emulated: EmulatedTitan, store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    from fixtures.titan.responder import ResponderOptions

    options = ResponderOptions(throttle_pattern=(True, True, False))
    with TitanResponder(options, emulated) as titan, mock_aws():
        client = wrap(bedrock_client(), store)
        found = client.invoke_model(modelId=V2, body=body_of())
        assert found["ResponseMetadata"]["RetryAttempts"] == 2
        assert titan.calls == 3
        assert client.titan.counters.calls == 1
        titan.options = ResponderOptions(throttle_pattern=(True,))
        with pytest.raises(client.exceptions.ThrottlingException):
            client.invoke_model(modelId=V2, body=body_of("other"))
        assert titan.calls == 3 + 4
        titan.options = ResponderOptions()
        assert ask(client, "other")  # the error was not kept


def test_token_counts_are_kept_for_each_text(client: Any) -> None:
    texts = ["one", "one two", "one two three", "three and four and five"]
    first = {text: json.loads(ask(client, text))["inputTextTokenCount"] for text in texts}
    second = {text: json.loads(ask(client, text))["inputTextTokenCount"] for text in texts}
    assert first == second
    assert len(set(first.values())) > 2
    counted = client.titan.counters
    assert counted.tokens_spent == counted.tokens_saved == sum(first.values())
    assert counted.calls == counted.calls_saved == len(texts)
