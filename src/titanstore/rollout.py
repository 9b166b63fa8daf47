"""Which keys a new way is taken for: a share of them, by a hash that never changes."""

from __future__ import annotations

from hashlib import blake2b

_PERSON = b"titan.rollout"
_BITS = 64


def is_rolled_out(key: str, percent: float) -> bool:
    """Is this key among the first `percent` of all keys?

    Parameters
    ----------
    key
        Any text.
    percent
        0 to 100; 0 is no key, 100 is every key.

    Returns
    -------
    bool
        The same in every process, on every machine and of every release; once true, it stays so
        for every larger percentage. About 1 us, at 100 no time.

    Notes
    -----
    The first 8 bytes of a BLAKE2b of the key's UTF-8, little-endian, are below that share of 2**64.
    """
    if percent >= 100:
        return True
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, person=_PERSON).digest()
    return int.from_bytes(digest, "little") < int(percent / 100 * 2**_BITS)
