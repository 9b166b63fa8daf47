"""Risk: a wrapped client that answers otherwise passes the gate, or a slow way is timed as fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from fixtures.titan.recorded import usual_folder
from harness.measures import client
from harness.measures.base import Context
from harness.measures.client import compare_answers
from harness.targets import load_targets

BODY = {"embedding": [0.5, -0.0, 1e-5], "inputTextTokenCount": 1, "flag": True}


def answer() -> dict[str, Any]:
    headers = {"date": "today", "content-type": "application/json", "content-length": "9"}
    return {
        "ResponseMetadata": {
            "RequestId": "a",
            "HTTPStatusCode": 200,
            "HTTPHeaders": headers,
            "RetryAttempts": 0,
        },
        "contentType": "application/json",
        "body": json.dumps(BODY).encode(),
        "class": bytes,
    }


def body_with(**changed: Any) -> Callable[[dict[str, Any]], None]:
    def change(seen: dict[str, Any]) -> None:
        seen["body"] = json.dumps({**BODY, **changed}).encode()

    return change


def header(name: str, value: str) -> Callable[[dict[str, Any]], None]:
    def change(seen: dict[str, Any]) -> None:
        seen["ResponseMetadata"]["HTTPHeaders"][name] = value

    return change


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(seen: dict[str, Any]) -> None:
        for name in path[:-1]:
            seen = seen[name]
        del seen[path[-1]]

    return change


SAME: dict[str, Callable[[dict[str, Any]], None]] = {
    "nothing": lambda seen: None,
    "the date": header("date", "yesterday"),
    "blanks": lambda seen: seen.update(body=json.dumps(BODY, indent=1).encode()),
    "the request": lambda seen: seen["ResponseMetadata"].update(RequestId="b"),
}
OTHER: dict[str, Callable[[dict[str, Any]], None]] = {
    "the last digit": body_with(embedding=[0.5000000000000001, -0.0, 1e-5]),
    "the sign of zero": body_with(embedding=[0.5, 0.0, 1e-5]),
    "whole for broken": body_with(embedding=[0.5, 0, 1e-5]),
    "one for true": body_with(flag=1),
    "a count": body_with(inputTextTokenCount=2),
    "a count with a point": body_with(inputTextTokenCount=1.0),
    "a field more": body_with(message=None),
    "another order": lambda seen: seen.update(
        body=json.dumps(dict(reversed(BODY.items()))).encode()
    ),
    "a shorter vector": body_with(embedding=[0.5, -0.0]),
    "a header less": without("ResponseMetadata", "HTTPHeaders", "content-length"),
    "a header more": header("x-cache", "hit"),
    "the length": header("content-length", "8"),
    "the content type": lambda seen: seen.update(contentType="text/plain"),
    "the class of body": lambda seen: seen.update({"class": str}),
    "the status": lambda seen: seen["ResponseMetadata"].update(HTTPStatusCode=201),
    "metadata less": without("ResponseMetadata", "RetryAttempts"),
    "a field of the response less": without("contentType"),
}


@pytest.mark.parametrize("what", SAME)
def test_what_may_differ_is_no_fault(what: str) -> None:
    seen = deepcopy(answer())
    SAME[what](seen)
    assert compare_answers(answer(), seen) == ""


@pytest.mark.parametrize("what", OTHER)
def test_every_difference_is_found(what: str) -> None:
    seen = deepcopy(answer())
    OTHER[what](seen)
    assert compare_answers(answer(), seen)


def test_rows_of_the_gate_are_measured(context: Context) -> None:
    folder = usual_folder()
    sizes = replace(context.sizes, client_calls=20, processes=2)
    found = {
        one.id: one for one in client.measure(replace(context, sizes=sizes, recorded_folder=folder))
    }
    rows = load_targets().rows()
    wanted = {"quality.api-emulated", "latency.client", "latency.client-vector"}
    assert found.keys() == wanted | ({"quality.api-recorded"} if folder else set())
    for one in found.values():
        assert one.failure == ""
        assert one.unit == next(row.unit for row in rows.values() if row.measurement == one.id)
    emulated = found["quality.api-emulated"]
    assert len(emulated.processes) == 4
    for one in found.values():
        if one.unit == "s":
            count = {"latency.client": 20, "latency.client-vector": 4_000}[one.id]
            assert all(len(process.values) == count for process in one.processes)
            assert all(value > 0 for process in one.processes for value in process.values)
            assert "vector_call_s" not in one.processes[0].facts
            continue
        values = [value for process in one.processes for value in process.values]
        assert set(values) == {0.0}
        assert one.context["byte_identical"] == one.context["compared_answers"] == len(values)
        assert one.context["kept_verbatim"] == 0
