"""Risk: a look changes what it sees, or puts bytes under the wrong heading."""

from __future__ import annotations

import gc
import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.environment import project_root
from harness.probes.looks import Looks
from harness.probes.mappings import ANONYMOUS, HEAP, KINDS, LIBRARIES, STORE, bytes_by_mapping
from harness.probes.memory import counted_bytes, peak_resident_bytes, reset_peak_resident
from harness.probes.resources import bytes_by_room, resources

PAGE = mmap.PAGESIZE
PROGRAM = """
import json, mmap, os, sys
from harness.probes.looks import Looks
looks = Looks("first", "second", "third")
looks.take("first")
looks.take("second")
held = [mmap.mmap(-1, 3_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)]
held[0].write(os.urandom(3_000_000))
file = open(sys.argv[1] + "/file", "r+b")
held.append(mmap.mmap(file.fileno(), 2_000_000))
for at in range(0, 2_000_000, 4096): held[1][at] = 7
looks.take("third")
seen = [looks.read(name, store=sys.argv[1]) for name in ("first", "second", "third")]
print(json.dumps([[one.by_type, one.by_mapping] for one in seen]))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, int]]]:
    """Page types and mappings of three looks: two in a row, one after 5 MB were taken."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "file").write_bytes(bytes(2_000_000))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=project_root(),
    )
    found: list[list[dict[str, int]]] = json.loads(done.stdout)
    return found


def test_a_look_leaves_nothing_behind(seen: list[list[dict[str, int]]]) -> None:
    first, second = (counted_bytes(by_type) for by_type, _ in seen[:2])
    assert abs(second - first) <= 8 * PAGE


def test_a_look_sees_what_was_taken_and_where(
    seen: list[list[dict[str, int]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    (before, where_before), (after, where_after) = seen[1:]
    added = counted_bytes(after) - counted_bytes(before)
    assert 5_000_000 <= added < 5_200_000
    is_shared = tmp_path_factory.getbasetemp().is_relative_to("/dev/shm")  # noqa: S108
    file = "shared memory" if is_shared else STORE
    assert where_after[file] - where_before[file] == pytest.approx(2_000_000, abs=2 * PAGE)
    assert where_after[ANONYMOUS] - where_before[ANONYMOUS] == pytest.approx(3e6, abs=200_000)


def test_mappings_add_up_to_what_counts(seen: list[list[dict[str, int]]]) -> None:
    for by_type, by_mapping in seen:
        assert sum(by_mapping.values()) == pytest.approx(counted_bytes(by_type), abs=16 * PAGE)


def test_a_look_that_was_not_made_ready_is_an_error() -> None:
    with pytest.raises(KeyError):
        Looks("before").take("after")


def test_each_kind_of_mapping_has_its_heading() -> None:
    def one(name: str, inode: int, **sizes: int) -> str:
        lines = [f"7f00-7f01 rw-p 00000000 fd:01 {inode} {name}".rstrip()]
        return "\n".join([*lines, *(f"{field}: {size} kB" for field, size in sizes.items())])

    text = "\n".join(
        [
            one("[heap]", 0, Anonymous=4),
            one("", 0, Anonymous=8, SwapPss=4),
            one("/usr/lib/libc.so.6", 7, Anonymous=16, Private_Dirty=16),
            one("/s/store/segments/1.seg", 8, Private_Dirty=20, Anonymous=8),
            one("/s/store2/x", 9, Private_Dirty=4, Anonymous=0),
            one("/dev/shm/pool", 10, Pss=12, Anonymous=0),  # noqa: S108
        ]
    )
    found = bytes_by_mapping(text, "/s/store")
    kilobytes = {name: size // 1024 for name, size in found.items() if size}
    assert kilobytes == {
        HEAP: 4,
        ANONYMOUS: 12,
        LIBRARIES: 16,
        STORE: 20,
        "other files": 4,
        "shared memory": 12,
    }
    assert set(found) == set(KINDS)


def test_the_peak_is_kept_and_can_begin_anew() -> None:
    if not reset_peak_resident():
        pytest.skip("this kernel does not let the peak begin anew")
    low = peak_resident_bytes()
    held = mmap.mmap(-1, 30_000_000)
    held.write(os.urandom(30_000_000))
    held.close()
    high = peak_resident_bytes()
    assert high - low > 20_000_000
    assert reset_peak_resident()
    assert peak_resident_bytes() < high - 10_000_000


def test_descriptors_threads_and_rooms_are_counted(tmp_path: Path) -> None:
    gc.collect()  # other tests' leftovers hold files too
    before = resources()
    with (tmp_path / "STORE").open("wb") as file:
        assert resources()["descriptors"] == before["descriptors"] + 1
        file.write(bytes(5_000))
    assert before["threads"] >= 1
    for name in ("catalog/data.mdb", "segments/00001.seg", "segments/00001-8.marks", "lance/t/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([7]) * 9_000)
    sparse = tmp_path / "segments" / "00001-8.plane"
    with sparse.open("wb") as file:
        file.truncate(50_000_000)
    found = bytes_by_room(tmp_path)
    assert {name: entry["files"] for name, entry in found.items()} == {
        "Lance table": 1,
        "catalog (LMDB)": 1,
        "other": 1,
        "planes and marks": 2,
        "segments": 1,
    }
    assert found["planes and marks"]["bytes"] < 1_000_000  # holes take no space
    assert found["segments"]["bytes"] == 9_000
