"""Files as somebody might have made them: parts changed, cut, repeated, or put beyond every limit.

Pure: what comes out follows from the content and the random numbers.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

__all__ = ["mutated_binary", "mutated_text", "path_tricks"]

_SCALAR = re.compile(r'"(?:[^"\\\n]|\\.)*"|-?\b\d[\d.eE+-]*\b|\btrue\b|\bfalse\b|\bnull\b')
_DEEP = 100_000
# What may stand in the place of any value of JSON or TOML
_VALUES = (
    *("0", "-1", "1e999", "-0.0", "nan", "inf", "NaN", "true", "null", '""', "[]", "{}", "[[]]"),
    *("9" * 400, "-" + "9" * 400, "1." + "0" * 5_000, "9" * 5_000, "2027-01-01", "0x10"),
    *('"\\u0000"', '"\\ud800"', '"' + "long " * 2_000 + '"', '"../../etc/passwd"', '"/etc/passwd"'),
    *('"--upload-pack=true"', '"a\\u0000..b"', '"\\u202eright to left"', '"<script>"', '"${HOME}"'),
    *("[" * _DEEP, "[" * _DEEP + "]" * _DEEP, '{"a":' * _DEEP, "{a=" * 2_000, '"no end'),
)
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


def mutated_binary(content: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """One to four changes of the bytes; `others` are files of the same kind to take parts from."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not changed:
            changed += rng.randbytes(rng.randrange(1, 64))
        rng.choice(_CHANGES)(changed, rng)
    if others and rng.random() < 0.1:
        other = rng.choice(list(others))
        at = rng.randrange(len(changed) + 1)
        changed = changed[:at] + other[at:]
    return bytes(changed)


def _flip(changed: bytearray, rng: random.Random) -> None:
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)


def _flip_early(changed: bytearray, rng: random.Random) -> None:
    changed[rng.randrange(min(64, len(changed)))] ^= rng.randrange(1, 256)


def _cut(changed: bytearray, rng: random.Random) -> None:
    del changed[rng.randrange(len(changed)) :]


def _remove(changed: bytearray, rng: random.Random) -> None:
    first = rng.randrange(len(changed))
    del changed[first : first + rng.randrange(1, 64)]


def _insert(changed: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(changed) + 1)
    changed[at:at] = rng.randbytes(rng.randrange(1, 64))


def _repeat(changed: bytearray, rng: random.Random) -> None:
    first = rng.randrange(len(changed))
    part = changed[first : first + rng.randrange(1, 512)]
    at = rng.randrange(len(changed) + 1)
    changed[at:at] = part * rng.choice((1, 1, 3, 50))


def _put_number(changed: bytearray, rng: random.Random) -> None:
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(_NUMBERS) % 256**size
    at = rng.choice((rng.randrange(len(changed)), rng.randrange(min(64, len(changed)))))
    changed[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))


def _blank(changed: bytearray, rng: random.Random) -> None:
    first = rng.randrange(len(changed))
    size = min(rng.randrange(1, 4_096), len(changed) - first)
    changed[first : first + size] = bytes([rng.choice((0, 0xFF))]) * size


def _extend(changed: bytearray, rng: random.Random) -> None:
    changed += rng.choice((bytes(4_096), rng.randbytes(100), bytes(changed[:200])))


_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _flip_early, _cut, _remove, _insert, _repeat, _put_number, _blank, _extend),
)


def mutated_text(content: str, rng: random.Random) -> bytes:
    """A document of JSON or TOML with values that nobody expects, or with its text damaged."""
    if rng.random() < 0.25:
        return mutated_binary(content.encode(), rng)
    for _ in range(rng.choice((1, 1, 2))):
        found = list(_SCALAR.finditer(content))
        if not found:
            break
        place = rng.choice(found)
        content = content[: place.start()] + rng.choice(_VALUES) + content[place.end() :]
    lines = content.splitlines()
    if lines and rng.random() < 0.1:
        del lines[rng.randrange(len(lines))]
        content = "\n".join(lines)
    return content.encode("utf-8", "surrogatepass")


def path_tricks(rng: random.Random) -> str:
    """A name that would lead somewhere else if anybody made a path of it."""
    pieces = ["..", "../", "/", "\\", "\0", "~", "$HOME", "%2e%2e", ".", "", "nul", "STORE", "LOCK"]
    pieces += ("catalog/data.mdb", "segments", "\ud800", "\udfff", "\u202e", "é", "e\u0301", "\n")
    chosen = [rng.choice(pieces) for _ in range(rng.randrange(1, 6))]
    name = rng.choice(("/", "", "../", "\0")).join(chosen)
    if rng.random() < 0.1:
        name *= rng.choice((10, 1_000, 100_000))
    return f"/tmp/{name}" if rng.random() < 0.1 else name  # noqa: S108  # never opened
