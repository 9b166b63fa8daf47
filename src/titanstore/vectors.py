"""Vectors, keys and names as callers hand them in: checked, never converted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.frame import DIMENSION_MAX
from titanstore.config import StoreConfig
from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.keys import StoredKey, stored_key

_WANTED = np.dtype(np.float32)


def checked_vector(vector: object, config: StoreConfig) -> Vector:
    """A C-contiguous float32 array of shape (dimension,) with the same bits as `vector`.

    Raises
    ------
    InvalidInputError
        WRONG_DTYPE: not a numpy array of native float32. Nothing is converted: float64 rounds, and
        what the caller holds would then differ from what the store returns.
        WRONG_SHAPE: not one dimension, or none or too many values.
        WRONG_DIMENSION or NON_FINITE, where the settings refuse them.
    """
    if not isinstance(vector, np.ndarray) or vector.dtype != _WANTED:
        seen = f"{vector.dtype} array" if isinstance(vector, np.ndarray) else type(vector).__name__
        raise InvalidInputError(
            f"a vector is a numpy float32 array, got {seen}; convert it where you can see the "
            "rounding: numpy.asarray(x, numpy.float32)",
            ErrorKind.WRONG_DTYPE,
        )
    if vector.ndim != 1 or not 0 < vector.size <= DIMENSION_MAX:
        raise InvalidInputError(
            f"a vector has shape (1 to {DIMENSION_MAX},), got {vector.shape}", ErrorKind.WRONG_SHAPE
        )
    if config.dimension is not None and vector.size != config.dimension:
        raise InvalidInputError(
            f"this store takes dimension {config.dimension}, got {vector.size}",
            ErrorKind.WRONG_DIMENSION,
        )
    if config.refuse_non_finite and not np.isfinite(vector).all():
        raise InvalidInputError("the vector holds NaN or infinity", ErrorKind.NON_FINITE)
    return np.ascontiguousarray(vector).view(np.ndarray)


def checked_vectors(
    vectors: NDArray[np.float32] | Sequence[Vector], count: int, config: StoreConfig
) -> list[Vector]:
    """Rows of a (count, dimension) array, or a sequence of vectors, each checked.

    Raises
    ------
    InvalidInputError
        WRONG_SHAPE when there are not `count` of them; and as `checked_vector`.
    """
    if isinstance(vectors, np.ndarray) and vectors.ndim != 2:
        raise InvalidInputError(
            f"vectors have shape (count, dimension), got {vectors.shape}", ErrorKind.WRONG_SHAPE
        )
    if len(vectors) != count:
        raise InvalidInputError(f"{count} keys, but {len(vectors)} vectors", ErrorKind.WRONG_SHAPE)
    return [checked_vector(vector, config) for vector in vectors]


def same_bits(one: Vector, other: Vector) -> bool:
    """Are two float32 vectors equal word by word (NaN payloads and -0.0 included)?"""
    return one.shape == other.shape and np.array_equal(one.view(np.uint32), other.view(np.uint32))


def checked_document(name: object) -> str:
    """A document's name: text with the limits of a key. Raises InvalidInputError."""
    if not isinstance(name, str):
        raise InvalidInputError(
            f"a document's name is a str, got {type(name).__name__}", ErrorKind.KEY_NOT_TEXT
        )
    try:
        stored_key(name)
    except InvalidInputError as error:
        raise InvalidInputError(f"document name: {error}", error.kind) from error
    return name


def distinct(keys: Sequence[str], vectors: Sequence[Vector]) -> dict[StoredKey, Vector]:
    """Keys with their vectors in order; a key may come twice only with the same bits."""
    found: dict[StoredKey, Vector] = {}
    for text, vector in zip(keys, vectors, strict=True):
        key = stored_key(text)
        if key in found and not same_bits(found[key], vector):
            raise InvalidInputError(
                f"key {text!r} comes twice with different vectors", ErrorKind.DUPLICATE_KEY
            )
        found.setdefault(key, vector)
    return found
