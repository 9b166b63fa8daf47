"""Every subject that the harness drives does what its capabilities say; what is wrong raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.subject import DocumentSubject, Vectors
from harness.subjects import BASELINES, open_baseline
from harness.subjects.current import CurrentSubject
from harness.subjects.reference import ReferenceSubject, effective_config, embedding_key

Opened = Callable[[], DocumentSubject]
COUNT, DIMENSION = 40, 24
CAPABILITIES = {"durable", "documents", "shared", "search", "rollback"}


def _open(name: str, path: Path) -> DocumentSubject:
    if name == "titanstore":
        return ReferenceSubject(path)
    return open_baseline(name, path)


@pytest.fixture(params=["titanstore", *BASELINES])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens the subject again and again at one place; all are closed at the end."""
    subjects: list[DocumentSubject] = []

    def again() -> DocumentSubject:
        for subject in subjects:
            subject.close()
        subjects.append(_open(request.param, tmp_path / "store"))
        return subjects[-1]

    yield again
    for subject in subjects:
        subject.close()


@pytest.fixture
def keys() -> list[str]:
    return [embedding_key("model", str(row)) for row in range(COUNT)]


@pytest.fixture
def vectors(rng: np.random.Generator) -> Vectors:
    """Random bits: NaN of every kind, infinities, subnormals, -0.0."""
    words = rng.integers(0, 2**32, (COUNT, DIMENSION), np.uint32)
    words[0, :4] = (0x80000000, 0x7F800001, 0xFFC00001, 0x00000001)
    return words.view(np.float32)


def equal(seen: Vectors, wanted: Vectors) -> bool:
    return (
        seen.dtype == np.float32
        and seen.shape == wanted.shape
        and np.array_equal(seen.view(np.uint32), wanted.view(np.uint32))
    )


def test_names_and_capabilities_are_known(opened: Opened) -> None:
    subject = opened()
    assert subject.name in {"titanstore", *BASELINES}
    assert subject.capabilities <= CAPABILITIES


def test_every_bit_comes_back_by_every_call(
    opened: Opened, keys: list[str], vectors: Vectors
) -> None:
    subject = opened()
    subject.put_many(keys, vectors)
    for key, vector in zip(keys, vectors, strict=True):
        assert equal(subject.get(key), vector)
    assert equal(subject.get_many(keys[::-1]), vectors[::-1].copy())


def test_a_vector_is_kept_even_if_the_caller_goes_on_with_its_own(
    opened: Opened, keys: list[str], vectors: Vectors
) -> None:
    subject = opened()
    wanted = vectors.copy()
    subject.put_many(keys, vectors)
    vectors.view(np.uint32)[:] = 7
    assert equal(subject.get(keys[3]), wanted[3])


def test_a_new_vector_takes_the_place_of_the_old_one(
    opened: Opened, keys: list[str], vectors: Vectors
) -> None:
    subject = opened()
    subject.put_many(keys[:1], vectors[:1])
    subject.put_many(keys[:1], vectors[1:2])
    assert equal(subject.get(keys[0]), vectors[1])


def test_an_unknown_key_is_a_key_error(opened: Opened, keys: list[str], vectors: Vectors) -> None:
    subject = opened()
    subject.put_many(keys[:1], vectors[:1])
    with pytest.raises(KeyError):
        subject.get(keys[1])
    with pytest.raises(KeyError):
        subject.get_many(keys[:2])


def test_a_document_s_chunks_are_found(opened: Opened, keys: list[str], vectors: Vectors) -> None:
    subject = opened()
    subject.update_document("a.py", list(zip(keys[:5], vectors[:5], strict=True)))
    changed = [*zip(keys[:4], vectors[:4], strict=True), (keys[5], vectors[5])]
    subject.update_document("a.py", changed)
    for key, vector in changed:
        assert equal(subject.get(key), vector)
    if "documents" in subject.capabilities:
        with pytest.raises(KeyError):
            subject.get(keys[4])


def test_an_empty_document_is_no_error(opened: Opened) -> None:
    opened().update_document("empty.py", [])


def test_stored_bytes_count_what_was_stored(
    opened: Opened, keys: list[str], vectors: Vectors
) -> None:
    subject = opened()
    before = subject.stored_bytes()
    subject.put_many(keys, vectors)
    assert subject.stored_bytes() - before >= vectors.nbytes  # random bits cannot be compressed


def test_what_is_durable_is_there_after_a_reopen(
    opened: Opened, keys: list[str], vectors: Vectors
) -> None:
    subject = opened()
    subject.put_many(keys, vectors)
    again = opened()
    if "durable" in subject.capabilities:
        assert equal(again.get_many(keys), vectors)
    else:
        with pytest.raises(KeyError):
            again.get(keys[0])


def test_closing_twice_is_no_error(opened: Opened) -> None:
    subject = opened()
    subject.close()
    subject.close()


def test_there_is_no_baseline_of_another_name(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="redis"):
        open_baseline("redis", tmp_path)


def test_the_current_way_forgets_the_least_recently_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("harness.subjects.current._BYTES_MAX", 4 * DIMENSION * 3)
    subject = CurrentSubject(tmp_path)
    rows = np.arange(4 * DIMENSION, dtype=np.float32).reshape(4, DIMENSION)
    subject.put_many(list("abc"), rows[:3])
    subject.get("a")
    subject.put_many(["d"], rows[3:])
    with pytest.raises(KeyError):
        subject.get("b")
    assert subject.stored_bytes() == 4 * DIMENSION * 3
    assert [subject.get(key)[0] for key in "acd"] == [rows[0, 0], rows[2, 0], rows[3, 0]]


def test_a_batch_that_fails_leaves_sqlite_as_it_was(tmp_path: Path, vectors: Vectors) -> None:
    subject = open_baseline("sqlite-blob", tmp_path)
    with pytest.raises(ValueError, match="zip"):
        subject.put_many(["a", "b"], vectors[:1])
    with pytest.raises(KeyError):
        subject.get("a")
    subject.put_many(["a"], vectors[:1])
    assert equal(subject.get("a"), vectors[0])
    subject.close()


def test_one_configuration_has_one_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, digest = effective_config(None)
    assert effective_config(None) == (usual, digest)
    file = tmp_path / "titanstore.toml"
    file.write_text("[titanstore]\nprefetch = false\n")
    settings, other = effective_config(file)
    assert settings["prefetch"] is False
    assert other != digest
    monkeypatch.setenv("TITANSTORE_PREFETCH", "false")
    assert effective_config(None) == (settings, other)


def test_a_broken_configuration_is_an_error_of_the_store(tmp_path: Path) -> None:
    file = tmp_path / "titanstore.toml"
    for content in ("[titanstore]\nspeed = 3\n", "[titanstore", "[titanstore]\nbloom = 3\n"):
        file.write_text(content)
        with pytest.raises(ReferenceSubject.errors):
            effective_config(file)
