"""Pick a codec for each vector, and verify the frame before anyone relies on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Codec, Vector
from titanstore.codec.frame import (
    HEADER_BYTES,
    Buffer,
    FrameHeader,
    build_frame,
    checked_bodies,
    checked_body,
    parse_header,
)
from titanstore.codec.grid import GridCodec, Recipe, find_grid
from titanstore.codec.lattice import LatticeCodec
from titanstore.codec.planes import PlanesCodec
from titanstore.codec.raw import PlainZstdCodec, RawCodec
from titanstore.codec.sliced import SlicedCodec
from titanstore.codec.sliced_tabled import SlicedTabledCodec
from titanstore.codec.tabled import TabledCodec
from titanstore.errors import CorruptionError, ErrorKind

RAW = RawCodec()
PLAIN_ZSTD = PlainZstdCodec()
PLANES = PlanesCodec()
LATTICE = LatticeCodec()
SLICED = SlicedCodec()
TABLED = TabledCodec()
SLICED_TABLED = SlicedTabledCodec()
GRIDS = {
    (grid.bits, grid.recipe): grid
    for grid in (
        GridCodec(3, 8, Recipe.NONE),
        GridCodec(4, 8, Recipe.DIVIDE),
        GridCodec(5, 8, Recipe.RECIPROCAL),
        GridCodec(6, 11, Recipe.NONE),
        GridCodec(7, 11, Recipe.DIVIDE),
        GridCodec(8, 11, Recipe.RECIPROCAL),
    )
}
_VERIFIED_ROWS = 8  # decoded at a time to verify them
_OLDER: tuple[Codec, ...] = (RAW, PLAIN_ZSTD, PLANES, *GRIDS.values(), LATTICE, SLICED)
_ALL: tuple[Codec, ...] = (*_OLDER, TABLED, SLICED_TABLED)
CODECS = {codec.codec_id: codec for codec in _ALL}


def _bodies_by_claim(vector: Vector) -> Iterator[tuple[Codec, bytes | None]]:
    """Codecs whose claim seems to hold for `vector`, the smallest body first."""
    found = find_grid(vector)
    if found is not None:
        grid, bits, recipe, scalar = found
        yield TABLED, TABLED.encode_grid(grid, bits, recipe, scalar)
        # exponents that are all alike are no compressed block
        older = GRIDS[bits, recipe]
        yield older, older.encode_found(scalar, grid)
    else:
        yield LATTICE, LATTICE.encode(vector)
        yield TABLED, TABLED.encode_grid(vector, 24)
    yield PLANES, PLANES.encode(vector)


def _bodies_with_codes(vector: Vector) -> Iterator[tuple[Codec, bytes | None]]:
    """Codecs where the vector's codes are kept anyway, the fewest bytes beside them first."""
    found = find_grid(vector)
    if found is not None:
        yield SLICED_TABLED, SLICED_TABLED.encode_grid(*found)
        yield SLICED, SLICED.encode_grid(*found)
        yield TABLED, TABLED.encode_grid(*found)
    else:
        whole, sliced = LATTICE.encode(vector), SLICED_TABLED.encode_grid(vector, 24)
        if whole is not None and (sliced is None or len(whole) + vector.size < len(sliced)):
            yield LATTICE, whole
        yield SLICED_TABLED, sliced
        yield SLICED, SLICED.encode_grid(vector, 24)
    yield PLANES, PLANES.encode(vector)


def encode_frame(vector: Vector, *, compress: bool = True, with_codes: bool = False) -> bytes:
    """The smallest verified frame for one vector.

    Parameters
    ----------
    vector
        float32, shape (dimension,), C-contiguous, native byte order; any bit patterns.
    compress
        False: the raw codec, whatever the vector.
    with_codes
        The store keeps the vector's codes for search: prefer the frame that contains them.

    Returns
    -------
    bytes
        A whole frame that has been decoded and compared, 32-bit word by word, with `vector`.

    Notes
    -----
    Pure; costs about 0.1 ms for 1 536 values, 0.4 ms where a lattice is found.
    Source: SPEC 2, quality.bits; FORMAT.md.
    """
    if compress:
        for frame in _candidates(vector, with_codes=with_codes):
            if _is_verified(frame, vector):
                return frame
    frame = _raw_frame(vector)
    if not _is_verified(frame, vector):
        raise AssertionError("the raw codec changed a vector: memory is damaged")
    return frame


def _raw_frame(vector: Vector) -> bytes:
    return build_frame(RAW.codec_id, vector.size, RAW.encode(vector))


def _candidates(vector: Vector, *, with_codes: bool) -> Iterator[bytes]:
    """Frames that claim to be of `vector`, not verified, the best one first."""
    for codec, body in (_bodies_with_codes if with_codes else _bodies_by_claim)(vector):
        if body is not None and len(body) < vector.nbytes:
            yield build_frame(codec.codec_id, vector.size, body)


def encode_frames(
    vectors: Sequence[Vector], *, compress: bool = True, with_codes: bool = False
) -> list[bytes]:
    """The same frames as `encode_frame` makes of each vector, of any dimensions.

    They are verified many at once, by `decode_frames`: a fifth to a quarter of the time less.
    """
    if not compress or len(vectors) == 1:
        return [encode_frame(one, compress=compress, with_codes=with_codes) for one in vectors]
    frames = [
        next(_candidates(vector, with_codes=with_codes), None) or _raw_frame(vector)
        for vector in vectors
    ]
    places: dict[int, list[int]] = {}  # by dimension
    for place, vector in enumerate(vectors):
        places.setdefault(vector.size, []).append(place)
    for alike in places.values():
        for first in range(0, len(alike), _VERIFIED_ROWS):
            some = alike[first : first + _VERIFIED_ROWS]
            wanted = np.stack([vectors[place] for place in some])
            rows = _are_verified([frames[place] for place in some], wanted)
            for place in np.array(some)[~rows].tolist():
                frames[place] = encode_frame(vectors[place], with_codes=with_codes)
    return frames


def _are_verified(frames: Sequence[bytes], vectors: Vector) -> NDArray[np.bool_]:
    decoded = np.empty_like(vectors)
    try:
        decode_frames(frames, decoded)
    except CorruptionError:
        return np.zeros(len(frames), np.bool_)  # one of them: each is to be looked at
    are_same: NDArray[np.bool_] = (decoded.view(np.uint32) == vectors.view(np.uint32)).all(axis=1)
    return are_same


def encode_frame_with(codec: Codec, vector: Vector) -> bytes | None:
    """A verified frame by one given codec, or None where its claim does not hold.

    For comparing codecs; the store itself uses `encode_frame`.
    """
    body = codec.encode(vector)
    if body is None or len(body) > vector.nbytes:
        return None
    frame = build_frame(codec.codec_id, vector.size, body)
    return frame if _is_verified(frame, vector) else None


def _is_verified(frame: bytes, vector: Vector) -> bool:
    try:
        decoded = decode_frame(frame)
    except CorruptionError:
        return False
    return np.array_equal(decoded.view(np.uint32), vector.view(np.uint32))


def codec_of(codec_id: int) -> Codec:
    """The codec of a number, or CorruptionError (BAD_FRAME)."""
    codec = CODECS.get(codec_id)
    if codec is None:
        raise CorruptionError(f"frame: codec {codec_id} does not exist", ErrorKind.BAD_FRAME)
    return codec


def decode_frame(frame: Buffer, out: Vector | None = None) -> Vector:
    """Decode one frame to the vector that was encoded, bit for bit.

    Parameters
    ----------
    frame
        One whole frame; bytes after it are ignored.
    out
        float32 of shape (dimension,), C-contiguous, to decode into; None allocates it.

    Returns
    -------
    ndarray of float32, shape (dimension,)
        `out`, or freshly allocated; never a view of `frame`.

    Raises
    ------
    CorruptionError
        TRUNCATED_FRAME, CHECKSUM_MISMATCH, or BAD_FRAME (also when `out` has another dimension).
        Nothing is returned in part.
    NewerFormatError
        The frame was written by a later release.

    Notes
    -----
    Source: FORMAT.md, "Frame, versions 1 and 2".
    """
    header = parse_header(frame)
    if out is None:
        out = np.empty(header.dimension, dtype=np.float32)
    decode_parsed(frame, header, out)
    return out


def decode_parsed(frame: Buffer, header: FrameHeader, out: Vector) -> None:
    """`decode_frame` for a frame whose header the caller has parsed."""
    body = checked_body(frame, header)
    codec = codec_of(header.codec_id)
    if out.shape != (header.dimension,):
        raise CorruptionError(
            f"frame: dimension {header.dimension}, the reader expects {out.shape}",
            ErrorKind.BAD_FRAME,
        )
    codec.decode_into((body,), out[None, :])


def decode_frames(frames: Sequence[Buffer], out: Vector) -> None:
    """Decode many frames of one dimension into the rows of `out`, float32 (count, dimension).

    Raises as `decode_frame`; `out` is then undefined. Several times faster than one by one.
    """
    bodies, codec_ids = checked_bodies(frames, out.shape[1])
    used = set(codec_ids)
    for codec_id in used:
        codec = codec_of(codec_id)
        if len(used) == 1:
            codec.decode_into(bodies, out)
            return
        rows = [row for row, each in enumerate(codec_ids) if each == codec_id]
        part = np.empty((len(rows), out.shape[1]), dtype=np.float32)
        codec.decode_into([bodies[row] for row in rows], part)
        out.view(np.uint32)[rows] = part.view(np.uint32)


def raw_view(frame: memoryview) -> Vector | None:
    """A read-only view of a raw frame's values in `frame`'s own memory; None for other codecs.

    Raises as `decode_frame`. The view keeps the memory of `frame` alive.
    """
    header = parse_header(frame)
    if header.codec_id != RAW.codec_id:
        return None
    body = checked_body(frame, header)
    if len(body) != 4 * header.dimension:
        raise CorruptionError("frame: raw body of another length", ErrorKind.BAD_FRAME)
    return np.frombuffer(frame.toreadonly(), "<f4", header.dimension, HEADER_BYTES)
