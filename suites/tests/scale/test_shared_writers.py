"""Risk: of those who write one table one loses or doubles a vector, or spoils what others read."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from suites.tests.scale.children import DIMENSION, vectors_of
from suites.tests.scale.rows import bits, keys_of
from titanstore import BusyError, ErrorKind, MigrationError, NotFoundError
from titanstore.scale import LocalRunner, Location, SharedTable, compact, verify
from titanstore.scale import fragments as fragments_module


def test_writers_of_two_processes_lose_and_double_nothing(server: str, bucket: Location) -> None:
    check_two_writers(server, bucket, 2)


def test_many_commits_of_two_processes(server: str, bucket: Location) -> None:
    check_two_writers(server, bucket, 20)


def check_two_writers(server: str, bucket: Location, times: int) -> None:
    start = SharedTable.create(bucket, DIMENSION)
    words = [sys.executable, "-m", "suites.tests.scale.children", "put_many_times"]
    writers = [
        subprocess.Popen(
            [*words, bucket.uri, server, str(number), str(times)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    seen: list[SharedTable] = []
    while any(each.poll() is None for each in writers):
        time.sleep(0.2)
        table = start.latest()
        if not seen or table.version > seen[-1].version:
            seen.append(table)
    told = [each.communicate() for each in writers]
    assert [each.returncode for each in writers] == [0, 0], told
    wanted = sorted(
        [f"own {50 * writer + n}" for writer in range(2) for n in range(times)]
        + [f"common {n}" for n in range(times)]
    )
    last = start.latest()
    assert keys_of(last) == wanted
    assert sum(int(line) for out, _ in told for line in out.split()) == len(wanted)
    rows = vectors_of(100)
    assert bits(last.get_many(wanted)) == bits(rows[[int(key.split()[1]) for key in wanted]])
    # each version has whole commits, and a reader stays at his
    assert len(start) == 0
    for table in seen:
        keys = keys_of(table)
        assert len(keys) == len(set(keys))
        ours = [key for key in keys if key.startswith("own")]
        assert all(f"common {int(key.split()[1]) % 50}" in keys for key in ours)
    assert verify(bucket, LocalRunner()).is_clean


def test_a_reader_keeps_his_version_while_others_write_and_compact(folder: Location) -> None:
    check_reader(folder)


def test_a_reader_in_s3_keeps_his_version(bucket: Location) -> None:
    check_reader(bucket)


def check_reader(place: Location) -> None:
    rows = vectors_of(12)
    table = SharedTable.create(place, DIMENSION)
    for number in range(0, 8, 2):
        table.put_many([f"key {number}", f"key {number + 1}"], rows[number : number + 2])
    reader = SharedTable.open(place)
    table.put_many(["key 8"], rows[8:9])
    done = compact(place, LocalRunner())
    assert (done.fragments_before, done.fragments) == (5, 1)
    assert keys_of(reader) == [f"key {number}" for number in range(8)]
    assert keys_of(SharedTable.open(place, reader.version)) == keys_of(reader)
    assert table.put_many(["key 9", "key 0"], rows[[9, 0]]) == 1  # over the compaction
    assert bits(table.get_many([f"key {n}" for n in range(10)])) == bits(rows[:10])
    assert verify(place, LocalRunner()).is_clean
    compact(place, LocalRunner(), keep_s=0)
    with pytest.raises(NotFoundError) as caught:
        SharedTable.open(place, reader.version)
    assert caught.value.kind is ErrorKind.NO_STORE


def test_a_key_with_other_bits_is_refused_and_nothing_written(folder: Location) -> None:
    rows = vectors_of(3)
    table = SharedTable.create(folder, DIMENSION)
    table.put_many(["a"], rows[:1])
    with pytest.raises(MigrationError) as caught:
        table.put_many(["b", "a"], rows[1:])
    assert caught.value.kind is ErrorKind.CONFLICT
    assert keys_of(table.latest()) == ["a"]


def test_a_key_that_another_program_wrote_twice_is_there(folder: Location) -> None:
    import lance

    table = SharedTable.create(folder, DIMENSION)
    rows = np.ones((2, DIMENSION), np.float32)
    table.put_many(["a", "b"], rows)
    lance.write_dataset(table.dataset.to_table(), folder.uri, mode="append")
    table = table.latest()
    assert (len(table), verify(folder, LocalRunner()).repeated) == (4, 2)
    assert table.put_many(["a", "b", "c"], np.ones((3, DIMENSION), np.float32)) == 1
    with pytest.raises(MigrationError):
        table.put_many(["b"], np.zeros((1, DIMENSION), np.float32))


def test_who_is_always_too_late_is_told_so(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = vectors_of(10)
    table = SharedTable.create(folder, DIMENSION)
    missing_of, others = SharedTable.missing_of, iter(range(10))

    def overtaken(self: SharedTable, given: Any) -> Any:
        found = missing_of(self, given)
        monkeypatch.setattr(SharedTable, "missing_of", missing_of)
        number = next(others)
        SharedTable.open(folder).put_many([f"other {number}"], rows[number : number + 1])
        monkeypatch.setattr(SharedTable, "missing_of", overtaken)
        return found

    monkeypatch.setattr(SharedTable, "missing_of", overtaken)
    monkeypatch.setattr(fragments_module, "_TRIES", 3)
    with pytest.raises(BusyError) as caught:
        table.put_many(["mine"], rows[9:])
    assert caught.value.kind is ErrorKind.TOO_MANY_WRITERS
    assert keys_of(table.latest()) == ["other 0", "other 1", "other 2"]


def test_two_who_make_a_table_at_once_make_one(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lance

    write, rows = lance.write_dataset, vectors_of(1)

    def overtaken(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(lance, "write_dataset", write)
        SharedTable.create(folder, DIMENSION).put_many(["first"], rows)
        return write(*given, **named)

    monkeypatch.setattr(lance, "write_dataset", overtaken)
    assert keys_of(SharedTable.create(folder, DIMENSION)) == ["first"]
