"""Risk: hours that nobody worked count, or a soak that was touched up still stands."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import EvidenceError
from harness.gates import Verdict
from harness.measurement import Measurement
from harness.soak.decide import as_measurement, judge_growth, missing_samples
from harness.soak.evidence import (
    Header,
    Observation,
    SegmentWriter,
    Soak,
    counted_s,
    read_soak,
)

CHAIN = {"content_digest": "d" * 32, "machine": "f" * 8}


def write(folder: Path, seconds: int, *, start: int = 0, tier: str = "real-time") -> Path:
    """One segment with an observation each 10 s and a look at the resources each 300 s."""
    with SegmentWriter(folder, tier=tier, **CHAIN) as segment:
        for time_s in range(start, start + seconds + 1, 10):
            sizes = {"anonymous": 50e6 + time_s % 4096} if time_s % 300 == 0 else {}
            segment.append(Observation(time_s=float(time_s), operations=5, resources=sizes))
    return segment.path


def observed(*times: float, operations: int = 1) -> list[Observation]:
    return [Observation(time_s=time_s, operations=operations) for time_s in times]


def test_time_counts_while_work_is_verified() -> None:
    assert counted_s(observed(0, 10, 20, 25)) == 25


def test_a_gap_never_counts() -> None:
    assert counted_s(observed(0, 10, 40, 50)) == 20
    assert counted_s(observed(0, 10.5)) == 0


def test_time_without_a_verified_operation_does_not_count() -> None:
    assert counted_s(observed(0, 10, 20, operations=0)) == 0


def test_nothing_counts_in_an_empty_segment_or_one_of_one_line() -> None:
    assert counted_s([]) == counted_s(observed(1e9)) == 0


def test_what_is_written_is_read_and_chained(tmp_path: Path) -> None:
    write(tmp_path, 600)
    write(tmp_path, 300, start=10_000)
    soak = read_soak(tmp_path)
    assert soak.faults == ()
    assert [header.number for header in soak.headers] == [0, 1]
    assert soak.headers[1].previous
    assert [counted_s(segment) for segment in soak.segments] == [600, 300]
    assert soak.observations == 61 + 31
    # the time between the segments, when nothing ran, is not on the clock of the series
    times, values = soak.series("anonymous")
    assert times == [0, 300, 600, 800]  # the last at 10 200, 200 s after its segment began
    assert len(values) == len(times)


def test_a_line_cut_by_a_kill_does_not_count_and_is_no_fault(tmp_path: Path) -> None:
    path = write(tmp_path, 100)
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    soak = read_soak(tmp_path)
    assert soak.faults == ()
    assert soak.observations == 10


HARM: dict[str, tuple[Callable[[Path], object], str]] = {
    "an edited line": (
        lambda folder: edit(folder, "segment-0000.jsonl", b'"operations": 5', b'"operations": 6'),
        "not the one that it was chained to",
    ),
    "a missing segment": (
        lambda folder: (folder / "segment-0000.jsonl").unlink(),
        "segment 0 is missing",
    ),
    "two files swapped": (lambda folder: swap(folder), "is missing"),
    "another digest": (
        lambda folder: edit(folder, "segment-0001.jsonl", b"dddd", b"eeee"),
        "another content digest",
    ),
    "a line that is none": (
        lambda folder: edit(folder, "segment-0001.jsonl", b'"time_s": 20.0', b'"time_s": "x"'),
        "line 4",
    ),
    "a clock that went back": (
        lambda folder: edit(folder, "segment-0001.jsonl", b'"time_s": 20.0', b'"time_s": 5.0'),
        "the clock did not go on",
    ),
    "NaN": (
        lambda folder: edit(folder, "segment-0001.jsonl", b'"time_s": 20.0', b'"time_s": NaN'),
        "cannot have been observed",
    ),
    "a header of another version": (
        lambda folder: edit(folder, "segment-0001.jsonl", b'version": 1', b'version": 2'),
        "version 2, want 1",
    ),
}


def edit(folder: Path, name: str, before: bytes, after: bytes) -> None:
    content = (folder / name).read_bytes()
    assert before in content
    (folder / name).write_bytes(content.replace(before, after, 1))


def swap(folder: Path) -> None:
    first, second = (folder / f"segment-000{place}.jsonl" for place in (0, 1))
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


@pytest.mark.parametrize("harm", HARM)
def test_a_soak_that_was_touched_up_is_never_a_pass(tmp_path: Path, harm: str) -> None:
    write(tmp_path, 600)
    write(tmp_path, 600)
    change, word = HARM[harm]
    change(tmp_path)
    soak = read_soak(tmp_path)
    assert any(word in fault for fault in soak.faults), soak.faults
    assert {growth.verdict for growth in judge_growth(soak).values()} == {Verdict.INVALID}
    assert measured(soak).failure


def measured(soak: Soak) -> Measurement:
    return as_measurement(soak, commit="c", config_digest="e", started=0.0, ended=1.0)


def test_a_soak_without_observations_has_no_samples(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path, tier="real-time", **CHAIN):
        pass
    soak = read_soak(tmp_path)
    assert soak.faults == ()
    found = measured(soak)
    assert found.failure == "the soak has no observations"
    assert found.processes == []
    assert {growth.verdict for growth in judge_growth(soak).values()} == {Verdict.NOT_RUN}


def test_an_empty_folder_was_no_soak_either(tmp_path: Path) -> None:
    found = measured(read_soak(tmp_path))
    assert found.failure == "the soak has no observations"
    with pytest.raises(EvidenceError, match="no soak there"):
        read_soak(tmp_path / "nothing")


def test_a_wrong_answer_is_a_failure(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path, tier="real-time", **CHAIN) as segment:
        segment.append(Observation(time_s=0.0, operations=1))
        segment.append(Observation(time_s=5.0, operations=1, mismatches=1))
    found = measured(read_soak(tmp_path))
    assert found.failure == ""
    assert found.wrong == "1 wrong answers"


def test_resources_that_nobody_looked_at_are_missing(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path, tier="simulated", **CHAIN) as segment:
        for time_s in range(0, 36_001, 10):
            sizes = {"anonymous": 5e7} if time_s in (0, 300) else {}
            segment.append(Observation(time_s=float(time_s), operations=1, resources=sizes))
    soak = read_soak(tmp_path)
    assert missing_samples(soak, "anonymous") == "2 samples of anonymous, 120 expected"
    growth = judge_growth(soak)
    assert growth["anonymous"].verdict is Verdict.INVALID
    assert growth["threads"].verdict is Verdict.NOT_RUN


def test_many_samples_at_first_do_not_make_up_for_none_later(tmp_path: Path) -> None:
    """A soak in real time looks each minute; 288 looks are due in a day, and not in 5 hours."""
    with SegmentWriter(tmp_path, tier="real-time", **CHAIN) as segment:
        for time_s in range(0, 86_401, 10):
            is_seen = time_s % 60 == 0 and time_s < 18_000
            sizes = {"anonymous": 5e7} if is_seen else {}
            segment.append(Observation(time_s=float(time_s), operations=1, resources=sizes))
    soak = read_soak(tmp_path)
    assert missing_samples(soak, "anonymous") == "60 samples of anonymous, 288 expected"
    assert judge_growth(soak)["anonymous"].verdict is Verdict.INVALID


def test_a_kill_before_the_header_leaves_a_soak_that_goes_on(tmp_path: Path) -> None:
    write(tmp_path, 100)
    pid = os.fork()
    if not pid:
        os.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        SegmentWriter(tmp_path, tier="real-time", **CHAIN)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert read_soak(tmp_path).faults == ()
    write(tmp_path, 100)
    soak = read_soak(tmp_path)
    assert (soak.faults, len(soak.segments)) == ((), 2)


def test_segments_of_two_soaks_never_add_up(tmp_path: Path) -> None:
    for facts in ("a" * 64, "b" * 64):
        SegmentWriter(tmp_path, tier="real-time", facts=facts, **CHAIN).close()
    assert read_soak(tmp_path).faults == (
        "segment-0001.jsonl: another facts than the first segment",
    )


def test_a_segment_is_never_written_again(tmp_path: Path) -> None:
    path = write(tmp_path, 10)
    before = path.read_bytes()
    write(tmp_path, 10)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "header",
    [
        {"number": 1, "previous": ""},
        {"number": 0, "previous": "ab"},
        {"number": -1, "previous": ""},
    ],
)
def test_a_header_that_cannot_be_is_refused(header: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="segment"):
        Header(tier="simulated", **CHAIN, **header)  # type: ignore[arg-type]


def test_a_tier_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tier 'recorded'"):
        SegmentWriter(tmp_path, tier="recorded", **CHAIN)


def test_lines_are_small_objects(tmp_path: Path) -> None:
    path = write(tmp_path, 10)
    with path.open("ab") as file:
        file.write(json.dumps([1]).encode() + b"\n" + b'{"x": "' + b"y" * 20_000 + b'"}\n')
    assert len(read_soak(tmp_path).faults) == 2
