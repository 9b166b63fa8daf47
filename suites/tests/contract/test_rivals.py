"""Every rival that is installed here keeps what it is given, or is known not to."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.rivals.catalogue import (
    OURS,
    SEARCHERS,
    STORES,
    Rival,
    open_searcher,
    open_store,
    why_not,
)
from harness.rivals.filling import settle
from harness.rivals.inputs import key_of
from harness.subject import Subject, Vectors
from harness.subjects.disk import KeyLines
from harness.subjects.redis_server import RedisSubject
from harness.subjects.sqlite_blob import SqliteBlobSubject

COUNT, DIMENSION = 12, 24
KEYS = [key_of(number) for number in range(COUNT)]
Opened = Callable[[], Subject]


def _needs(name: str) -> str:
    if missing := why_not(name):
        pytest.skip(f"{name}: {missing}")
    return name


@pytest.fixture(params=[name for name in STORES if name != OURS])
def name(request: pytest.FixtureRequest) -> str:
    return _needs(str(request.param))


@pytest.fixture
def opened(name: str, tmp_path: Path) -> Iterator[Opened]:
    """Opens the rival again and again at one place; all are closed at the end."""
    subjects: list[Subject] = []

    def again() -> Subject:
        for subject in subjects:
            subject.close()
        subjects.append(open_store(name, tmp_path / "store"))
        return subjects[-1]

    yield again
    for subject in subjects:
        subject.close()


@pytest.fixture
def finite(rng: np.random.Generator) -> Vectors:
    """Numbers that are awkward and still numbers: -0.0 and zeros in whole rows, subnormals."""
    rows = rng.standard_normal((COUNT, DIMENSION)).astype(np.float32)
    rows[0] = -0.0
    rows[1] = 0.0
    rows[2] = np.float32(1e-45)
    rows[3, :2] = np.finfo(np.float32).max, np.finfo(np.float32).tiny
    return rows


@pytest.fixture
def odd(rng: np.random.Generator) -> Vectors:
    """Random bits, NaN with payloads and infinities among them."""
    words = rng.integers(0, 2**32, (COUNT, DIMENSION), np.uint32)
    words[0, :4] = (0x7F800001, 0xFFC00001, 0x7F800000, 0xFF800000)
    return words.view(np.float32)


def equal(seen: Vectors, wanted: Vectors) -> bool:
    return (
        seen.dtype == np.float32
        and seen.shape == wanted.shape
        and np.array_equal(seen.view(np.uint32), wanted.view(np.uint32))
    )


def test_it_keeps_every_bit_of_finite_vectors_and_a_reopen_keeps_them(
    opened: Opened, name: str, finite: Vectors
) -> None:
    subject = opened()
    assert subject.name in (name, OURS)
    given = finite.copy()
    subject.put_many(KEYS[:5], given[:5])
    subject.put_many(KEYS[5:], given[5:])
    given[:] = 7  # the caller goes on with its own
    again = opened()
    for key, row in zip(KEYS, finite, strict=True):
        assert equal(again.get(key), row)
    assert equal(again.get_many(KEYS[::-1]), finite[::-1].copy())
    again.put_many(KEYS[:1], finite[3:4])  # a new vector takes the place of the old one
    assert equal(again.get(KEYS[0]), finite[3])
    with pytest.raises(KeyError):
        again.get(key_of(COUNT))
    with pytest.raises(KeyError):
        again.get_many([KEYS[1], key_of(COUNT)])
    assert again.stored_bytes() > 0


def test_it_keeps_random_bits_or_is_known_not_to(opened: Opened, name: str, odd: Vectors) -> None:
    subject = opened()
    if STORES[name].not_kept.startswith("NaN"):
        with pytest.raises((ValueError, RuntimeError), match="NaN"):
            subject.put_many(KEYS, odd)
        return
    subject.put_many(KEYS, odd)
    is_kept = equal(subject.get_many(KEYS), odd)
    assert is_kept == (not STORES[name].not_kept)


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_a_searcher_finds_the_nearest(
    searcher: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    rows = rng.standard_normal((40, DIMENSION)).astype(np.float32)
    keys = [key_of(number) for number in range(len(rows))]
    subject = open_searcher(_needs(searcher), tmp_path / "table", keys, rows)
    query = rows[7] + np.float32(0.01)
    wide, own = rows.astype(np.float64), query.astype(np.float64)
    cosines = wide @ own / np.linalg.norm(wide, axis=1) / np.linalg.norm(own)
    nearest = np.argsort(-cosines)[:10]
    found = subject.search(query, 10)
    assert [key for key, _ in found] == [keys[row] for row in nearest.tolist()]
    assert np.allclose([at for _, at in found], 1 - cosines[nearest], atol=1e-4)
    subject.close()


def test_a_rival_that_is_not_installed_is_said_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Rival(
        name="gone", what="", place=("", ""), settings="", packages=("no-such-distribution-here",)
    )
    monkeypatch.setitem(STORES, "gone", gone)
    assert "no-such-distribution-here" in why_not("gone")
    program = Rival(name="gone", what="", place=("", ""), settings="", programs=("no-such-server",))
    monkeypatch.setitem(STORES, "gone", program)
    assert "no-such-server" in why_not("gone")


@pytest.mark.parametrize("name", [*STORES, *SEARCHERS])
def test_the_result_names_a_version_of_everything_that_is_compared(name: str) -> None:
    versions = {**STORES, **SEARCHERS}[_needs(name)].versions()
    assert versions
    assert all(versions.values())
    if name in ("sqlite-blob", "diskcache"):
        assert versions["SQLite"] == sqlite3.sqlite_version


def test_a_line_of_keys_that_a_crash_cut_off_is_dropped(tmp_path: Path) -> None:
    lines = KeyLines(tmp_path / "keys")
    lines.append(["a", "b"], [(1, 2), (3, 4)])
    lines.append(["a"], [(5, 6)])
    lines.close()
    whole = (tmp_path / "keys").read_bytes()
    (tmp_path / "keys").write_bytes(whole + b'["c", 7')
    again = KeyLines(tmp_path / "keys")
    assert again.places == {"a": (5, 6), "b": (3, 4)}
    again.append(["d"], [(9,)])
    again.close()
    third = KeyLines(tmp_path / "keys")
    assert third.places == {"a": (5, 6), "b": (3, 4), "d": (9,)}
    third.close()
    (tmp_path / "keys").write_bytes(b"no JSON\n" + whole)
    with pytest.raises(HarnessError, match="keys"):
        KeyLines(tmp_path / "keys")


def test_sqlite_is_asked_for_many_keys_at_once(tmp_path: Path, rng: np.random.Generator) -> None:
    """As its users do, 999 a query: one query a key took it 1.8 times as long."""
    subject = open_store("sqlite-blob", tmp_path / "store")
    assert isinstance(subject, SqliteBlobSubject)
    rows = rng.standard_normal((1_200, DIMENSION)).astype(np.float32)
    keys = [key_of(number) for number in range(len(rows))]
    subject.put_many(keys, rows)
    asked: list[str] = []
    subject._connection.set_trace_callback(asked.append)
    places = [*rng.permutation(len(keys)).tolist(), 7, 7]
    assert equal(subject.get_many([keys[place] for place in places]), rows[places])
    assert len(asked) == 2
    with pytest.raises(KeyError):
        subject.get_many([*keys, key_of(len(keys))])
    subject.close()


def test_redis_counts_what_it_has_rewritten_and_leaves_no_folder_behind(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is rewritten from 64 MB on; a kill left the folder of its socket in /tmp."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    subject = open_store(_needs("redis"), tmp_path / ("long name " * 20) / "store")
    assert isinstance(subject, RedisSubject)
    rows = rng.standard_normal((40, 1024)).astype(np.float32)
    keys = [key_of(number) for number in range(len(rows))]
    subject.put_many(keys, rows)
    assert rows.nbytes < subject.stored_bytes() < 1.1 * rows.nbytes
    subject._client.bgrewriteaof()
    while not list(tmp_path.rglob("appendonly.aof.2.base.rdb")):
        time.sleep(0.01)
    while list(tmp_path.rglob("appendonly.aof.1.*")):
        time.sleep(0.01)
    assert rows.nbytes < subject.stored_bytes() < 1.1 * rows.nbytes
    subject._server.kill()
    subject.close()
    assert not list((tmp_path / "tmp").iterdir())
    again = open_store("redis", tmp_path / ("long name " * 20) / "store")
    assert equal(again.get_many(keys), rows)
    again.close()


@pytest.mark.parametrize("kept", ["diskcache", "lancedb", "sqlite-blob"])
def test_bytes_are_of_what_is_stored_and_not_of_logs_and_old_versions(
    kept: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    subject = open_store(_needs(kept), tmp_path / "store")
    rows = rng.standard_normal((40, 1024)).astype(np.float32)
    keys = [key_of(number) for number in range(len(rows))]
    for first in range(0, len(rows), 10):
        subject.put_many(keys[first : first + 10], rows[first : first + 10])
    settle(subject)
    assert rows.nbytes < subject.stored_bytes() < 1.5 * rows.nbytes
    assert equal(subject.get_many(keys), rows)
    subject.close()
