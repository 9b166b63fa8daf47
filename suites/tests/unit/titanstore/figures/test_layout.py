"""Bytes of a figures file: as FORMAT.md says; refused or read, whoever wrote them."""

from __future__ import annotations

import struct

import hypothesis.strategies as st
import pytest
from crc32c import crc32c
from hypothesis import given

from titanstore.figures.latencies import BUCKETS
from titanstore.figures.layout import (
    FILE_BYTES,
    FiguresError,
    cells_of,
    pack_head,
    parse_figures,
)

STORE = bytes(range(16))
HEAD = pack_head(STORE, 77, 4026531836, 1.5e9, ["hot_hits", "absent"], {"put": 1, "get_hot": 128})


def whole() -> bytearray:
    return bytearray(HEAD.ljust(FILE_BYTES, b"\0"))


def test_the_bytes_are_those_of_the_format() -> None:
    """By hand, from FORMAT.md alone."""
    names = b"hot_hits,absent;put/1,get_hot/128"
    covered = struct.pack("<4sHHI16sQd", b"TFIG", 1, len(names), 77, STORE, 4026531836, 1.5e9)
    content = covered + struct.pack("<I", crc32c(covered + names))
    content = content.ljust(64, b"\0") + names
    assert content == HEAD
    content = content.ljust(1024, b"\0") + struct.pack("<2Q", 5, 7)
    content = content.ljust(1024 + 8 * 64, b"\0") + struct.pack("<Q", 3)
    content = content.ljust(1024 + 8 * (64 + 96), b"\0") + struct.pack("<2Q", 0, 9)
    found = parse_figures(content.ljust(8192, b"\0"), STORE)
    assert (found.pid, found.namespace, found.opened_s) == (77, 4026531836, 1.5e9)
    assert found.values == {"hot_hits": 5, "absent": 7}
    assert found.sampled == {"put": 1, "get_hot": 128}
    assert list(found.latencies["put"]) == [3] + [0] * (BUCKETS - 1)
    assert list(found.latencies["get_hot"]) == [0, 9] + [0] * (BUCKETS - 2)


def test_cells_are_written_where_they_are_read() -> None:
    content = whole()
    cells_of(memoryview(content))[1] = 2**64 - 1
    assert parse_figures(bytes(content), STORE).values["absent"] == 2**64 - 1


@given(st.integers(0, len(HEAD) - 1), st.integers(1, 255))
def test_a_changed_byte_of_the_head_is_noticed(place: int, change: int) -> None:
    content = whole()
    content[place] ^= change
    if 48 <= place < 64:  # not looked at
        parse_figures(bytes(content), STORE)
    else:
        with pytest.raises(FiguresError):
            parse_figures(bytes(content), STORE)


@given(st.binary(max_size=200), st.floats(), st.integers(0, 2**16 - 1), st.booleans())
def test_what_a_hostile_writer_can_sign_is_refused_or_read(
    names: bytes, opened_s: float, length: int, honest: bool
) -> None:
    size = len(names) if honest else length
    covered = struct.pack("<4sHHI16sQd", b"TFIG", 1, size, 0, STORE, 0, opened_s)
    text = names.ljust(size, b"\0")[:size]
    content = covered + struct.pack("<I", crc32c(covered + text))
    content = (content.ljust(64, b"\0") + text).ljust(FILE_BYTES, b"\xff")[:FILE_BYTES]
    try:
        found = parse_figures(content, STORE)
    except FiguresError:
        return
    assert len(found.values) <= 64
    assert all(name.isidentifier() for name in [*found.values, *found.latencies])


@pytest.mark.parametrize(
    "names",
    [
        *(b"a,a;put/1", b"a;a/1", b"a;put/0", b"a;put/-1", b"a;put", b"a;put/1/1", b"\xff;put/1"),
        *(b"a b;put/1", b"\x1b[2J;put/1", b"", b";", b"a;put/" + 600 * b"9"),
        ",".join(f"v{n}" for n in range(65)).encode() + b";put/1",
        b"a;" + ",".join(f"o{n}/1" for n in range(9)).encode(),
    ],
)
def test_names_that_are_none(names: bytes) -> None:
    covered = struct.pack("<4sHHI16sQd", b"TFIG", 1, len(names), 0, STORE, 0, 0.0)
    content = (covered + struct.pack("<I", crc32c(covered + names))).ljust(64, b"\0") + names
    with pytest.raises(FiguresError):
        parse_figures(content.ljust(FILE_BYTES, b"\0"), STORE)


@pytest.mark.parametrize("size", [0, 1, 47, 1024, FILE_BYTES - 1, FILE_BYTES + 1])
def test_a_file_of_another_size(size: int) -> None:
    with pytest.raises(FiguresError):
        parse_figures(bytes(whole().ljust(FILE_BYTES + 1, b"\0")[:size]), STORE)


def test_figures_of_another_store() -> None:
    with pytest.raises(FiguresError):
        parse_figures(bytes(whole()), bytes(16))
