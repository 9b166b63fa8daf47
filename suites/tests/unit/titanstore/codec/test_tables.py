"""Tables that ship with the code: they never change, and coders by them refuse what is damaged."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from titanstore.codec.tables import EXPONENTS, RESTS
from titanstore.codec.zstd import TabledCoder
from titanstore.errors import CorruptionError, ErrorKind

CODERS = {"exponents": EXPONENTS, "rests": RESTS}
COUNTS = (3, 40)  # one by one, and in one call of zstd
each_coder = pytest.mark.parametrize("coder", CODERS.values(), ids=CODERS)


def likely(seed: int, size: int) -> bytes:
    """Symbols that both tables have."""
    symbols = np.random.default_rng(seed).geometric(0.3, size) % 20
    return symbols.astype(np.uint8).tobytes()


def sizes_of(parts: list[bytes]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array([len(part) for part in parts], np.uint64)


def test_the_tables_are_those_that_stored_frames_were_written_by() -> None:
    """Changed by one bit, they would turn every tabled frame into garbage."""
    checks = {name: zlib.crc32(coder.dictionary) for name, coder in CODERS.items()}
    assert checks == {"exponents": 3_803_223_755, "rests": 1_716_447_361}


@each_coder
@settings(max_examples=40, deadline=None)
@given(
    data=st.one_of(
        st.binary(min_size=1, max_size=300),
        st.builds(likely, st.integers(0, 99), st.integers(1, 9_000)),
    )
)
def test_what_a_block_holds_comes_back(coder: TabledCoder, data: bytes) -> None:
    block = coder.compress(data)
    if block is None:
        assert len(data) < 300, "zstd stores such data without a table"
        return
    assert coder.decompress(block, len(data)) == data
    assert coder.decompress(memoryview(block), len(data)) == data
    for count in COUNTS:
        assert coder.decompress_many([block] * count, sizes_of([data] * count)) == data * count


@each_coder
def test_the_longest_vector_is_one_block(coder: TabledCoder) -> None:
    data = likely(1, 2 * 16_383)
    block = coder.compress(data)
    assert block is not None
    assert coder.decompress(block, len(data)) == data


@each_coder
def test_noise_is_no_compressed_block(coder: TabledCoder) -> None:
    assert coder.compress(np.random.default_rng(1).bytes(1_024)) is None


@each_coder
def test_the_table_is_not_stored(coder: TabledCoder) -> None:
    """Nor does anything else than its own dictionary read the block."""
    data = likely(2, 1_024)
    block = coder.compress(data)
    assert block is not None
    frame = b"\x28\xb5\x2f\xfd\x00\x28" + (len(block) << 3 | 5).to_bytes(3, "little") + block
    with pytest.raises(zstandard.ZstdError):
        zstandard.ZstdDecompressor().decompress(frame, max_output_size=len(data))
    table = zstandard.ZstdCompressionDict(coder.dictionary)
    whole = zstandard.ZstdDecompressor(dict_data=table).decompress(frame, max_output_size=1_024)
    assert whole == data


@each_coder
@pytest.mark.parametrize("wrong", [-1, 1, 1_000])
def test_another_size_is_refused(coder: TabledCoder, wrong: int) -> None:
    block = coder.compress(likely(3, 1_000))
    assert block is not None
    with pytest.raises(CorruptionError) as one:
        coder.decompress(block, 1_000 + wrong)
    assert one.value.kind is ErrorKind.BAD_FRAME
    for count in COUNTS:
        sizes = np.full(count, 1_000, np.uint64)
        sizes[1] = 1_000 + wrong
        with pytest.raises(CorruptionError) as many:
            coder.decompress_many([block] * count, sizes)
        assert many.value.kind is ErrorKind.BAD_FRAME


@each_coder
def test_a_block_cut_or_with_more_behind_it_is_refused(coder: TabledCoder) -> None:
    block = coder.compress(likely(4, 1_000))
    assert block is not None
    for damaged in (block + b"\0", block + block, block[:-1], block[1:], b""):
        with pytest.raises(CorruptionError) as one:
            coder.decompress(damaged, 1_000)
        assert one.value.kind is ErrorKind.BAD_FRAME
        for count in COUNTS:
            blocks = [*[block] * (count - 1), damaged]
            with pytest.raises(CorruptionError) as many:
                coder.decompress_many(blocks, np.full(count, 1_000, np.uint64))
            assert many.value.kind is ErrorKind.BAD_FRAME


def test_no_blocks() -> None:
    assert EXPONENTS.decompress_many([], np.empty(0, np.uint64)) == b""


def test_threads_do_not_share_contexts() -> None:
    inputs = [likely(seed, 3_000) for seed in range(48)]

    def there_and_back(data: bytes) -> bytes:
        block = RESTS.compress(data)
        assert block is not None
        assert RESTS.decompress_many([block] * 40, sizes_of([data] * 40)) == data * 40
        return RESTS.decompress(block, len(data))

    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(there_and_back, inputs)) == inputs
