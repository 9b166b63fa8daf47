"""Kept answers of the drop-in client as nobody kept them: it still answers as the model does."""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

from crc32c import crc32c

from harness.reliability.hostile_store import SETTINGS, Feed, Prepare, change_lmdb
from harness.reliability.mutations import mutated_binary, mutated_text
from harness.subjects.reference import ReferenceSubject

__all__ = ["ANSWERS"]


class _Answering:
    """Stands for a bedrock-runtime client: botocore's part is none of this."""

    def __init__(self) -> None:
        from fixtures.titan.answers import EmulatedTitan

        self._titan = EmulatedTitan()
        self.meta = None

    def invoke_model(self, **given: Any) -> dict[str, Any]:
        from botocore.response import StreamingBody

        body = self._titan.answer(given["modelId"], given["body"].encode()).body
        return {
            "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {"date": "now"}},
            "contentType": "application/json",
            "body": StreamingBody(io.BytesIO(body), len(body)),
        }


_ASKED = [
    ("amazon.titan-embed-text-v2:0", f'{{"inputText": "text {n}", "dimensions": 256}}')
    for n in range(3)
] + [("amazon.titan-embed-text-v2:0", '{"inputText": "w", "embeddingTypes": ["binary"]}')]


def _ask(subject: ReferenceSubject) -> list[bytes]:
    client = subject.bedrock(_Answering())
    bodies = [
        client.invoke_model(modelId=model, body=body)["body"].read() for model, body in _ASKED
    ]
    client.titan.close()
    return bodies


def _prepare_answers(base: Path) -> None:
    subject = ReferenceSubject(base / "store", SETTINGS)
    bodies = _ask(subject)
    subject.close()
    (base / "bodies.json").write_text(json.dumps([body.hex() for body in bodies]))


_ENVELOPES = (
    b'["application/json", true, [["foo", null], ["date", "x"]], []]',
    b'[{}, 7, [["date", 5], [[], {}]], [["body", "x"], ["x", null]]]',
    b'["application/json", true, [["date", null, 3]], {"a": "b"}]',
    b'["\\ud800", 1, [["\\u0000", "\\r\\n"]], [["ResponseMetadata", "x"]]]',
    b"[" * 100_000,
)
_SIZE_OF_BOMB = 2**31 - 1
_RECORD_HEAD = 24  # bytes before a record's body


def _mutated_answer(value: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """FORMAT.md, "Answers, version 1": of records and styles the parts that are believed."""
    kind = rng.random()
    size = int.from_bytes(value[:4], "little")
    if kind < 0.4 and 0 < size < len(value) - 4:  # a style: length of the envelope, envelope, form
        envelope, rest = value[4 : 4 + size], value[4 + size :]
        own = rng.random() < 0.5
        text = envelope.decode(errors="replace")  # of a record that only looks like a style
        made = rng.choice(_ENVELOPES) if own else mutated_text(text, rng)
        return len(made).to_bytes(4, "little") + made + rest
    if kind < 0.4 and len(value) > _RECORD_HEAD:  # an earlier change may have cut it
        changed = bytearray(value)
        if rng.random() < 0.5:
            changed[1] = rng.randrange(256)  # the model
            return bytes(changed)
        bomb = b"\x28\xb5\x2f\xfd\xe0" + _SIZE_OF_BOMB.to_bytes(8, "little") + bytes(20)
        changed[20:_RECORD_HEAD] = _SIZE_OF_BOMB.to_bytes(4, "little")
        return bytes(changed[:_RECORD_HEAD]) + bomb + bytes(4)
    return mutated_binary(value, rng, others)


def _feed_answers(base: Path, folder: Path, rng: random.Random) -> str:
    """Change kept answers: the client still answers as the model does."""

    def seal(value: bytes) -> bytes:
        return value[:-4] + crc32c(value[:-4]).to_bytes(4, "little")

    store = folder / "store"
    shutil.copytree(base / "store", store)
    is_sealed = rng.random() < 0.7
    change_lmdb(store / "answers", rng, seal if is_sealed else lambda value: value, _mutated_answer)
    subject = ReferenceSubject(store, SETTINGS)
    seen = [body.hex() for body in _ask(subject)]
    subject.close()
    if seen != json.loads((base / "bodies.json").read_text()):
        raise AssertionError("an answer that the model never gave")
    return "answered"


ANSWERS: dict[str, tuple[Prepare, Feed]] = {"answers": (_prepare_answers, _feed_answers)}
