"""Risk: memory of the store is not counted, or that of the page cache is."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.environment import project_root
from harness.probes.memory import PAGE_TYPES, _dirty_file_bytes, counted_bytes, page_types

SIZE = 16_000_000
SLACK = 3_000_000

# Each holds SIZE bytes of one kind of page, in a process of its own
KINDS = {
    "anonymous": "held = bytearray(os.urandom(SIZE))",
    "shared memory": "held = mmap.mmap(-1, SIZE); held.write(os.urandom(SIZE))",
    "dirty file pages": (
        "file = open(sys.argv[1], 'r+b'); held = mmap.mmap(file.fileno(), SIZE)\n"
        "for at in range(0, SIZE, 4096): held[at] = 7"
    ),
    "clean file pages": (
        "file = open(sys.argv[1], 'rb')\n"
        "held = mmap.mmap(file.fileno(), SIZE, prot=mmap.PROT_READ); sum(held[::4096])"
    ),
}
MORE_SHARED = {
    "a named file in shared memory": (
        "file = tempfile.TemporaryFile(dir='/dev/shm'); file.truncate(SIZE)\n"
        "held = mmap.mmap(file.fileno(), SIZE); held.write(os.urandom(SIZE))"
    ),
    "a file without a name": (
        "file = os.memfd_create('x'); os.truncate(file, SIZE)\n"
        "held = mmap.mmap(file, SIZE); held.write(os.urandom(SIZE))"
    ),
}
PROGRAM = """
import json, mmap, os, re, sys, tempfile
from harness.probes.memory import page_types
SIZE = {size}
libraries = 1024 * int(re.search(r"RssFile:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = page_types()
{hold}
after = page_types()
added = {{name: after[name] - before[name] for name in after}}
print(json.dumps([added, libraries]))
"""


def added(hold: str, folder: Path) -> tuple[dict[str, int], int]:
    """Bytes by type, and what may be wrong with those of files: the libraries, which have as many
    clean pages of their own as other processes leave them at the moment.
    """
    import json

    path = folder / "pages"
    path.write_bytes(os.urandom(SIZE))
    with path.open("rb") as file:
        os.fsync(file.fileno())  # written back: nothing of it is dirty when it is mapped
    program = PROGRAM.format(size=SIZE, hold=hold)
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        cwd=project_root(),
        capture_output=True,
        check=True,
    )
    found, libraries = json.loads(done.stdout)
    return found, libraries


def is_on_disk(folder: Path) -> bool:
    words = Path("/proc/self/mounts").read_text().split("\n")
    mounts = {line.split()[1]: line.split()[2] for line in words if line}
    for parent in (folder, *folder.parents):
        if str(parent) in mounts:
            return mounts[str(parent)] != "tmpfs"
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_each_page_is_counted_once_under_its_own_type(kind: str, tmp_path: Path) -> None:
    if "file" in kind and not is_on_disk(tmp_path):
        pytest.skip("the temporary folder is in memory: its pages are shared memory")
    found, libraries = added(KINDS[kind], tmp_path)
    for name in PAGE_TYPES:
        wanted = SIZE if name == kind else 0
        slack = SLACK + libraries if name == "clean file pages" else SLACK
        assert abs(found[name] - wanted) < slack < SIZE, (found, libraries)


@pytest.mark.parametrize("kind", MORE_SHARED)
def test_shared_memory_is_counted_once_whatever_its_name(kind: str, tmp_path: Path) -> None:
    found, _ = added(MORE_SHARED[kind], tmp_path)
    assert abs(counted_bytes(found) - SIZE) < SLACK, found


def test_all_but_clean_file_pages_count() -> None:
    assert counted_bytes({name: 10**place for place, name in enumerate(PAGE_TYPES)}) == 1111


def test_the_parts_of_this_process_are_all_there() -> None:
    found = page_types(os.getpid())
    assert tuple(found) == PAGE_TYPES
    assert all(value >= 0 for value in found.values())
    assert found["anonymous"] > 1_000_000
    with mmap.mmap(-1, 4096):
        assert page_types()["anonymous"] > 1_000_000


def _mapping(head: str, dirty: int, anonymous: int) -> str:
    return f"{head}\nPrivate_Dirty: {dirty} kB\nAnonymous: {anonymous} kB\nVmFlags: rd\n"


@pytest.mark.parametrize(
    ("name", "inode", "dirty", "anonymous", "wanted"),
    [
        ("/data/x.mdb", 12, 8, 0, 8),
        ("/data/with space", 12, 8, 0, 8),
        ("/lib/libc.so", 12, 8, 8, 0),
        ("/lib/libc.so", 12, 8, 3, 5),
        ("", 0, 8, 8, 0),
        ("[heap]", 0, 8, 8, 0),
        ("/dev/shm/pool", 12, 8, 0, 0),  # noqa: S108
        ("/dev/zero (deleted)", 12, 8, 0, 0),
        ("/memfd:x (deleted)", 12, 8, 0, 0),
        ("/SYSV00000000 (deleted)", 12, 8, 0, 0),
        ("/dev/shm_of_mine/x", 12, 8, 0, 8),  # noqa: S108
    ],
)
def test_dirty_pages_of_files_are_told_from_copies_and_shared_memory(
    name: str, inode: int, dirty: int, anonymous: int, wanted: int
) -> None:
    head = f"7f00-7fff rw-p 00000000 08:01 {inode}       {name}"
    text = _mapping(head, dirty, anonymous) + _mapping("8000-8fff r--p 0 00:00 0 ", 4, 4)
    assert _dirty_file_bytes(text) == 1024 * wanted
