"""Risk: answers that an earlier release kept are printed otherwise, or not found."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fixtures.formats import write_answers_v1
from titanstore import CorruptionError, ErrorKind
from titanstore.clients.bedrock.records import AnswerRecord, Style

GOLDEN = json.loads(write_answers_v1.FILE.read_text())


def test_every_case_is_kept() -> None:
    assert GOLDEN.keys() == write_answers_v1.cases().keys()


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_answers_read_and_print_as_they_were_written(name: str) -> None:
    style, record, body = write_answers_v1.cases()[name]
    kept = GOLDEN[name]
    assert Style.from_bytes(bytes.fromhex(kept["style"])) == style
    assert AnswerRecord.from_bytes(bytes.fromhex(kept["record"])) == record
    assert style.to_bytes().hex() == kept["style"]
    assert record.to_bytes().hex() == kept["record"]
    if style.form is not None:
        assert style.form.render(write_answers_v1.vector(), 12).decode() == kept["body"] == body


def test_golden_bodies_are_what_the_languages_print() -> None:
    """Against Python itself; and Java's rule: decimal from 10^-3 below 10^7, else an exponent."""
    vector = write_answers_v1.vector()
    numbers = GOLDEN["widened"]["body"].partition("[")[2].partition("]")[0]
    assert numbers.split(", ") == [repr(float(value)) for value in vector]
    for text, value in zip(
        GOLDEN["shortest"]["body"].partition("[")[2].partition("]")[0].split(","),
        vector,
        strict=True,
    ):
        assert np.float32(text).view(np.uint32) == value.view(np.uint32)
        assert ("E" in text) == (value != 0 and not 1e-3 <= abs(float(value)) < 1e7), text


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize(("part", "kind"), [("style", Style), ("record", AnswerRecord)])
def test_every_flipped_bit_and_cut_is_found(
    name: str, part: str, kind: type[Style] | type[AnswerRecord]
) -> None:
    data = bytes.fromhex(GOLDEN[name][part])
    broken = [data[:size] for size in range(len(data))]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        broken.append(bytes(flipped))
    for each in [*broken, data + b"\0"]:
        with pytest.raises(CorruptionError) as found:
            kind.from_bytes(each)
        assert found.value.kind is ErrorKind.BAD_ANSWERS
