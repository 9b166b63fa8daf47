"""A trace replays exactly, and a hostile file is a ValueError, not a surprise."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.workload.trace import ACCESSES_MAX, Operation, Trace, load_trace, save_trace

Step = tuple[int, int, int]


def make_trace(steps: list[Step], *, documents: int = 3, chunks: int = 4) -> Trace:
    columns = np.array(steps, np.int64).reshape(-1, 3)
    return Trace(
        name="made by hand",
        seed=7,
        documents=documents,
        chunks_per_document=chunks,
        row_bytes=4096,
        parameters={"s": 0.1, "text": "ü", "count": 3},
        source="nowhere",
        time_s=np.arange(len(steps)) / 7,
        document=columns[:, 0].astype(np.int32),
        chunk=columns[:, 1].astype(np.int32),
        operation=columns[:, 2].astype(np.uint8),
        visit=np.arange(len(steps), dtype=np.int32) // 2,
    )


steps_of = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1)), max_size=60)


@given(steps_of)
def test_keys_follow_the_writes(steps: list[Step]) -> None:
    current = {
        (document, chunk): document * 4 + chunk for document in range(3) for chunk in range(4)
    }
    fresh, expected = 12, []
    for document, chunk, operation in steps:
        if operation == Operation.WRITE:
            current[document, chunk] = fresh
            fresh += 1
        expected.append(current[document, chunk])
    trace = make_trace(steps)
    assert trace.key.tolist() == expected
    assert trace.keys == fresh
    assert [access.key for access in trace] == expected


@given(steps_of)
def test_a_saved_trace_replays_exactly(tmp_path_factory: Any, steps: list[Step]) -> None:
    path = tmp_path_factory.mktemp("trace") / "t.jsonl.gz"
    trace = make_trace(steps)
    save_trace(trace, path)
    again = load_trace(path)
    assert list(again) == list(trace)
    assert again.digest == trace.digest
    assert (again.name, again.seed, again.source) == (trace.name, trace.seed, trace.source)
    assert dict(again.parameters) == dict(trace.parameters)
    assert again.time_s.tobytes() == trace.time_s.tobytes()


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    trace = make_trace([(0, 1, 0), (0, 1, 1), (2, 3, 0)])
    for name in ("a", "b"):
        save_trace(trace, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_digest_is_of_the_accesses() -> None:
    steps = [(0, 1, 0), (1, 2, 0)]
    digests = {make_trace(s).digest for s in (steps, steps[::-1], [(0, 1, 1), (1, 2, 0)])}
    assert len(digests) == 3


def test_columns_are_read_only() -> None:
    trace = make_trace([(0, 1, 0)])
    with pytest.raises(ValueError, match="read-only"):
        trace.document[0] = 2


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("document", np.array([0, 3]), "document: a value outside"),
        ("chunk", np.array([0, -1]), "chunk: a value outside"),
        ("operation", np.array([0, 2]), "operation: a value outside"),
        ("operation", np.array([0, 256]), "operation: a value outside"),
        ("document", np.array([0, 2**32]), "document: a value outside"),
        ("time_s", np.array([1.0, 0.5]), "time_s must never decrease"),
        ("time_s", np.array([1.0, np.nan]), "time_s: a value outside"),
        ("visit", np.array([1, 0]), "visit must never decrease"),
        ("chunk", np.array([0]), "columns of"),
        ("chunk", np.array([0.5, 1.0]), "chunk: 1 axes of float64"),
        ("document", np.zeros((2, 1), np.int32), "document: 2 axes"),
    ],
)
def test_bad_columns_are_refused(column: str, values: Any, message: str) -> None:
    good = make_trace([(0, 1, 0), (1, 2, 0)])
    fields: dict[str, Any] = {
        name: getattr(good, name) for name in ("time_s", "document", "chunk", "operation", "visit")
    }
    fields[column] = values
    with pytest.raises(ValueError, match=message):
        Trace(name="x", seed=0, documents=3, chunks_per_document=4, row_bytes=4, **fields)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    save_trace(make_trace([(0, 1, 0), (0, 1, 1), (2, 3, 0)]), path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"^t: "):
            load_trace(path)


def test_every_flipped_bit_is_refused_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "t"
    trace = make_trace([(0, 1, 0), (0, 1, 1), (2, 3, 0)])
    save_trace(trace, path)
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            assert load_trace(path).digest == trace.digest
        except ValueError:
            refused += 1
    assert refused > 7 * len(whole)  # only gzip's header has bits that mean nothing


def edit(change: Callable[[dict[str, Any], list[str]], None], path: Path) -> None:
    """Rewrite the saved trace at `path` with its header and lines changed."""
    header, *rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    fields = json.loads(header)
    change(fields, rows)
    path.write_bytes(gzip.compress("\n".join([json.dumps(fields), *rows, ""]).encode()))


CHANGES: dict[str, tuple[Callable[[dict[str, Any], list[str]], Any], str]] = {
    "other format": (lambda h, r: h.update(format="x"), "not a titanstore-trace"),
    "newer version": (lambda h, r: h.update(version=2), "trace version 2, 1 wanted"),
    "no seed": (lambda h, r: h.pop("seed"), "header field seed"),
    "true is no number": (lambda h, r: h.update(seed=True), "header field seed"),
    "claims too many": (lambda h, r: h.update(accesses=ACCESSES_MAX + 1), "accesses, 0 to"),
    "claims one more": (lambda h, r: h.update(accesses=4), "access 3 of 4"),
    "claims one fewer": (lambda h, r: h.update(accesses=2), "more than the 2 accesses"),
    "claims memory": (lambda h, r: h.update(documents=10**12), "documents of 4 chunks"),
    "nested parameter": (lambda h, r: h.update(parameters={"a": []}), "parameter a"),
    "another digest": (lambda h, r: h.update(digest="00"), "header says 00"),
    "word for a number": (lambda h, r: r.__setitem__(0, '["a",0,1,0,0]'), "access 0 of 3"),
    "fraction for a whole": (lambda h, r: r.__setitem__(0, "[0.0,0.5,1,0,0]"), "access 0 of 3"),
    "number out of range": (lambda h, r: r.__setitem__(0, "[0.0,0,1,0,1e999]"), "access 0 of 3"),
    "huge whole": (lambda h, r: r.__setitem__(0, f"[0.0,{2**60},1,0,0]"), "out of range"),
    "NaN": (lambda h, r: r.__setitem__(0, "[NaN,0,1,0,0]"), "out of range"),
    "document unknown": (lambda h, r: r.__setitem__(0, "[0.0,3,1,0,0]"), "document: a value"),
    "deep nesting": (lambda h, r: r.__setitem__(0, "[" * 250), "t: "),
    "endless line": (lambda h, r: r.__setitem__(0, "[" + "0," * 10**5), "t: "),
}


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_hostile_files_are_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "t"
    save_trace(make_trace([(0, 1, 0), (0, 1, 1), (2, 3, 0)]), path)
    edit(CHANGES[change][0], path)
    with pytest.raises(ValueError, match=CHANGES[change][1]):
        load_trace(path)


def test_what_is_no_trace_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for content in (b"", b"plain text", gzip.compress(b"\xff" * 10**6), gzip.compress(b"null\n")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"^t: "):
            load_trace(path)
