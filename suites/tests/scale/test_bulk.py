"""Risk: a bulk job, killed or run twice, loses or doubles a vector, or lets in a wrong one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fixtures.titan.responder import TitanResponder
from suites.tests.scale.children import (
    DIMENSION,
    OVERLAP,
    PART_ROWS,
    PARTS,
    ROWS,
    die_always,
    die_once,
    job_of,
    vectors_of,
    write_inputs,
)
from suites.tests.scale.inputs import V2, is_whole, write_texts
from titanstore import ErrorKind, MigrationError, StorageError
from titanstore.cli import main
from titanstore.scale import Job, LocalRunner, Location, SharedTable, run_job
from titanstore.scale import job as jobs
from titanstore.scale.fragments import commit, paths_of
from titanstore.scale.ledger import Ledger
from titanstore.scale.work import write_part


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return write_inputs(tmp_path / "inputs")


def name_of(job: Job) -> str:
    """What a job is called on the table that is there."""
    return f"{job.name}-{SharedTable.open(job.table).identity}"


# ---------------------------------------------------------------- loading


def test_a_job_adds_each_key_once_and_again_nothing(folder: Location, inputs: Path) -> None:
    job = job_of(folder, inputs)
    told: list[tuple[int, int]] = []
    done = run_job(job, LocalRunner(), lambda done, total: told.append((done, total)))
    assert (done.added, done.repeated) == (ROWS, (PARTS - 1) * OVERLAP)
    assert (done.parts, done.parts_now) == (PARTS, PARTS)
    assert done.vector_bytes == 4 * DIMENSION * PARTS * PART_ROWS
    assert told == [(number, PARTS) for number in range(PARTS + 1)]
    assert is_whole(folder)
    again = run_job(job, LocalRunner())
    assert (again.parts_now, again.version, again.added) == (0, done.version, ROWS)
    (inputs / "0.npz").touch()  # another job, by the file's time: its keys are all there
    other = run_job(job_of(folder, inputs), LocalRunner())
    assert (other.added, other.repeated, other.parts_now) == (0, PARTS * PART_ROWS, PARTS)
    assert is_whole(folder)


def test_a_table_made_anew_is_filled_anew(folder: Location, inputs: Path) -> None:
    job = job_of(folder, inputs)
    first = run_job(job, LocalRunner())
    shutil.rmtree(folder.uri)  # the notes of the job stay
    again = run_job(job, LocalRunner())
    assert again.job != first.job
    assert again.parts_now == PARTS
    assert is_whole(folder)


def test_keys_that_others_put_meanwhile_are_left_out(
    folder: Location, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = vectors_of(ROWS)
    SharedTable.create(folder, DIMENSION).put_many(["key 0"], rows[:1])
    chosen = [7, 60, 61]

    def overtaken(*given: Any) -> Any:
        monkeypatch.setattr(jobs, "commit", commit)
        SharedTable.open(folder).put_many([f"key {n}" for n in chosen], rows[chosen])
        return commit(*given)

    monkeypatch.setattr(jobs, "commit", overtaken)
    done = run_job(job_of(folder, inputs), LocalRunner())
    assert done.added == ROWS - 4
    assert is_whole(folder)


def test_keys_with_equal_hashes_are_told_apart(
    folder: Location, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "hashes_of", lambda keys: np.zeros(len(keys), np.uint64))
    assert run_job(job_of(folder, inputs), LocalRunner()).added == ROWS
    assert is_whole(folder)


@pytest.mark.parametrize("where", ["one part", "two parts", "the table"])
def test_a_key_with_two_vectors_ends_the_job(folder: Location, tmp_path: Path, where: str) -> None:
    rows = vectors_of(4)
    source = tmp_path / "in"
    source.mkdir()
    keys = ["a", "b", "c", "a"] if where == "one part" else ["a", "b", "c", "d"]
    np.savez(source / "0.npz", keys=np.array(keys), vectors=rows)
    if where == "two parts":
        np.savez(source / "1.npz", keys=np.array(["x", "a"]), vectors=rows[1:3])
    if where == "the table":
        SharedTable.create(folder, DIMENSION).put_many(["a"], -rows[:1])
    with pytest.raises(MigrationError) as caught:
        run_job(job_of(folder, source), LocalRunner())
    assert caught.value.kind is ErrorKind.CONFLICT
    assert len(SharedTable.open(folder)) == (1 if where == "the table" else 0)


def test_a_torn_note_is_as_none(folder: Location, inputs: Path) -> None:
    job = job_of(folder, inputs)
    SharedTable.create(folder, DIMENSION)
    name = name_of(job)
    list(LocalRunner().run(partial(write_part, job, name), job.parts[:2]))
    (note,) = Path(folder.uri + ".jobs").rglob("part-000001-*.json")
    note.write_bytes(note.read_bytes()[:-3])
    assert Ledger(folder, name).notes().keys() == {0}
    assert run_job(job, LocalRunner()).parts_now == PARTS - 1
    assert is_whole(folder)


def test_a_part_whose_files_went_is_done_again(place: Location, inputs: Path, s3: Any) -> None:
    """As `compact` leaves a job that was not committed in a week: it used to fail for ever."""
    job = job_of(place, inputs)
    SharedTable.create(place, DIMENSION)
    name = name_of(job)
    first, second = LocalRunner().run(partial(write_part, job, name), job.parts[:2])
    (path,) = paths_of(second["fragments"][0])
    if place.is_local:
        (Path(place.uri) / "data" / path).unlink()
    else:
        bucket, _, table = place.uri.removeprefix("s3://").partition("/")
        s3.delete_object(Bucket=bucket, Key=f"{table}/data/{path}")
    assert first["part"] == 0
    assert run_job(job, LocalRunner()).parts_now == PARTS - 1
    assert is_whole(place)


def test_an_input_that_goes_is_told(folder: Location, inputs: Path) -> None:
    job = job_of(folder, inputs)
    (inputs / "1.npz").unlink()
    with pytest.raises(MigrationError, match=r"1\.npz") as caught:
        run_job(job, LocalRunner())
    assert caught.value.kind is ErrorKind.BAD_SOURCE


def test_what_a_run_reported_that_found_all_there_hides_nothing(
    folder: Location, inputs: Path
) -> None:
    """Two places did the job; whichever ended last, `added` is what the table has by it."""
    job = job_of(folder, inputs)
    done = run_job(job, LocalRunner())
    for _ in range(8):  # names are random: some come before that of the first
        Ledger(folder, name_of(job)).end(asdict(done) | {"added": 0, "repeated": ROWS})
    jobs_folder = Path(folder.uri + ".jobs") / name_of(job)
    (jobs_folder / "part-of-something.json").write_text("{}")
    (jobs_folder / "done.json").write_text("{}")
    assert Ledger(folder, name_of(job)).notes().keys() == set(range(PARTS))
    assert run_job(job, LocalRunner()).added == ROWS


# ---------------------------------------------------------------- killed


def killed_run(place: Location, inputs: Path, moment: str) -> int:
    words = [place.uri, place.endpoint or "", str(inputs), moment]
    child = subprocess.run(
        [sys.executable, "-m", "suites.tests.scale.children", "run_and_die", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert child.returncode == -9, child.stderr
    return len(Ledger(place, name_of(job_of(place, inputs))).notes())


def check_resumed(place: Location, inputs: Path, moment: str, noted: int) -> None:
    assert killed_run(place, inputs, moment) == noted
    done = run_job(job_of(place, inputs), LocalRunner())
    assert done.parts_now == PARTS - noted
    assert is_whole(place)


def test_a_killed_job_goes_on_where_it_was(folder: Location, inputs: Path) -> None:
    check_resumed(folder, inputs, "note 2", 2)


@pytest.mark.parametrize(
    ("moment", "noted"),
    [("note 0", 0), ("note 2", 2), ("note 3", 3), ("commit", PARTS), ("end", PARTS)],
)
def test_killed_at_every_moment(place: Location, inputs: Path, moment: str, noted: int) -> None:
    check_resumed(place, inputs, moment, noted)


def test_a_killed_workers_part_is_done_again(
    bucket: Location, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setattr(jobs, "write_part", partial(die_once, str(mark)))
    done = run_job(job_of(bucket, inputs), LocalRunner(2))
    assert mark.read_text() == "killed"
    assert (done.added, done.parts_now) == (ROWS, PARTS)
    monkeypatch.undo()
    assert is_whole(bucket)


def test_workers_that_always_die_end_the_job(
    folder: Location, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "write_part", die_always)
    with pytest.raises(StorageError) as caught:
        run_job(job_of(folder, inputs), LocalRunner(2))
    assert caught.value.kind is ErrorKind.IO_FAILED
    assert len(SharedTable.open(folder)) == 0
    monkeypatch.undo()
    assert run_job(job_of(folder, inputs), LocalRunner()).added == ROWS


def test_a_job_in_two_places_at_once(server: str, bucket: Location, inputs: Path) -> None:
    words = [sys.executable, "-m", "suites.tests.scale.children", "run_and_die"]
    both = [subprocess.Popen([*words, bucket.uri, server, str(inputs), "never"]) for _ in range(2)]
    assert [each.wait(120) for each in both] == [0, 0]
    assert is_whole(bucket)


# ---------------------------------------------------------------- the commands


def called(*words: object, status: int = 0) -> str:
    done = CliRunner().invoke(main, ["shared", *map(str, words)])
    assert done.exit_code == status, done.output
    return done.output


def test_the_commands_do_it_all(server: str, bucket: Location, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs")
    there = [bucket.uri, "--endpoint", server]
    out = called("load", *there, inputs, "--dimension", DIMENSION)
    assert f"{ROWS} vectors added, 15 there already; {PARTS} of {PARTS} parts now" in out
    assert f"{ROWS} vectors," in called("verify", *there)
    assert "fragments became" in called("compact", *there, "--rows", 100)
    assert "key 3\n" in called("search", *there, "key 3", "-k", 1)
    assert called("fetch", *there, tmp_path / "store").startswith(f"{ROWS} vectors")
    assert "unknown-key" in called("search", *there, "nobody", status=2)
    assert "bad-setting" in called("index", *there, status=2)


def test_the_command_embed(server: str, bucket: Location, tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    words = ["--model", V2, "--bedrock-endpoint", server, "--bedrock-region", "us-east-1"]
    words += ["--endpoint", server, "--model-option", "dimensions=256"]
    with TitanResponder():
        out = called("embed", bucket.uri, tmp_path / "texts", *words)
    assert "12 vectors added, 2 there already" in out


def test_a_plan_is_printed_and_wrong_use_is_refused(tmp_path: Path) -> None:
    assert "1 000 000 000 vectors" in called("plan")
    assert json.loads(called("plan", "--vectors", 1000, "--json"))["raw_bytes"] == 4_096_000
    called("plan", "--workers", 0, status=2)
    called("embed", "t", tmp_path, "--model", V2, "--model-option", "dimensions", status=2)


def test_without_the_packages_it_says_what_to_install(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lance", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    for words, extra in ((["verify"], "shared"), (["verify", "--ray"], "scale")):
        done = CliRunner().invoke(main, ["shared", words[0], folder.uri, *words[1:]])
        assert done.exit_code == 2
        assert "missing-package" in done.output
        assert f"titanstore[{extra}]" in done.output
