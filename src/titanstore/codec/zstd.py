"""zstd frames without the bytes that the frame around them already tells.

A zstd frame begins with a descriptor and a window byte. Both are constants here, so they are
neither stored nor believed: a stored frame that declared a content size or a large window would
make the decoder allocate on a number that its input has not earned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import zstandard

from titanstore.codec.frame import Buffer
from titanstore.errors import CorruptionError, ErrorKind

_Context = TypeVar("_Context")


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
