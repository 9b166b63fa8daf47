"""quality.api, latency.client: a wrapped Bedrock client beside the client that it wraps.

Client, signature, HTTP and body are botocore's own; the server is ours, on loopback, and answers
recorded bodies or emulated ones of every serving, form, dimension and type.
"""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fixtures.titan.answers import Answers, EmulatedTitan, EmulatorOptions, RecordedTitan
from fixtures.titan.digits import DigitForm, EmbeddingType
from fixtures.titan.emulator import Serving
from fixtures.titan.recorded import load_bodies
from fixtures.titan.responder import bedrock_client
from fixtures.titan.wire import titan_server
from harness.clock import call_times_s, timer_floor_s, without_gc
from harness.measurement import Measurement, Process
from harness.measures.base import Context, Plan
from harness.statistics import error_rate_bound
from harness.subjects.reference import ReferenceSubject
from harness.worker import WorkerError

__all__ = ["compare_answers", "measure", "sample"]

_TEXTS = 6  # of each serving, form and set of options
_WORDS = 40_000  # letters, of which the longest texts are made: beyond one window of tokens
_VECTOR_CALLS = 4_000
_MADE_ANEW = {"date", "x-amzn-requestid", "x-amzn-bedrock-invocation-latency"}


class Case(NamedTuple):
    """One request."""

    model: str
    body: str


def measure(context: Context) -> list[Measurement]:
    """Rows: recorded bodies, emulated ones of every form; then the times of a kept answer."""
    return [*context.together(_plans(context)), *_latencies(context)]


def _plans(context: Context) -> list[Plan]:
    plans = []
    jobs = [
        {"form": str(form), "text_v2": str(text_v2), **_job(context)}
        for form in DigitForm
        for text_v2 in (Serving.TEXT_V2, Serving.TEXT_V2_2024)
    ]
    plans.append(_plan("quality.api-emulated", "emulated", {"forms": len(DigitForm)}, jobs))
    folder = context.recorded_folder
    if folder is not None and (folder / "bodies" / "index.json").exists():
        job = {"recorded": str(folder), **_job(context)}
        population = {"bodies": len(load_bodies(folder))}
        plans.append(_plan("quality.api-recorded", context.recorded_tier, population, [job]))
    return plans


def _job(context: Context) -> dict[str, Any]:
    return {"settings": dict(context.settings), "seed": context.seed, "work": str(context.work)}


def _plan(
    name: str, evidence: str, population: Mapping[str, Any], jobs: Sequence[Mapping[str, Any]]
) -> Plan:
    def take(processes: Sequence[Process]) -> dict[str, Any]:
        facts = [process.facts for process in processes]
        compared = sum(fact["compared"] for fact in facts)
        return {
            "processes": processes,
            "context": {
                "compared_answers": compared,
                "byte_identical": sum(fact["byte_identical"] for fact in facts),
                "kept_verbatim": sum(fact["kept_verbatim"] for fact in facts),
                "error_rate_high": error_rate_bound(compared),
                "first_errors": [error for fact in facts for error in fact["errors"]][:5],
            },
        }

    return Plan(
        name=name,
        unit="count",
        evidence=evidence,
        population=population,
        tasks=[("client", job) for job in jobs],
        take=take,
    )


def _latencies(context: Context) -> list[Measurement]:
    """Of a whole `invoke_model`, and of a vector without JSON in the same processes."""
    folder = context.recorded_folder
    jobs = [
        {
            **_job(context),
            "seed": context.seed + place,
            "calls": context.sizes.client_calls,
            "text_v2": str((Serving.TEXT_V2, Serving.TEXT_V2_2024)[place % 2]),
            "form": str(list(DigitForm)[place % 2]),
            "bodies": None if folder is None else str(folder),
        }
        for place in range(context.sizes.processes)
    ]

    vectors: list[Process] = []

    def take() -> dict[str, Any]:
        found = context.workers("client", jobs)
        calls = []
        for process in found:
            facts = dict(process.facts)
            vectors.append(replace(process, values=facts.pop("vector_call_s"), facts=facts))
            calls.append(replace(process, facts=facts))
        return _told(calls)

    def take_vectors() -> dict[str, Any]:
        if not vectors:
            raise WorkerError("the processes that also time whole calls failed")
        return _told(vectors)

    population = {"models": 4, "calls a process": context.sizes.client_calls}
    of_vectors = {"models": 1, "calls a process": _VECTOR_CALLS}
    return [
        context.measured(name, unit="s", evidence="emulated", population=told, take=taken)
        for name, told, taken in (
            ("latency.client", population, take),
            ("latency.client-vector", of_vectors, take_vectors),
        )
    ]


def _told(processes: Sequence[Process]) -> dict[str, Any]:
    facts = [process.facts for process in processes]
    p99 = [np.percentile(process.values, 99) for process in processes]
    return {
        "processes": processes,
        "context": {
            "call_s_p99": float(np.median(p99)),
            **{
                name: float(np.median([fact[name] for fact in facts]))
                for name in ("timer_floor_s", "answers")
            },
        },
    }


# ---------------------------------------------------------------- in a fresh process


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Values are answers that differ, 0 or 1 each; or, with `calls`, seconds of each call."""
    with tempfile.TemporaryDirectory(dir=job["work"]) as work:
        return _timed(job, Path(work)) if "calls" in job else _compared(job, Path(work))


def _compared(job: Mapping[str, Any], work: Path) -> dict[str, Any]:
    values: list[float] = []
    errors: list[str] = []
    identical = 0
    with _served(job) as (plain, cases):
        subject = ReferenceSubject(work / "store", job["settings"])
        client = subject.bedrock(plain)
        originals = [_asked(plain, case) for case in cases]
        turns = [[_asked(client, case) for case in cases] for _ in range(2)]
        counted = client.titan.counters
        client.titan.close()
        subject.close()
        reader = ReferenceSubject(work / "store", job["settings"], read_only=True)
        again = reader.bedrock(plain)
        turns.append([_asked(again, case) for case in cases])
        hits = counted.hits + again.titan.counters.hits
        again.titan.close()
        reader.close()
    if hits != 2 * len(cases):
        raise AssertionError(f"{hits} of {2 * len(cases)} answers were kept ones: nothing compared")
    for turn in turns:
        for case, original, seen in zip(cases, originals, turn, strict=True):
            fault = compare_answers(original, seen)
            values.append(float(bool(fault)))
            identical += original["body"] == seen["body"]
            if fault:
                errors.append(f"{case.model}: {fault}")
    facts = {
        "compared": len(values),
        "byte_identical": identical,
        "kept_verbatim": counted.kept_verbatim,
        "errors": errors[:5],
    }
    return {"values": values, "facts": facts}


def _asked(client: Any, case: Case) -> dict[str, Any]:
    """A response with its body read, and of which class that was."""
    response = client.invoke_model(modelId=case.model, body=case.body)
    return {**response, "body": response["body"].read(), "class": type(response["body"])}


def compare_answers(original: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    """What a program could notice between two answers; an empty string if nothing."""
    if list(original) != list(seen) or original["class"] is not seen["class"]:
        return "other fields of the response, or another class of body"
    if original["contentType"] != seen["contentType"]:
        return "another content type"
    one, two = original["ResponseMetadata"], seen["ResponseMetadata"]
    if list(one) != list(two) or one["HTTPStatusCode"] != two["HTTPStatusCode"]:
        return "other metadata"
    headers = one["HTTPHeaders"], two["HTTPHeaders"]
    if list(headers[0]) != list(headers[1]):
        return "other headers"
    for name in headers[0].keys() - _MADE_ANEW:
        if headers[0][name] != headers[1][name]:
            return f"another value of header {name}"
    parsed = [_canonical(json.loads(answer["body"])) for answer in (original, seen)]
    return "" if parsed[0] == parsed[1] else "the body parses to other values"


def _canonical(value: Any) -> Any:
    """Types, order and the bits of numbers, for comparison: True is not 1, -0.0 is not 0.0."""
    if isinstance(value, dict):
        return [(name, _canonical(inner)) for name, inner in value.items()]
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    return type(value), struct.pack("<d", value) if isinstance(value, float) else value


def _timed(job: Mapping[str, Any], work: Path) -> dict[str, Any]:
    rng = np.random.default_rng(job["seed"])
    with _served(job) as (plain, cases):
        subject = ReferenceSubject(work / "store", job["settings"])
        client = subject.bedrock(plain)
        wanted = [_asked(client, case)["body"] for case in cases]
        if job["bodies"] is not None:
            more, bodies = _recorded(Path(job["bodies"]))
            with titan_server(more) as wire:
                recorder = subject.bedrock(bedrock_client(endpoint_url=wire.url))
                wanted += [_asked(recorder, case)["body"] for case in bodies]
                recorder.titan.close()
            cases = [*cases, *bodies]
        order = rng.integers(len(cases), size=job["calls"]).tolist()
        got: list[bytes] = []

        def call(place: int) -> None:
            case = cases[place]
            response = client.invoke_model(modelId=case.model, body=case.body)
            got.append(response["body"].read())

        before = client.titan.counters
        with without_gc():
            times = call_times_s(call, order)
        after = client.titan.counters
        if got != [wanted[place] for place in order]:
            raise AssertionError("another body: timings of wrong answers do not count")
        if after.calls != before.calls or after.hits - before.hits != len(order):
            raise AssertionError("not every answer was a kept one")
        vector_s = _vector_calls(client, cases)
        client.titan.close()
        subject.close()
    facts = {
        "answers": len(cases),
        "timer_floor_s": timer_floor_s(),
        "vector_call_s": vector_s,
    }
    return {"values": times, "facts": facts}


def _vector_calls(client: Any, cases: Sequence[Case]) -> list[float]:
    """Seconds of `embed` of resident texts: no JSON, no response."""
    wanted = cases[0].model
    embedder = client.titan.embedder(wanted)
    bodies = [json.loads(case.body) for case in cases if case.model == wanted]
    texts = [body["inputText"] for body in bodies if body.keys() == {"inputText"}]
    for text in texts:
        embedder.embed(text)
    with without_gc():
        return call_times_s(embedder.embed, [texts[at % len(texts)] for at in range(_VECTOR_CALLS)])


@contextmanager
def _served(job: Mapping[str, Any]) -> Iterator[tuple[Any, list[Case]]]:
    """A plain client of a service that answers these cases."""
    answers: Answers
    if "recorded" in job:
        answers, cases = _recorded(Path(job["recorded"]))
    else:
        form = DigitForm(job["form"])
        options = EmulatorOptions(
            text_v2=Serving(job["text_v2"]), forms=dict.fromkeys(Serving, form)
        )
        answers, cases = EmulatedTitan(options), _cases(job["seed"])
    with titan_server(answers) as wire:
        yield bedrock_client(endpoint_url=wire.url), cases


def _recorded(folder: Path) -> tuple[RecordedTitan, list[Case]]:
    bodies = load_bodies(folder)
    cases = [Case(body.model, json.dumps(dict(body.request))) for body in bodies]
    return RecordedTitan(bodies), cases


def _cases(seed: int) -> list[Case]:
    """Every model with every option that changes its answer, and texts from a word to a page."""
    rng = np.random.default_rng(seed)
    lengths = np.geomspace(1, 600, _TEXTS).astype(int)
    letters = "".join(rng.choice(list("etaoin shrdlu"), size=_WORDS))
    texts = [letters[at * 600 : at * 600 + 5 * length] + "." for at, length in enumerate(lengths)]
    sizes = [{}, *({"dimensions": size} for size in Serving.TEXT_V2.dimensions)]
    norms: list[dict[str, Any]] = [{}, {"normalize": True}, {"normalize": False}]
    kinds = [[EmbeddingType.FLOAT], [EmbeddingType.BINARY], list(EmbeddingType)]
    types: list[dict[str, Any]] = [{}, *({"embeddingTypes": kind} for kind in kinds)]
    cases = [
        Case(serving.model_id, json.dumps({"inputText": text}))
        for serving in (Serving.TEXT_V1, Serving.G1_TEXT_02, Serving.IMAGE_V1)
        for text in (texts[:4] if serving is Serving.IMAGE_V1 else texts)
    ]
    cases += [
        Case(Serving.TEXT_V2.model_id, json.dumps({"inputText": text, **size, **norm, **kind}))
        for size in sizes
        for norm in norms
        for kind in types
        for text in (texts if not (size or norm or kind) else texts[1:2])
    ]
    cases += [
        Case(
            Serving.IMAGE_V1.model_id,
            json.dumps({"inputText": "a word", "embeddingConfig": {"outputEmbeddingLength": size}}),
        )
        for size in Serving.IMAGE_V1.dimensions
    ]
    return [*cases, Case(Serving.IMAGE_V1.model_id, json.dumps({"inputImage": "aW1hZ2U="}))]
