"""A writer killed at any moment: what it acknowledged is there, and nothing halfway."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.marked import unmarked
from titanstore import EmbeddingStore, StoreConfig

SECONDS_MAX = 6.0
ROUNDS = 12
KEYS = [f"key {number}" for number in range(30)]
DOCUMENTS = ["x.py", "y.py"]

# What operation n does is a function of n, so that this process knows it too
_OPERATIONS = """
import random
import numpy as np

KEYS = [f"key {number}" for number in range(30)]
DOCUMENTS = ["x.py", "y.py"]

def operation(number):
    choose = random.Random(number)
    kind = choose.choices(["put", "update", "delete", "maintain"], [6, 4, 1, 1])[0]
    keys = choose.sample(KEYS, choose.randint(1, 8))
    rng = np.random.default_rng(number)
    vectors = rng.integers(0, 2**32, (len(keys), 96), np.uint32).view(np.float32)
    document = choose.choice([*DOCUMENTS, None] if kind == "put" else DOCUMENTS)
    return kind, keys, vectors, document
"""

_WRITER = (
    _OPERATIONS
    + """
import sys
from titanstore import EmbeddingStore, StoreConfig

folder, number = sys.argv[1], int(sys.argv[2])
config = StoreConfig(bloom=number % 2 == 0)
object.__setattr__(config, "segment_bytes_max", 6_000)
store = EmbeddingStore.open(folder, config)
print("open", flush=True)
while True:
    kind, keys, vectors, document = operation(number)
    print("begin", number, flush=True)
    if kind == "put":
        store.put_many(keys, vectors, document)
    elif kind == "update":
        store.update_document(document, list(zip(keys, vectors)))
    elif kind == "delete":
        store.delete(keys)
    else:
        store.maintain()
    print("end", number, flush=True)
    number += 1
"""
)
_namespace: dict[str, object] = {}
exec(_OPERATIONS, _namespace)  # noqa: S102 - the one text that both processes run
operation = _namespace["operation"]


class Model:
    def __init__(self, values: dict[str, bytes], documents: dict[str, list[str]]) -> None:
        self.values = values
        self.documents = documents

    def after(self, number: int) -> Model:
        assert callable(operation)
        kind, keys, vectors, document = operation(number)
        values = dict(self.values)
        documents = {name: list(members) for name, members in self.documents.items()}
        if kind in ("put", "update"):
            values |= {key: row.tobytes() for key, row in zip(keys, vectors, strict=True)}
        if kind == "put" and document is not None:
            members = documents.setdefault(document, [])
            members += [key for key in keys if key not in members]
        if kind == "update":
            gone = set(documents.get(document, [])) - set(keys)
            documents[document] = list(keys)
            for key in gone - {key for members in documents.values() for key in members}:
                del values[key]
        if kind == "delete":
            values = {key: value for key, value in values.items() if key not in keys}
            documents = {
                name: left
                for name, members in documents.items()
                if (left := [key for key in members if key not in keys])
            }
        return Model(values, documents)


def content_of(store: EmbeddingStore) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    values = {key: store.get(key).tobytes() for key in KEYS if key in store}
    assert len(store) == len(values)
    return values, {name: store.document_keys(name) for name in store.documents()}


def test_kill_at_random_moments(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it with a failure
    choose = random.Random(seed)
    model, number = Model({}, {}), choose.randrange(10**6)
    started, rounds, writes, torn = time.monotonic(), 0, 0, 0
    while (rounds < ROUNDS and time.monotonic() - started < SECONDS_MAX) or writes <= 20:
        rounds += 1
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        time.sleep(choose.uniform(0, 0.15))
        writer.kill()
        said = writer.stdout.read().splitlines()
        writer.stdout.close()
        assert writer.wait() == -signal.SIGKILL
        begun = number - 1
        for line in said:
            word, _, given = line.partition(" ")
            if word == "end" and given.isdigit() and int(given) == number:
                model, number, writes = model.after(number), number + 1, writes + 1
            elif word == "begin" and given.isdigit():
                begun = int(given)
        with EmbeddingStore.open(tmp_path, StoreConfig(bloom=choose.random() < 0.5)) as store:
            assert store.check().problems == ()
            content = content_of(store)
            if content != (model.values, model.documents):
                # the operation under way may have been committed without being acknowledged
                assert begun >= number
                model, number, torn = model.after(number), number + 1, torn + 1
                assert content == (model.values, model.documents)
            on_disk = sum(path.stat().st_size for path in (tmp_path / "segments").iterdir())
            assert unmarked(store._catalog, store._reader) == []
            last = max((tmp_path / "segments").glob("*.seg"), default=None)
            if last is not None:
                with store._catalog.reading() as view:
                    assert last.stat().st_size == view.last_end().offset
            assert on_disk >= store.stats().segment_bytes + store.stats().plane_bytes


_READER = """
import sys
from titanstore.catalog import environment
environment._MAP_BYTES_FIRST = 1 << 17
from titanstore import EmbeddingStore
store = EmbeddingStore.open(sys.argv[1], read_only=True)
print(len(store), flush=True)
for line in sys.stdin:
    first, last = map(int, line.split())
    wanted = [n.to_bytes(4, "little") for n in range(first, last)]
    good = [store.get(f"key {n}").tobytes() for n in range(first, last)] == wanted
    print(good and len(store) == last, flush=True)
"""


def numbered(first: int, last: int) -> tuple[list[str], NDArray[np.float32]]:
    values = np.arange(first, last, dtype=np.uint32)[:, None].view(np.float32)
    return [f"key {number}" for number in range(first, last)], values


def test_the_catalog_grows_under_readers_of_other_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.catalog.environment._MAP_BYTES_FIRST", 1 << 17)
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        store.put_many(*numbered(0, 10))
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", _READER, str(tmp_path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "10\n"
        sizes = set()
        for first in range(10, 6_010, 1_000):
            store.put_many(*numbered(first, first + 1_000), f"document {first}")
            sizes.add(store._catalog._environment.info()["map_size"])
            for reader in readers:
                assert reader.stdin is not None
                assert reader.stdout is not None
                print(first, first + 1_000, file=reader.stdin, flush=True)
                assert reader.stdout.readline() == "True\n"
        for reader in readers:
            reader.communicate(timeout=60)
            assert reader.returncode == 0
        assert len(sizes) > 1
        assert store.check().is_clean


@pytest.mark.parametrize("first", [True, False])
def test_a_killed_reader_holds_nothing_back(tmp_path: Path, *, first: bool) -> None:
    """Its slot in LMDB's table is cleared by the next writer."""
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        store.put_many(*numbered(0, 10))
        code = (
            "import sys, time; from titanstore import EmbeddingStore\n"
            "store = EmbeddingStore.open(sys.argv[1], read_only=True)\n"
            "with store._catalog.reading() as view:\n"
            "    print(view.entry_count(), flush=True); time.sleep(60)"
        )
        reader = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert reader.stdout is not None
        assert reader.stdout.readline() == "10\n"
        assert str(reader.pid) in store._catalog._environment.readers()
        if first:
            store.close()
        reader.kill()
        reader.communicate()
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        assert str(reader.pid) not in store._catalog._environment.readers()
