"""Keys, their stored form, and the fingerprints that find them."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titanstore.errors import ErrorKind, InvalidInputError
from titanstore.keys import (
    FINGERPRINT_BYTES,
    KEY_BYTES_MAX,
    StoredKey,
    embedding_key,
    stored_key,
)

MODEL = "amazon.titan-embed-text-v2:0"
encodable = st.text(min_size=1, max_size=120).filter(
    lambda text: not any("\ud800" <= character <= "\udfff" for character in text)
)


@given(key=encodable)
def test_text_keys_come_back(key: str) -> None:
    assert stored_key(key).text == key


@given(digest=st.binary(min_size=16, max_size=16))
def test_digest_keys_take_sixteen_bytes(digest: bytes) -> None:
    stored = stored_key(digest.hex())
    assert stored == StoredKey(True, digest)
    assert stored.text == digest.hex()


@pytest.mark.parametrize(
    "key", ["AB" * 16, "ab" * 15 + " a", "ab" * 15 + "g0", "ab " * 10 + "ab", "ab" * 17, "٣" * 32]
)
def test_near_digests_are_text(key: str) -> None:
    stored = stored_key(key)
    assert not stored.is_digest
    assert stored.text == key


@given(one=encodable, other=encodable)
def test_different_keys_have_different_stored_forms(one: str, other: str) -> None:
    assert (stored_key(one) == stored_key(other)) == (one == other)


def test_text_of_the_same_bytes_as_a_digest_is_another_key() -> None:
    digest, text = StoredKey(True, b"sixteen bytes!!!"), StoredKey(False, b"sixteen bytes!!!")
    assert digest.fingerprint() != text.fingerprint()
    assert (digest.tagged, text.tagged) == (b"dsixteen bytes!!!", b"tsixteen bytes!!!")


def test_fingerprint_is_that_of_the_format_page() -> None:
    assert FINGERPRINT_BYTES == 4
    for key, letter in ((StoredKey(True, bytes(16)), b"d"), (StoredKey(False, b"x"), b"t")):
        wanted = hashlib.blake2b(key.data, digest_size=4, key=letter).digest()
        assert key.fingerprint() == wanted
    assert stored_key("x").fingerprint().hex() == "26f4c72a"


@pytest.mark.parametrize("key", [b"bytes", 7, None, ["a"]])
def test_key_that_is_no_text(key: object) -> None:
    with pytest.raises(InvalidInputError) as caught:
        stored_key(key)  # type: ignore[arg-type]
    assert caught.value.kind is ErrorKind.KEY_NOT_TEXT


def test_empty_huge_and_unencodable_keys() -> None:
    kinds = {}
    for key in ("", "a" * (KEY_BYTES_MAX + 1), "é" * (KEY_BYTES_MAX // 2 + 1), "\ud800"):
        with pytest.raises(InvalidInputError) as caught:
            stored_key(key)
        kinds[key] = caught.value.kind
    assert list(kinds.values()) == [
        ErrorKind.EMPTY_KEY,
        ErrorKind.KEY_TOO_LONG,
        ErrorKind.KEY_TOO_LONG,
        ErrorKind.KEY_NOT_TEXT,
    ]
    assert stored_key("é" * (KEY_BYTES_MAX // 2)).text == "é" * (KEY_BYTES_MAX // 2)


# -- embedding keys --------------------------------------------------------------------------------


def test_embedding_key_never_changes() -> None:
    """A changed digest would orphan every stored vector."""
    canonical = b'["amazon.titan-embed-text-v2:0",{"dimensions":256,"normalize":true},"caf\\u00e9"]'
    wanted = hashlib.blake2b(canonical, digest_size=16).hexdigest()
    key = embedding_key(MODEL, "café", {"normalize": True, "dimensions": 256})
    assert key == wanted == "cd0301876d575a50aa48c048abc9e121"
    assert stored_key(key).is_digest


def test_embedding_key_tells_apart_whatever_determines_a_vector() -> None:
    keys = {
        embedding_key(MODEL, "text"),
        embedding_key("amazon.titan-embed-text-v1", "text"),
        embedding_key(MODEL, "text "),
        embedding_key(MODEL, "text", {"dimensions": 256}),
        embedding_key(MODEL, "text", {"dimensions": "256"}),
        embedding_key(MODEL, "text", {"dimensions": 512}),
        embedding_key(MODEL, "text", {"normalize": False}),
        embedding_key(MODEL, '"text'),
    }
    assert len(keys) == 8


@given(text=st.text(max_size=50), options=st.dictionaries(st.text(max_size=5), st.integers()))
def test_embedding_key_takes_any_text_and_ignores_the_order_of_options(
    text: str, options: dict[str, int]
) -> None:
    backwards = dict(reversed(options.items()))
    key = embedding_key(MODEL, text, options)
    assert key == embedding_key(MODEL, text, backwards)
    assert stored_key(key).is_digest
