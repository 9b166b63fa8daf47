"""Records, padding, headers and addresses of segments, byte by byte."""

from __future__ import annotations

import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from titanstore.codec.choose import encode_frame, raw_view
from titanstore.codec.frame import HEADER_BYTES, build_frame
from titanstore.errors import CorruptionError, ErrorKind, NewerFormatError
from titanstore.keys import KEY_BYTES_MAX, StoredKey
from titanstore.segments.layout import (
    ADDRESS_BYTES,
    SEGMENT_HEADER_BYTES,
    Address,
    build_record,
    check_segment_header,
    padding_before,
    parse_record,
    record_prefix_bytes,
    records,
    segment_header,
    skip_padding,
)

STORE_ID = bytes(range(16))
digests = st.binary(min_size=16, max_size=16).map(lambda data: StoredKey(True, data))
texts = (
    st.text(min_size=1, max_size=KEY_BYTES_MAX)
    .map(lambda text: text.encode("utf-8", "ignore"))
    .filter(lambda data: 0 < len(data) <= KEY_BYTES_MAX)
    .map(lambda data: StoredKey(False, data))
)
keys = st.one_of(digests, texts)
documents = st.integers(0, 2**32 - 1)
bodies = st.binary(max_size=64)
raw_bodies = st.integers(1, 30).map(lambda count: bytes(4 * count))


def a_record(body: bytes = b"four" * 4) -> bytes:
    return build_record(StoredKey(True, bytes(16)), 7, build_frame(2, 16, body))


# -- records ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(key=keys, document=documents, body=bodies, offset=st.integers(0, 70), tail=st.binary())
def test_record_round_trip(
    key: StoredKey, document: int, body: bytes, offset: int, tail: bytes
) -> None:
    frame = build_frame(2, 16, body)
    data = build_record(key, document, frame)
    view = memoryview(b"\xaa" * offset + data + tail)
    record = parse_record(view, offset, len(view))
    assert (record.key, record.document, record.offset) == (key, document, offset)
    assert record.frame == frame
    assert record.end == offset + len(data)
    assert len(data) == record_prefix_bytes(key) + len(frame)


def test_record_bytes_are_those_of_the_format_page() -> None:
    frame = build_frame(2, 16, b"body")
    key = StoredKey(False, "ü".encode())
    covered = b"\x02\x04\x03\x02\x01"
    named = b"\x02\x00\xc3\xbc"
    check = (crc32c(covered + named) & 0xFFFF).to_bytes(2, "little")
    assert build_record(key, 0x01020304, frame) == covered + check + named + frame
    digest = build_record(StoredKey(True, bytes(range(16))), 0, frame)
    assert digest[0] == 1
    assert digest[7:23] == bytes(range(16))


def test_each_bit_before_the_frame_is_guarded() -> None:
    """A 16-bit check misses 1 in 65 536 damages, never one of a single bit."""
    for key in (StoredKey(True, bytes(range(16))), StoredKey(False, b"some text")):
        data = build_record(key, 5, build_frame(2, 16, b"body"))
        for bit in range(8 * record_prefix_bytes(key)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            with pytest.raises(CorruptionError) as caught:
                parse_record(memoryview(damaged + bytes(70_000)), 0, len(damaged) + 70_000)
            assert caught.value.kind is ErrorKind.BAD_RECORD


def test_torn_record_is_refused_at_every_length() -> None:
    whole = a_record()
    for length in range(len(whole)):
        # bytes behind `end` are there, but must not be read
        view = memoryview(whole + bytes(100))
        with pytest.raises(CorruptionError):
            parse_record(view, 0, length)
        with pytest.raises(CorruptionError):
            parse_record(view[:length], 0, length)
        with pytest.raises(CorruptionError):
            list(records(memoryview(a_record() + whole[:length]), 0, len(whole) + length, 2))


@given(junk=st.binary(max_size=200), offset=st.integers(-5, 210))
def test_junk_raises_only_errors_of_the_tree(junk: bytes, offset: int) -> None:
    try:
        parse_record(memoryview(junk), offset, len(junk))
    except (CorruptionError, NewerFormatError):
        return
    raise AssertionError("random bytes were taken for a record")


# -- padding and walking ---------------------------------------------------------------------------


@settings(deadline=None)
@given(
    items=st.lists(st.tuples(keys, documents, bodies, raw_bodies, st.booleans()), max_size=12),
    start=st.integers(0, 9),
)
def test_walk_finds_every_record_and_raw_values_are_aligned(
    items: list[tuple[StoredKey, int, bytes, bytes, bool]], start: int
) -> None:
    data = bytearray(start)
    wanted = []
    for key, document, body, raw_body, is_raw in items:
        frame = build_frame(0, len(raw_body) // 4, raw_body) if is_raw else build_frame(2, 16, body)
        padding = padding_before(len(data), key, frame_is_raw=is_raw)
        assert padding <= (3 if is_raw else 0)
        data += bytes(padding)
        wanted.append((len(data), key, document, frame))
        if is_raw:
            assert (len(data) + record_prefix_bytes(key) + HEADER_BYTES) % 4 == 0
        data += build_record(key, document, frame)
    view = memoryview(bytes(data))
    walked = list(records(view, start, len(view)))
    assert [(r.offset, r.key, r.document, bytes(r.frame)) for r in walked] == wanted
    assert [r.offset for r in records(view, start, len(view), len(items))] == [
        r.offset for r in walked
    ]


def test_raw_frame_in_a_padded_record_is_read_in_place_and_aligned() -> None:
    vector = np.random.default_rng(1).integers(0, 2**32, 50, dtype=np.uint32).view(np.float32)
    key = StoredKey(False, b"odd")
    data = np.zeros(1_000, dtype=np.uint8)  # numpy aligns its memory
    start = SEGMENT_HEADER_BYTES + padding_before(SEGMENT_HEADER_BYTES, key, frame_is_raw=True)
    record = build_record(key, 0, encode_frame(vector))
    data[start : start + len(record)] = np.frombuffer(record, np.uint8)
    frame = parse_record(memoryview(data.data), start, data.size).frame
    view = raw_view(frame)
    assert view is not None
    assert view.flags.aligned
    assert np.array_equal(view.view(np.uint32), vector.view(np.uint32))
    assert np.shares_memory(view, data)


def test_more_than_three_padding_bytes_are_no_padding() -> None:
    view = memoryview(bytes(4) + a_record())
    assert skip_padding(view, 0, len(view)) == 3
    assert skip_padding(view, 3, len(view)) == 4
    assert skip_padding(view, 0, 2) == 2
    with pytest.raises(CorruptionError):
        list(records(view, 0, len(view)))


def test_walk_that_is_promised_more_records_than_there_are() -> None:
    view = memoryview(a_record() * 2)
    assert len(list(records(view, 0, len(view), 2))) == 2
    with pytest.raises(CorruptionError):
        list(records(view, 0, len(view), 3))


# -- segment header --------------------------------------------------------------------------------


def test_segment_header_bytes_are_those_of_the_format_page() -> None:
    header = segment_header(0x0102, STORE_ID)
    start = b"TSEG\x02\x00\x00\x00\x02\x01\x00\x00" + STORE_ID
    assert header == start + crc32c(start).to_bytes(4, "little")
    assert len(header) == SEGMENT_HEADER_BYTES == 32
    check_segment_header(memoryview(header + b"records"), 0x0102, STORE_ID)


def test_each_bit_of_a_segment_header_is_guarded() -> None:
    header = segment_header(3, STORE_ID)
    for bit in range(8 * len(header)):
        damaged = bytearray(header)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CorruptionError, NewerFormatError)):
            check_segment_header(memoryview(damaged), 3, STORE_ID)


@pytest.mark.parametrize("length", range(SEGMENT_HEADER_BYTES))
def test_short_segment_header(length: int) -> None:
    with pytest.raises(CorruptionError) as caught:
        check_segment_header(memoryview(segment_header(3, STORE_ID)[:length]), 3, STORE_ID)
    assert caught.value.kind is ErrorKind.SHORT_SEGMENT


@pytest.mark.parametrize(("number", "store_id"), [(4, STORE_ID), (3, bytes(16))])
def test_segment_of_another_number_or_store(number: int, store_id: bytes) -> None:
    with pytest.raises(CorruptionError) as caught:
        check_segment_header(memoryview(segment_header(3, STORE_ID)), number, store_id)
    assert caught.value.kind is ErrorKind.BAD_SEGMENT


def test_segment_of_a_newer_version() -> None:
    header = bytearray(segment_header(3, STORE_ID))
    header[4] = 3
    with pytest.raises(NewerFormatError) as caught:
        check_segment_header(memoryview(header), 3, STORE_ID)
    assert caught.value.kind is ErrorKind.NEWER_FORMAT


# -- addresses -------------------------------------------------------------------------------------

addresses = st.builds(Address, st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1))


@given(one=addresses, other=addresses)
def test_packed_addresses_sort_as_the_files_do(one: Address, other: Address) -> None:
    assert Address.unpack(one.pack()) == one
    assert len(one.pack()) == ADDRESS_BYTES
    assert (one < other) == (one.pack() < other.pack())
