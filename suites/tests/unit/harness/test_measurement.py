"""Risk: a file of samples that is damaged, hostile or of another version is read as good."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import measurement as module
from harness.errors import EvidenceError
from harness.measurement import (
    Bound,
    Measurement,
    Process,
    Rival,
    read_measurement,
    write_measurement,
)
from suites.tests.unit.harness.small_run import measured


def whole() -> Measurement:
    return measured(
        processes=[
            Process(values=[0.1, 2e-7], block=2, instruments={"tracing": False}, facts={"a": [1]}),
            Process(control=True, values=[0.0]),
        ],
        beside=[Rival(subject="current", processes=[Process(values=[3.0])])],
        bound=Bound(value=0.1, reason="physics"),
        context={"curves": {"LRU": [0.1]}},
    )


def rewritten(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    path = write_measurement(folder, whole())
    content = json.loads(gzip.decompress(path.read_bytes()))
    change(content)
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_measurement(write_measurement(tmp_path, whole())) == whole()


def test_equal_measurements_give_equal_bytes(tmp_path: Path) -> None:
    first = write_measurement(tmp_path / "a", whole())
    second = write_measurement(tmp_path / "b", whole())
    assert first.read_bytes() == second.read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_value_survives_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("run")
    given = measured(processes=[Process(values=values)])
    (process,) = read_measurement(write_measurement(folder, given)).processes
    assert [value.hex() for value in process.values] == [value.hex() for value in values]


def test_a_value_that_is_no_number_stays_one_that_is_none(tmp_path: Path) -> None:
    given = measured(processes=[Process(values=[math.nan, math.inf, -math.inf])])
    (process,) = read_measurement(write_measurement(tmp_path, given)).processes
    assert math.isnan(process.values[0])
    assert list(process.values[1:]) == [math.inf, -math.inf]


BREAKAGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no processes": lambda c: c.pop("processes"),
    "unknown field": lambda c: c.update(verdict="PASS"),
    "process with unknown field": lambda c: c["processes"][0].update(weight=2),
    "a value is text": lambda c: c["processes"][0]["values"].append("fast"),
    "a value is nothing": lambda c: c["processes"][0]["values"].append(None),
    "values are nothing": lambda c: c["processes"][0].update(values=None),
    "no block": lambda c: c["processes"][0].update(block=0),
    "no end": lambda c: c.update(ended=math.nan),
    "end before the start": lambda c: c.update(ended=c["started"] - 1),
    "endless": lambda c: c.update(ended=math.inf),
    "a bound that is none": lambda c: c.update(bound={"value": math.nan, "reason": ""}),
    "a name that leads elsewhere": lambda c: c.update(id="../manifest"),
    "another version": lambda c: c.update(schema_version=2),
    "no version": lambda c: c.pop("schema_version"),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_file_is_refused(tmp_path: Path, name: str) -> None:
    path = rewritten(tmp_path, BREAKAGES[name])
    with pytest.raises(EvidenceError, match=r"speed-0\.json\.gz"):
        read_measurement(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        gzip.compress(b"not json", mtime=0),
        gzip.compress(b"[1]", mtime=0),
        gzip.compress(b"[" * 100_000, mtime=0),
        gzip.compress(json.dumps({"schema_version": 1}).encode(), mtime=0)[:-9],
    ],
)
def test_a_file_that_is_no_measurement_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "speed-0.json.gz"
    path.write_bytes(content)
    with pytest.raises(EvidenceError):
        read_measurement(path)


def test_each_flipped_bit_is_refused_or_harmless(tmp_path: Path) -> None:
    path = write_measurement(tmp_path, whole())
    content = path.read_bytes()
    for place in range(0, len(content) * 8, 7):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with contextlib.suppress(EvidenceError):
            assert read_measurement(path) == whole()  # a bit of gzip's own header


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="missing"):
        read_measurement(tmp_path / "speed-0.json.gz")


def test_a_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FILE_BYTES_MAX", 10_000)
    path = tmp_path / "speed-0.json.gz"
    path.write_bytes(gzip.compress(b" " * 10_001))
    with pytest.raises(EvidenceError, match="more than 10000 bytes"):
        read_measurement(path)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a\n", "ä"])
def test_a_name_that_no_file_may_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of a file"):
        replace(whole(), id=name)
