"""Risk: wrong answers count, a kill is forgotten, or all is made again after an interruption."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from harness.errors import HarnessError, UsageError
from harness.measurement import Process
from harness.progress import Progress
from harness.rivals import filling, timing
from harness.rivals.campaign import FILE, compare_rivals
from harness.rivals.catalogue import OURS, open_store
from harness.rivals.commands import rivals
from harness.rivals.flipping import OUTCOMES, _flip, _outcome, flip_bits
from harness.rivals.inputs import key_of
from harness.rivals.killing import kill_in_mid_write
from harness.rivals.options import SMOKE, RivalOptions
from harness.rivals.page import write_rivals_page
from harness.rivals.writer import BATCH, batch_of, look
from harness.subject import Vectors
from harness.subjects.memory_map import MemoryMapSubject
from harness.worker import Task, WorkerError, run_worker


@pytest.fixture
def rows(rng: np.random.Generator, tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", rng.standard_normal((400, 16)).astype(np.float32))
    return tmp_path / "rows.npy"


class _Notes(Progress):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str, steps: int) -> None:
        self.stages.append(name)

    def note(self, text: str) -> None:
        self.notes.append(text)


def options(reports: Path, **more: object) -> RivalOptions:
    given = {"subjects": ("numpy-memmap",), "only": ("hot", "put"), **more}
    return RivalOptions(reports=reports, recorded=None, sizes=SMOKE, **given)  # type: ignore[arg-type]


def test_a_comparison_is_kept_part_by_part_and_goes_on(tmp_path: Path) -> None:
    first = compare_rivals(options(tmp_path), Progress())
    document = json.loads((first / FILE).read_text())
    assert set(document["parts"]) == {f"time 0 {name}" for name in (OURS, "numpy-memmap")}
    part = first / "parts" / f"time-0-{OURS}.json"
    kept = json.loads(part.read_text())
    kept["metrics"]["get_hot_s"] = 123.0
    part.write_text(json.dumps(kept))
    again = compare_rivals(options(tmp_path), Progress())
    assert again == first
    assert not (first / "work").exists()
    found = json.loads((first / FILE).read_text())["parts"]
    assert found[f"time 0 {OURS}"]["metrics"]["get_hot_s"] == 123.0
    assert found["time 0 numpy-memmap"]["metrics"]["put_s"] > 0
    page, shown = write_rivals_page(first)
    assert "numpy-memmap" in page.read_text()
    assert shown.table["numpy-memmap", "get_hot_s"].value is not None
    assert (tmp_path / "rivals" / "latest").resolve() == first


def test_memory_is_shown_by_page_type(tmp_path: Path) -> None:
    folder = compare_rivals(options(tmp_path, only=("memory",)), Progress())
    part = folder / FILE
    document = json.loads(part.read_text())
    by_type = {"anonymous": 4_200_000, "shared memory": 0, "swapped": 0}
    by_type |= {"dirty file pages": 12_300, "clean file pages": 7_700_000}
    document["parts"]["memory 0 numpy-memmap"]["by_type"] = by_type
    part.write_text(json.dumps(document))
    page, _ = write_rivals_page(folder)
    for what in ("memory: bytes of the rival / bytes of ours", "open: time of the rival / time of"):
        assert what in page.read_text()
    (row,) = re.findall(
        r'scope="row">numpy-memmap</th>(<td.*clean file pages.*)</tr>', page.read_text()
    )
    seen = re.findall(r'data-label="([^"]+)">([^<]+)<', row)
    assert seen == [
        ("anonymous", "4.20 MB"),
        ("shared memory", "0 B"),
        ("swapped", "0 B"),
        ("dirty file pages", "12.3 kB"),
        ("clean file pages", "7.70 MB"),
    ]


def test_a_round_that_was_broken_off_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ratio of ours of yesterday to a rival of today would be one of two machines."""
    hour = iter(range(100))
    broken = False

    def at_this_hour(tasks: Sequence[Task], **_: object) -> list[Process | WorkerError]:
        ((_module, job),) = tasks
        if broken and job["subject"] == names[-1]:
            raise KeyboardInterrupt
        facts = {"metrics": {"get_hot_s": float(next(hour))}}
        return [Process(facts=facts)]

    monkeypatch.setattr("harness.rivals.making.run_each", at_this_hour)
    monkeypatch.setattr("harness.rivals.making.Maker._fill", lambda *_: None)

    def hours(*subjects: str) -> list[float]:
        chosen = options(tmp_path, subjects=subjects, only=("hot",))
        parts = json.loads((compare_rivals(chosen, Progress()) / FILE).read_text())["parts"]
        return sorted(part["metrics"]["get_hot_s"] for part in parts.values())

    assert hours("numpy-memmap") == hours("numpy-memmap") == [0, 1]  # whole: kept
    assert hours("lmdb-raw") == [2, 3]  # ours as well
    assert hours("numpy-memmap", "lmdb-raw") == [4, 5, 6]  # all three are there, of two times
    parts = next(iter((tmp_path / "rivals").glob("*/parts")))
    order = sorted(
        parts.iterdir(), key=lambda path: json.loads(path.read_text())["metrics"]["get_hot_s"]
    )
    names = [path.stem.removeprefix("time-0-") for path in order]
    shutil.rmtree(parts)
    broken = True
    with pytest.raises(KeyboardInterrupt):
        hours("numpy-memmap", "lmdb-raw")
    broken = False
    assert len(list(parts.iterdir())) == 2
    assert hours("numpy-memmap", "lmdb-raw") == [9, 10, 11]


def test_what_a_rival_fails_at_is_its_row_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.rivals.making._TIMEOUT_S", 0.01)
    with pytest.raises(HarnessError, match=OURS):
        compare_rivals(options(tmp_path), Progress())

    def only_ours(tasks: Sequence[Task], **_: object) -> list[Process | WorkerError]:
        return [
            run_worker(module, job) if job["subject"] == OURS else WorkerError("it hung")
            for module, job in tasks
        ]

    monkeypatch.setattr("harness.rivals.making.run_each", only_ours)
    progress = _Notes()
    folder = compare_rivals(options(tmp_path, only=("put",)), progress)
    parts = json.loads((folder / FILE).read_text())["parts"]
    assert parts["time 0 numpy-memmap"]["failed"] == "it hung"
    assert any("it hung" in note for note in progress.notes)
    assert "it hung" in write_rivals_page(folder)[0].read_text()


def test_times_of_wrong_vectors_do_not_count(
    tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {
        "subject": "numpy-memmap",
        "store": str(tmp_path / "store"),
        "scratch": str(tmp_path / "scratch"),
        "rows": str(rows),
        "count": 66,
        "sized": None,
        "measures": ["hot"],
        "seed": 1,
    }
    filling.sample({**job, "action": "fill"})
    assert timing.sample(job)["facts"]["metrics"]["get_hot_s"] > 0
    right = MemoryMapSubject.get_many

    def wrong(self: MemoryMapSubject, keys: list[str]) -> Vectors:
        found = right(self, keys).copy()
        found[-1, 0] += 1
        return found

    monkeypatch.setattr(MemoryMapSubject, "get_many", wrong)
    with pytest.raises(AssertionError, match="other bits"):
        timing.sample(job)
    with pytest.raises(AssertionError, match="other bits"):
        filling.sample({**job, "action": "weigh", "store": str(tmp_path / "weighed")})


def test_weighing_leaves_out_what_is_there_once(tmp_path: Path, rows: Path) -> None:
    job = {
        "subject": "numpy-memmap",
        "store": str(tmp_path / "store"),
        "rows": str(rows),
        "sized": None,
        "action": "weigh",
    }
    (size,) = filling.sample(job)["values"]
    assert 4 * 16 + 40 < size < 4 * 16 + 60  # the row, and the line of its key


# -- kills and flips -----------------------------------------------------------------------


def test_a_killed_writer_s_acknowledged_vectors_are_counted(tmp_path: Path, rows: Path) -> None:
    found = kill_in_mid_write("numpy-memmap", tmp_path / "store", rows, 2, seed=1)
    assert found["kills"] == 2
    assert found["acknowledged"] == found["kept"] > 0
    assert (found["lost"], found["wrong"], found["unopened"]) == (0, 0, "")


def test_what_a_kill_can_do_is_told_apart(tmp_path: Path, rows: Path) -> None:
    vectors = np.load(rows)
    subject = open_store("numpy-memmap", tmp_path / "store")
    for number in (0, 2):  # batch 1 was acknowledged and is lost
        subject.put_many(*batch_of(0, number, vectors))
    keys, wanted = batch_of(0, 3, vectors)  # being put: two are there, one of them wrong
    subject.put_many(keys[:2], np.stack([wanted[0], wanted[1] + 1]))
    assert look(subject, [3], vectors) == Counter(
        kept=2 * BATCH, lost=BATCH, wrong=1, partial=1, unreadable=0
    )
    subject.close()
    (tmp_path / "store" / "keys").write_bytes(b"not a list\n")
    found = kill_in_mid_write("numpy-memmap", tmp_path / "store", rows, 1, seed=1)
    assert "HarnessError" in found["unopened"]


def test_a_writer_that_dies_by_itself_is_no_kill(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="numpy-memmap"):
        kill_in_mid_write("numpy-memmap", tmp_path / "store", tmp_path / "absent.npy", 1, seed=1)


def test_flips_are_drawn_from_all_bytes_and_their_outcomes_told_apart(
    tmp_path: Path, rows: Path
) -> None:
    store = tmp_path / "store"
    subject = open_store("numpy-memmap", store)
    keys = [key_of(number) for number in range(20)]
    vectors = np.load(rows)[:20]
    subject.put_many(keys, vectors)
    subject.close()
    assert _outcome("numpy-memmap", store, keys, vectors) == "no effect"
    found = flip_bits("numpy-memmap", store, rows, 20, 6, seed=3)
    assert set(found) == set(OUTCOMES)
    assert sum(found.values()) == 6
    assert found["wrong vector"] > 0  # most bytes are those of vectors, and nothing checks them
    before = {path: path.read_bytes() for path in store.iterdir()}
    import random

    _flip(store, random.Random(1))
    changed = [path for path, content in before.items() if path.read_bytes() != content]
    assert len(changed) == 1
    (store / "keys").write_bytes(b"")
    assert _outcome("numpy-memmap", store, keys, vectors) == "lost without an error"
    (store / "keys").write_bytes(b"{")
    assert _outcome("numpy-memmap", store, keys, vectors) == "lost without an error"
    (store / "keys").write_bytes(b"{\n")
    assert _outcome("numpy-memmap", store, keys, vectors) == "noticed"


def test_a_flip_that_hangs_is_counted_and_the_rest_is_tried(
    tmp_path: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store("numpy-memmap", tmp_path / "store").close()
    monkeypatch.setattr("harness.rivals.flipping._TIMEOUT_S", 0.01)
    found = flip_bits("numpy-memmap", tmp_path / "store", rows, 1, 2, seed=3)
    assert found["crashed or hung"] == sum(found.values()) == 2
    monkeypatch.setattr("harness.rivals.flipping._TIMEOUT_S", 60.0)
    with pytest.raises(WorkerError, match="absent"):
        flip_bits("numpy-memmap", tmp_path / "store", tmp_path / "absent.npy", 1, 2, seed=3)


# -- the command ---------------------------------------------------------------------------


def test_wrong_use_is_told(tmp_path: Path) -> None:
    for words in (["--subject", "oracle"], ["--only", "speed"], ["--seed", "-1"]):
        assert CliRunner().invoke(rivals, [*words, "--reports", str(tmp_path)]).exit_code == 2
    with pytest.raises(UsageError, match="oracle"):
        RivalOptions(reports=tmp_path, recorded=None, subjects=("oracle",))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="kept"):
        compare_rivals(options(tmp_path / "file"), Progress())


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "rivals", "--smoke", "--only", "put"]
    process = subprocess.Popen(
        [*command, "--subject", "numpy-memmap", "--reports", str(tmp_path)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("store"):
            os.kill(process.pid, signal.SIGINT)
            break
    words = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    assert "call it again" in words
    (folder,) = [one for one in (tmp_path / "rivals").iterdir() if one.name != "latest"]
    assert not (folder / "work").exists()
    assert not (folder / FILE).exists()
