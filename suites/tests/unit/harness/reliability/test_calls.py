"""Reading what strace wrote; the lines are of strace 6.1."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from harness.reliability.calls import parse_calls, touching
from harness.reliability.disk import Acknowledged, Change, Sync
from harness.reliability.recording import record


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def opened(path: str, flags: str, number: int) -> str:
    return (
        f'9 openat(AT_FDCWD<{hexed("/w")}>, "{hexed(path)}", {flags}, 0644) '
        f"= {number}<{hexed(path)}>"
    )


def described(number: int, path: str) -> str:
    return f"{number}<{hexed(path)}>"


LOG = "\n".join(
    [
        opened("/elsewhere/f", "O_RDWR|O_CREAT|O_CLOEXEC", 3),
        opened("/s/new", "O_RDWR|O_CREAT|O_CLOEXEC", 4),
        f'9 pwrite64({described(4, "/s/new")}, "{hexed("12345")}", 5, 7) = 3',
        f'9 pwrite64({described(3, "/elsewhere/f")}, "{hexed("1")}", 1, 0) = 1',
        f"9 fdatasync({described(4, '/s/new')}) = 0",
        f'9 rename("{hexed("/s/new")}", "{hexed("/s/name")}") = 0',
        opened("/s", "O_RDONLY|O_CLOEXEC|O_DIRECTORY", 5),
        f"9 fsync({described(5, '/s')}) = 0",
        f"9 lseek({described(4, '/s/name')}, 2, SEEK_SET) = 2",
        f'9 writev({described(4, "/s/name")}, [{{iov_base="{hexed("ab")}", iov_len=2}}, '
        f'{{iov_base="{hexed("c")}", iov_len=1}}], 2) = 3',
        f'9 unlink("{hexed("/s/gone")}") = -1 ENOENT (No such file or directory)',
        f'9 sendto(7<{hexed("socket:[1]")}>, "{hexed(".")}", 1, 0, NULL, 0) = 1',
        f'9 pwrite64({described(4, "/s/name")}, "{hexed("1")}", 1, 0) = ?',
        "9 +++ killed by SIGKILL +++",
    ]
)


def test_ordinals_count_every_call_of_a_name() -> None:
    ours = touching(parse_calls(LOG), "/s")
    assert [(call.name, call.ordinal) for call in ours if call.is_write] == [
        ("openat", 2),
        ("pwrite64", 1),
        ("fdatasync", 1),
        ("rename", 1),
        ("fsync", 1),
        ("writev", 1),
        ("unlink", 1),
        ("pwrite64", 3),
    ]
    assert ours[-1].result is None


def test_a_folder_of_a_like_name_is_another_one() -> None:
    assert touching(parse_calls(opened("/store2/f", "O_RDONLY", 3)), "/store") == []


def test_an_unknown_call_on_the_store_cannot_be_forgotten() -> None:
    calls = parse_calls(f"9 copy_folder({described(4, '/s/new')}, 0) = 0")
    assert touching(calls, "/elsewhere") == []
    with pytest.raises(HarnessError, match="copy_folder touches the store"):
        touching(calls, "/s")


def test_a_line_of_two_threads_is_refused() -> None:
    with pytest.raises(HarnessError, match="no call of one thread"):
        parse_calls("9 pwrite64(4, <unfinished ...>")


def test_what_calls_do_to_a_disk() -> None:
    assert record(parse_calls(LOG), "/s", {}, {}) == [
        Change("name", 1, "new"),
        Change("data", 1, offset=7, data=b"123"),  # of five bytes three were written
        Sync(1),
        Change("moved", 1, "name"),
        Sync(folder=""),
        Change("data", 1, offset=2, data=b"abc"),
        Acknowledged(),
    ]


def test_a_call_that_nobody_modelled_is_refused() -> None:
    log = "\n".join(
        [
            opened("/s/f", "O_RDWR|O_CREAT", 4),
            f"9 copy_file_range({described(4, '/s/f')}, NULL, {described(4, '/s/f')}, NULL, 9) = 9",
        ]
    )
    with pytest.raises(HarnessError, match="copy_file_range"):
        record(parse_calls(log), "/s", {}, {})


def test_room_made_for_a_file_is_a_change_of_its_size() -> None:
    log = "\n".join(
        [opened("/s/f", "O_RDWR|O_CREAT", 4), f"9 fallocate({described(4, '/s/f')}, 0, 2, 9) = 0"]
    )
    assert record(parse_calls(log), "/s", {}, {}) == [
        Change("name", 1, "f"),
        Change("longer", 1, offset=11),
    ]
