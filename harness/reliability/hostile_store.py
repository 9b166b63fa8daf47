"""A store's files as nobody wrote them, and names that look like paths, through its public face.

The catalog is an LMDB environment, whose pages have no checksums: what is hostile there are the
keys and values, put in through LMDB. (Damaged pages are the part `damage`.)
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import lmdb
from crc32c import crc32c

from harness.reliability.mutations import mutated_binary, path_tricks
from harness.reliability.scenarios import rows
from harness.subjects.reference import ReferenceSubject

__all__ = [
    "FILES",
    "SETTINGS",
    "Feed",
    "Prepare",
    "change_lmdb",
    "prepare_store",
    "read_all",
    "resealed",
]

Prepare = Callable[[Path], None]
Feed = Callable[[Path, Path, random.Random], str]
SETTINGS: dict[str, object] = {"prefetch": False, "publish": False}
_NO_SETTINGS: Mapping[str, object] = {}
_ERRORS = ReferenceSubject.errors
# Where the checksum of a header lies, by magic: with a right one the fields behind it are read
_CHECKS = {b"TSEG": 28, b"TPLN": 32, b"TMRK": 40, b"TBLM": 48, b"TSDO": 40}


# -- the store ------------------------------------------------------------------------------------


def prepare_store(base: Path, **settings: object) -> None:
    """Make a store with documents, versions, dead records, two dimensions, and all it ever held."""
    subject = ReferenceSubject(base / "store", {**SETTINGS, **settings})
    held: dict[str, list[str]] = {}

    def put(document: str, keys: list[str], seed: int, dimension: int = 24) -> None:
        vectors = rows(seed, len(keys), dimension)
        subject.put_document(document, keys, vectors)
        for key, vector in zip(keys, vectors, strict=True):
            held.setdefault(key, []).append(vector.tobytes().hex())

    put("x.py", ["a", "b", "c", "d"], 1)
    put("y.py", ["d", "e"], 2)
    subject.snapshot("first")
    put("x.py", ["a", "b", "f"], 3)
    put("wide.py", ["g", "h"], 4, 40)
    subject.snapshot("second")
    subject.delete(["c"])
    held.pop("c")
    put("y.py", ["e"], 5)
    subject.close()
    (base / "held.json").write_text(json.dumps(held))


def _used(
    base: Path,
    store: Path,
    settings: Mapping[str, object] = _NO_SETTINGS,
    *,
    may_be_unknown: bool = False,
) -> str:
    """Do all there is with a store; a call gives what was stored once, or an error of its tree.

    Only where the catalog is hostile may it be that a stored key is not known.
    """
    held = json.loads((base / "held.json").read_text())
    told = set()
    for read_only in (True, False):
        try:
            subject = ReferenceSubject(store, {**SETTINGS, **settings}, read_only=read_only)
        except _ERRORS as error:
            told.add(_said(error))
            continue
        for act in (read_all, _read_past, _look_around, *(() if read_only else (_write,))):
            try:
                act(subject, held)
            except _ERRORS as error:
                told.add(_said(error))
        subject.close()
    if "unknown-key" in told and not may_be_unknown:
        raise AssertionError(f"a stored key is unknown: {sorted(told)}")
    return f"refused: {sorted(told)[0]}" if told else "taken"


def _said(error: Exception) -> str:
    if not str(error):
        raise AssertionError("an error that says nothing") from error
    return str(getattr(error, "kind", type(error).__name__))


def read_all(subject: ReferenceSubject, held: dict[str, list[str]]) -> None:
    """Every key has a vector that it had once, or is refused; raises what was refused, then."""
    refused: Exception | None = None
    for key, ever in held.items():
        try:
            seen = subject.get(key).tobytes().hex()
        except _ERRORS as error:
            refused = error
            continue
        if seen not in ever:
            raise AssertionError(f"{key} has a vector that it never had")
    if refused is not None:
        raise refused


def _read_past(subject: ReferenceSubject, held: dict[str, list[str]]) -> None:
    for number in subject.version_numbers():
        view = subject.store.at(number)
        for key in view.keys():  # noqa: SIM118  # it is no mapping
            seen = view.get(key).tobytes().hex()
            if seen not in held.get(key, [seen]):
                raise AssertionError(f"{key} had another vector in version {number}")
        for name in view.documents():
            view.document_keys(name)


def _look_around(subject: ReferenceSubject, held: dict[str, list[str]]) -> None:
    subject.problems()
    subject.space()
    subject.documents()
    for key, _ in subject.search(rows(1, 1)[0], 5):
        if key not in held:
            raise AssertionError(f"search found {key}, which was never put")


def _write(subject: ReferenceSubject, held: dict[str, list[str]]) -> None:
    new = rows(9, 2)
    subject.put_document("x.py", ["a", "new"], new)
    held["a"], held["new"] = [new[0].tobytes().hex()], [new[1].tobytes().hex()]
    for act in (read_all, _tidy, read_all):
        act(subject, held)


def _tidy(subject: ReferenceSubject, _: dict[str, list[str]]) -> None:
    subject.delete(["b"])
    subject.put_many(["b"], rows(3, 3)[1:2])
    subject.snapshot("third")
    subject.maintain()


def resealed(content: bytes) -> bytes:
    """With the checksum of its header made right again, where it has one."""
    at = _CHECKS.get(content[:4])
    if at is None or len(content) < at + 4:
        return content
    return content[:at] + crc32c(content[:at]).to_bytes(4, "little") + content[at + 4 :]


def _feed_files(*patterns: str, **settings: object) -> Feed:
    """Change a file that one of the patterns names."""

    def feed(base: Path, folder: Path, rng: random.Random) -> str:
        store = folder / "store"
        shutil.copytree(base / "store", store)
        names = sorted(path for pattern in patterns for path in store.glob(pattern))
        path = rng.choice(names)
        content = mutated_binary(path.read_bytes(), rng, [name.read_bytes() for name in names])
        path.write_bytes(resealed(content) if rng.random() < 0.5 else content)
        return _used(base, store, settings)

    return feed


def _feed_folder(base: Path, folder: Path, rng: random.Random) -> str:
    """Change what tells the store what it is, or put names into its folders that nobody expects."""
    store = folder / "store"
    shutil.copytree(base / "store", store)
    if rng.random() < 0.5:
        path = store / rng.choice(("STORE", "GENERATION", "BLOOM", "POOL"))
        whole = path.read_bytes() if path.exists() else b"{}"
        deep = rng.choice((b"[" * 100_000, b'{"format":' * 50_000, b'{"format": 1e999}', b"{}" * 9))
        path.write_bytes(deep if rng.random() < 0.3 else resealed(mutated_binary(whole, rng)))
        return _used(base, store, {"bloom": True, "shared_pool": True})
    names = (
        *("x.plane", "1-2-3.plane", "00001-24.plane.plane", "-.plane", "\u00b2-\u00b2.plane"),
        *("99999999999999999999-24.plane", "00001-99999999.plane", "00009-24.plane", "0-0.marks"),
        *("seg.seg", "00001.seg.seg", ".seg", "-1.seg", "99999999.seg", "\u00b2.seg", "00007.seg"),
        *("00001-024.plane", "1-24.plane", "00001-24.marks.new", "00003.seg", "00002-24.plane"),
    )
    path = store / "segments" / rng.choice(names)
    if rng.random() < 0.2 and not path.exists():
        path.mkdir()
    else:
        path.write_bytes(rng.choice((b"", rng.randbytes(100), bytes(5_000))))
    return _used(base, store)


def _feed_catalog(base: Path, folder: Path, rng: random.Random) -> str:
    """Change keys and values of the catalog."""
    store = folder / "store"
    shutil.copytree(base / "store", store)
    change_lmdb(store / "catalog", rng, lambda value: value)
    return _used(base, store, may_be_unknown=True)


def change_lmdb(
    path: Path,
    rng: random.Random,
    seal: Callable[[bytes], bytes],
    mutated: Callable[[bytes, random.Random, list[bytes]], bytes] = mutated_binary,
) -> None:
    """Change some keys and values of an LMDB environment; `seal` comes after `mutated`."""
    environment = lmdb.open(str(path), max_dbs=16, map_size=1 << 26)
    with environment.begin(write=True) as change:
        names = [bytes(key) for key, _ in change.cursor()]
        for _ in range(rng.choice((1, 1, 2, 5))):
            name = rng.choice(names)
            # as the store opens it: entries are fixed-size duplicates
            is_entries = name == b"entries"
            database = environment.open_db(
                name, txn=change, dupsort=is_entries, dupfixed=is_entries, create=False
            )
            items = list(change.cursor(db=database))
            key, value = rng.choice(items) if items else (b"k", b"v")
            change.delete(key, value if is_entries else b"", db=database)
            if rng.random() < 0.8:
                made = mutated(value, rng, [other for _, other in items])
                made = made[: len(value)].ljust(len(value), b"\0") if is_entries else seal(made)
                new_key = mutated_binary(key, rng)[:500] if rng.random() < 0.2 else key
                change.put(b"e" if is_entries else new_key or b"k", made, db=database)
    environment.close()


# -- names ----------------------------------------------------------------------------------------


def _feed_names(base: Path, folder: Path, rng: random.Random) -> str:
    """Names of all kinds that look like paths: nothing but the store's files is made."""
    store = folder / "store"
    shutil.copytree(base / "store", store)
    before = sorted(path.name for path in (*store.iterdir(), *folder.iterdir()))
    subject = ReferenceSubject(store, SETTINGS)
    key, document, label = (path_tricks(rng) for _ in range(3))
    vector = rows(rng.randrange(99), 1)
    told = []
    for act in (
        lambda: subject.put_many([key], vector),
        lambda: subject.put_document(document, [key], vector),
        lambda: subject.store.tag(subject.snapshot(label), label),
        lambda: subject.store.document_keys(document),
        lambda: subject.search(vector[0], 3),
        lambda: subject.store.search(vector[0], 3, document_prefix=document),
        lambda: subject.store.at(label),
    ):
        try:
            act()
        except _ERRORS as error:
            told.append(_said(error))
    try:
        if subject.get(key).tobytes() != vector[0].tobytes():
            raise AssertionError(f"{key!r} has another vector")
    except _ERRORS as error:
        told.append(_said(error))
    if problems := subject.problems():
        raise AssertionError(problems)
    subject.close()
    if sorted(path.name for path in (*store.iterdir(), *folder.iterdir())) != before:
        raise AssertionError("there are other files than before")
    return f"refused: {sorted(told)[0]}" if told else "taken"


FILES: dict[str, tuple[Prepare, Feed]] = {
    "segments": (prepare_store, _feed_files("segments/*.seg")),
    "segments-pread": (prepare_store, _feed_files("segments/*.seg", segment_reads="pread")),
    "planes": (prepare_store, _feed_files("segments/*.plane", "segments/*.marks")),
    "catalog": (prepare_store, _feed_catalog),
    "folder": (lambda base: prepare_store(base, bloom=True), _feed_folder),
    "names": (prepare_store, _feed_names),
}
