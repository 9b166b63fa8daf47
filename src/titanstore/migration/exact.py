"""Numbers of a source as float32, or a refusal: nothing is rounded."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from titanstore.codec.base import Vector
from titanstore.codec.frame import DIMENSION_MAX
from titanstore.errors import ErrorKind
from titanstore.migration.source import SourceOptions, refused

_WHOLE_MAX = 2**53  # whole numbers beyond it have no float64 of their own
_TYPES = ("float16", "float32", "float64")


def exact_vector(row: NDArray[Any], key: str, options: SourceOptions) -> Vector:
    """The float32 vector that has exactly the values of a row, signs of zero and NaNs included.

    Raises
    ------
    MigrationError
        INEXACT: a value is no float32; the message names the key. BAD_SOURCE: another number type,
        or not the dimension that was asked for.
    """
    if row.dtype.kind != "f" or row.dtype.itemsize not in (2, 4, 8):
        raise refused(f"the vector of {key!r} is {row.dtype}; {', '.join(_TYPES)} can be moved")
    if row.ndim != 1 or not 0 < row.size <= DIMENSION_MAX:
        raise refused(
            f"the vector of {key!r} has shape {row.shape}; wanted (1 to {DIMENSION_MAX},)"
        )
    if options.dimension is not None and row.size != options.dimension:
        raise refused(
            f"the vector of {key!r} has {row.size} values, {options.dimension} were asked for"
        )
    native = row.astype(row.dtype.newbyteorder("="), copy=False)
    if native.dtype.itemsize == 4:
        return np.ascontiguousarray(native)
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = native.astype(np.float32)
    if native.dtype.itemsize == 2:
        _refuse_unless(_bits(narrow.astype(np.float16), 2) == _bits(native, 2), native, key, False)
        return narrow
    is_same = _bits(narrow.astype(np.float64), 8) == _bits(native, 8)
    if options.shortest_digits and not is_same.all():
        printed = narrow[~is_same].astype(np.str_).astype(np.float64)
        is_same[~is_same] = printed == native[~is_same]
    _refuse_unless(is_same, native, key, not options.shortest_digits)
    return narrow


def _bits(values: NDArray[Any], size: int) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(f"u{size}")


def _refuse_unless(
    is_same: NDArray[np.bool_], row: NDArray[Any], key: str, may_be_digits: bool
) -> None:
    if is_same.all():
        return
    place = int(np.argmin(is_same))
    value = float(row[place])
    hint = ""
    with np.errstate(over="ignore"):
        printed = str(np.float32(value))
    if may_be_digits and float(printed) == value:
        hint = (
            "; it has the shortest digits of a float32: with --shortest-digits it is taken for that"
        )
    raise refused(
        f"value {place} of {key!r} is {value!r}, which is no float32: nothing is rounded{hint}",
        ErrorKind.INEXACT,
    )


def numbers_of(values: object, key: str, text: str | bytes) -> NDArray[np.float64]:
    """The vector of a parsed JSON array, float64; raises MigrationError for anything else.

    `text` is what was parsed: 1e999 becomes an infinity there, which is not what it says.
    """
    if not isinstance(values, list) or not values:
        raise refused(f"the vector of {key!r} is no list of numbers")
    for value in values:
        if type(value) is float:
            continue
        if type(value) is not int or abs(value) > _WHOLE_MAX:
            raise refused(f"the vector of {key!r} holds {str(value)[:40]!r}, which is no number")
    numbers = np.array(values, np.float64)
    if np.isinf(numbers).any():
        json.loads(text, parse_float=lambda digits: _finite(digits, key))
    return numbers


def _finite(digits: str, key: str) -> float:
    number = float(digits)
    if np.isinf(number):
        raise refused(
            f"the vector of {key!r} holds {digits[:40]}, which is no float32: nothing is rounded",
            ErrorKind.INEXACT,
        )
    return number


def decoded(value: object, key: str, options: SourceOptions) -> NDArray[Any]:
    """A vector out of one cell: JSON text, or the bare bytes of little-endian floats.

    Raises
    ------
    MigrationError
        BAD_SOURCE: neither, or bytes of which neither `raw` nor `dimension` tells the type.
    """
    if isinstance(value, str):
        return numbers_of(_parsed(value, key), key, value)
    if not isinstance(value, bytes):
        raise refused(f"the vector of {key!r} is {type(value).__name__}, not text or bytes")
    if options.raw is None and value[:1] == b"[":
        try:
            return numbers_of(_parsed(value.decode(), key), key, value)
        except UnicodeDecodeError:
            pass  # a float may begin with the byte of a bracket
    name = options.raw
    if name is None and options.dimension is not None:
        sizes = {2: "float16", 4: "float32", 8: "float64"}
        size, rest = divmod(len(value), options.dimension)
        name = sizes.get(size) if not rest else None  # type: ignore[assignment]
    if name is None:
        raise refused(
            f"the vector of {key!r} is {len(value)} bare bytes: say their type (--raw), or the "
            "dimension"
        )
    kind = np.dtype(name).newbyteorder("<")
    if not value or len(value) % kind.itemsize:
        raise refused(f"the vector of {key!r} is {len(value)} bytes, no whole number of {name}")
    return np.frombuffer(value, kind)


def _parsed(text: str, key: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(f"the vector of {key!r} is no JSON: {error}") from error
