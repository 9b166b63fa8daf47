"""zstd frames without the bytes that the frame around them already tells.

A zstd frame begins with a descriptor and a window byte. Both are constants here, so they are
neither stored nor believed: a stored frame that declared a content size or a large window would
make the decoder allocate on a number that its input has not earned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
import zstandard
from numpy.typing import NDArray

from titanstore.codec.frame import Buffer
from titanstore.errors import CorruptionError, ErrorKind

_Context = TypeVar("_Context")

_TABLED_WINDOW_LOG = 15  # a block of up to 2^15 bytes: exponents or rests of any vector
_MAGIC = zstandard.MAGIC_NUMBER.to_bytes(4, "little")  # `multi_decompress_to_buffer` wants it
_LAST_COMPRESSED = 5  # in the header of a block, below its size
# Descriptors of frames that tell their content's size in one byte, or in two less 256
_SIZE_IN_ONE, _SIZE_IN_TWO = 0x20, 0x60
_DICTIONARY_HEAD = bytes.fromhex("37a430ec 11800000")  # magic number and id, which no frame names
_TWO_SYMBOLS = bytes.fromhex("103f")  # an FSE table of two symbols alike: for matches, unused
_CONTENT_BYTES = 2_000
_BLOCKS_ONE_BY_ONE = 16  # not 0: zstandard divides by the number of blocks


class _Contexts(Generic[_Context]):
    """zstd contexts for many threads: each is used by one at a time, one is kept.

    A context a thread would cost 0.1 MB each. Taking and giving back are single operations on a
    list, so there is no lock that a fork could leave locked in the child.
    """

    def __init__(self, make: Callable[[], _Context]) -> None:
        self._make = make
        self._idle: list[_Context] = []

    def take(self) -> _Context:
        """A context of the caller's own until `give`; one that fails halfway is just not given."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._make()

    def give(self, context: _Context) -> None:
        """Keep it for the next caller, unless one is kept already."""
        if not self._idle:
            self._idle.append(context)


class ZstdCoder:
    """Compressor and decompressor of one kind of zstd frame. Any thread may use it.

    Parameters
    ----------
    window_log
        log2 of the window in bytes, 11 to 16; it is a constant of the stored format.
    settings
        Parameters of `ZstdCompressionParameters.from_level` that replace the level's own.
    """

    def __init__(self, *, level: int, window_log: int, settings: dict[str, int]) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            window_log=window_log,
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
            **settings,
        )
        self._prefix = bytes([0, (window_log - 10) << 3])
        self._compressors = _Contexts(
            lambda: zstandard.ZstdCompressor(compression_params=parameters)
        )
        self._decompressors = _Contexts(
            lambda: zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
        )

    def compress(self, data: bytes) -> bytes | None:
        """`data`, not empty, compressed, without the two constant bytes.

        None if zstd chose other ones. It may choose a smaller window for a short input, which the
        larger one decodes as well.
        """
        compressor = self._compressors.take()
        frame = compressor.compress(data)
        self._compressors.give(compressor)
        return frame[2:] if frame[0] == 0 and frame[1] <= self._prefix[1] else None

    def compress_parts(self, first: bytes, second: bytes) -> bytes | None:
        """As `compress` for both, one after the other, but each with its own statistics."""
        compressor = self._compressors.take()
        stream = compressor.compressobj()
        frame = stream.compress(first) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        frame += stream.compress(second) + stream.flush()
        self._compressors.give(compressor)
        return frame[2:] if frame[:2] == self._prefix else None

    def decompress(self, stored: Buffer, size: int) -> bytes:
        """Exactly `size` bytes, or CorruptionError (BAD_FRAME)."""
        decompressor = self._decompressors.take()
        try:
            plain = decompressor.decompress(
                self._prefix + stored, max_output_size=size, allow_extra_data=False
            )
            self._decompressors.give(decompressor)
        except zstandard.ZstdError as error:
            raise CorruptionError(f"zstd: {error}", ErrorKind.BAD_FRAME) from error
        if len(plain) != size:
            raise CorruptionError(f"zstd: {len(plain)} bytes, not {size}", ErrorKind.BAD_FRAME)
        return plain


class TabledCoder:
    """zstd blocks whose Huffman table ships with the code. Any thread may use it.

    The table is a zstd dictionary. Its repeat offsets lead into a content of bytes that do not
    occur, since the matches that zstd finds among exponents by chance cost more than they save. A
    block whose symbols the table does not have, or serves badly, brings a table of its own.

    Parameters
    ----------
    tree
        Description of the Huffman table (RFC 8878, 4.2.1).
    settings
        As of `ZstdCoder`.

    Notes
    -----
    What is stored is a block without its header: that it is the only one, and how long, is known.
    Source: FORMAT.md, "Tables".
    """

    def __init__(self, tree: bytes, settings: dict[str, int]) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            1,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            window_log=_TABLED_WINDOW_LOG,
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
            **settings,
        )
        self.dictionary = tabled_dictionary(tree)
        table = zstandard.ZstdCompressionDict(
            self.dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT
        )
        self._compressors = _Contexts(
            lambda: zstandard.ZstdCompressor(compression_params=parameters, dict_data=table)
        )
        self._decompressors = _Contexts(lambda: zstandard.ZstdDecompressor(dict_data=table))

    def compress(self, data: bytes) -> bytes | None:
        """The block for `data`, not empty; None unless one compressed block holds it."""
        compressor = self._compressors.take()
        frame = compressor.compress(data)
        self._compressors.give(compressor)
        if (
            frame[0]
            or int.from_bytes(frame[2:5], "little") != len(frame) - 5 << 3 | _LAST_COMPRESSED
        ):
            return None
        return frame[5:]

    def decompress(self, block: Buffer, size: int) -> bytes:
        """Exactly `size` bytes, or CorruptionError (BAD_FRAME)."""
        decompressor = self._decompressors.take()
        try:
            plain = decompressor.decompress(
                _frame_of(block, size), max_output_size=size, allow_extra_data=False
            )
            self._decompressors.give(decompressor)
        except zstandard.ZstdError as error:
            raise CorruptionError(f"zstd: {error}", ErrorKind.BAD_FRAME) from error
        if len(plain) != size:
            raise CorruptionError(f"zstd: {len(plain)} bytes, not {size}", ErrorKind.BAD_FRAME)
        return plain

    def decompress_many(self, blocks: Sequence[Buffer], sizes: NDArray[np.uint64]) -> bytes:
        """What `decompress` gives for each block and its size, one after the other.

        More than 16 blocks go to zstd in one call. That takes two thirds of the time, and makes a
        context for the call, which a process that only ever reads documents had better not pay.
        """
        if len(blocks) <= _BLOCKS_ONE_BY_ONE:
            return b"".join(map(self.decompress, blocks, sizes.tolist()))
        decompressor = self._decompressors.take()
        try:
            found = decompressor.multi_decompress_to_buffer(
                list(map(_frame_of, blocks, sizes.tolist())),
                decompressed_sizes=sizes.tobytes(),
            )
            self._decompressors.give(decompressor)
        except zstandard.ZstdError as error:
            raise CorruptionError(f"zstd: {error}", ErrorKind.BAD_FRAME) from error
        return b"".join(found)  # type: ignore[arg-type]  # a sequence of buffers


def tabled_dictionary(tree: bytes) -> bytes:
    """The zstd dictionary (RFC 8878, 5) around a Huffman table."""
    offset = _CONTENT_BYTES.to_bytes(4, "little")
    return _DICTIONARY_HEAD + tree + 3 * _TWO_SYMBOLS + 3 * offset + _CONTENT_BYTES * b"\xff"


def _frame_of(block: Buffer, size: int) -> bytes:
    """The whole frame, with the size of its content: zstd then needs no buffers of its own."""
    header = len(block) << 3 | _LAST_COMPRESSED
    if size < 256:
        return _MAGIC + (_SIZE_IN_ONE | size << 8 | header << 16).to_bytes(5, "little") + block
    return _MAGIC + (_SIZE_IN_TWO | size - 256 << 8 | header << 24).to_bytes(6, "little") + block
