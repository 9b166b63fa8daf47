"""Keys: what names a vector, and how a key is written down.

A key is any text of 1 to 480 bytes of UTF-8. `embedding_key` derives the usual one from what
determines an embedding: model, options and text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from titanstore.errors import ErrorKind, InvalidInputError

KEY_BYTES_MAX = 480  # LMDB's own limit is 511 bytes a key
# Equal ones cost a second look: at 10^7 keys 1 in 400 has a twin. Two bytes more would keep them
# apart and cost 5 bytes a key and more in the catalog (reports/decisions/0001).
FINGERPRINT_BYTES = 4
_DIGEST_CHARACTERS = 32
# made once: json.dumps makes one at each call, 0.7 of the 4.6 us that a key takes
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


class StoredKey(NamedTuple):
    """A key as the files hold it."""

    is_digest: bool  # True: 16 bytes that the caller sees as 32 hexadecimal digits
    data: bytes

    @property
    def text(self) -> str:
        """The caller's key."""
        return self.data.hex() if self.is_digest else self.data.decode()

    @property
    def tagged(self) -> bytes:
        """The key as one byte string: a digest and a text of the same bytes differ."""
        return (b"d" if self.is_digest else b"t") + self.data

    def fingerprint(self) -> bytes:
        """4 bytes that find the key in the catalog; equal ones are told apart by the record."""
        return hashlib.blake2b(
            self.data, digest_size=FINGERPRINT_BYTES, key=b"d" if self.is_digest else b"t"
        ).digest()


def untagged_key(tagged: bytes) -> StoredKey:
    """Inverse of `StoredKey.tagged`."""
    return StoredKey(tagged[:1] == b"d", tagged[1:])


def embedding_key(model: str, text: str, options: Mapping[str, object] | None = None) -> str:
    """The key of an embedding: BLAKE2b-128 over a canonical form of all that determines it.

    Parameters
    ----------
    model
        Bedrock's model id, e.g. "amazon.titan-embed-text-v2:0".
    text
        The input text, unchanged.
    options
        Every other field of the request (dimensions, normalize, ...). A changed option is another
        key, so an old vector is never returned for it. Leave defaults out on both sides or on none.

    Returns
    -------
    str
        32 lower-case hexadecimal digits, stored as 16 bytes.
    """
    canonical = _CANONICAL.encode([model, dict(options or {}), text])
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()


def stored_key(key: str) -> StoredKey:
    """Check a caller's key and give its stored form.

    Raises
    ------
    InvalidInputError
        KEY_NOT_TEXT, EMPTY_KEY or KEY_TOO_LONG.
    """
    if not isinstance(key, str):
        raise InvalidInputError(f"a key is a str, got {type(key).__name__}", ErrorKind.KEY_NOT_TEXT)
    if len(key) == _DIGEST_CHARACTERS:
        try:
            digest = bytes.fromhex(key)
        except ValueError:
            pass
        else:
            if digest.hex() == key:  # fromhex also takes capitals and blanks
                return StoredKey(True, digest)
    try:
        data = key.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"a key must be encodable as UTF-8: {error}", ErrorKind.KEY_NOT_TEXT
        ) from error
    if not data:
        raise InvalidInputError("a key must not be empty", ErrorKind.EMPTY_KEY)
    if len(data) > KEY_BYTES_MAX:
        raise InvalidInputError(
            f"a key has at most {KEY_BYTES_MAX} bytes of UTF-8, got {len(data)}; "
            "use titanstore.embedding_key to shorten it",
            ErrorKind.KEY_TOO_LONG,
        )
    return StoredKey(False, data)
