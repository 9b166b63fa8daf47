"""zstd without its header: exact sizes, no trailing bytes, one context a thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from titanstore.codec.zstd import ZstdCoder
from titanstore.errors import CorruptionError, ErrorKind

CODER = ZstdCoder(level=3, window_log=16, settings={})


@settings(deadline=None)
@given(
    data=st.one_of(
        st.binary(min_size=1, max_size=300),
        st.binary(min_size=1, max_size=40).map(lambda b: b * 1_000),
    )
)
def test_round_trip_of_up_to_a_window(data: bytes) -> None:
    stored = CODER.compress(data)
    assert stored is not None
    assert CODER.decompress(stored, len(data)) == data
    assert CODER.decompress(memoryview(stored), len(data)) == data


@pytest.mark.parametrize("wrong", [-1, 1, 1_000])
def test_another_size_is_refused(wrong: int) -> None:
    stored = CODER.compress(b"some bytes" * 100)
    assert stored is not None
    with pytest.raises(CorruptionError) as caught:
        CODER.decompress(stored, 1_000 + wrong)
    assert caught.value.kind is ErrorKind.BAD_FRAME


def test_bytes_behind_the_frame_and_missing_ones_are_refused() -> None:
    stored = CODER.compress(b"some bytes" * 100)
    assert stored is not None
    for damaged in (stored + b"\0", stored + stored, stored[:-1], b""):
        with pytest.raises(CorruptionError) as caught:
            CODER.decompress(damaged, 1_000)
        assert caught.value.kind is ErrorKind.BAD_FRAME


def test_what_is_left_out_is_the_constant_header() -> None:
    data = bytes(range(256)) * 8
    stored = CODER.compress(data)
    assert stored is not None
    whole = zstandard.MAGIC_NUMBER.to_bytes(4, "little") + b"\x00\x30" + stored
    assert zstandard.ZstdDecompressor().decompress(whole, max_output_size=len(data)) == data


def test_threads_do_not_share_contexts() -> None:
    inputs = [bytes([number]) * 3_000 + bytes(range(256)) for number in range(64)]

    def there_and_back(data: bytes) -> bytes:
        for _ in range(20):
            stored = CODER.compress(data)
            assert stored is not None
            if CODER.decompress(stored, len(data)) != data:
                return b"another thread's"
        return data

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(there_and_back, inputs)) == inputs
