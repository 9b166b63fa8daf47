"""Risk: files change faster than anyone saves by hand, and an update is lost or a read is wrong.

One thread saves, as an editor or a branch switch does; others search, read and take snapshots. The
short form runs in every test run; TITANSTORE_BURST_SECONDS makes it as long as wanted, and 60 of
them are the thousand files in a minute of the plan.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.vectors import GENERATORS
from titanstore import EmbeddingStore, NotFoundError, StoreConfig

SECONDS = float(os.environ.get("TITANSTORE_BURST_SECONDS", "3"))
FILES, CHUNKS, DIMENSION = 40, 6, 64
FILES_A_SECOND = 1000 / 60
EDITOR_PERIOD_S = 0.2

Vectors = NDArray[np.float32]


class Files:
    """Files whose every save gives some chunks a new key and vector; what was saved is known.

    A vector holds its own serial number in its first value, so that a reader of any moment can
    tell whether it got the vector of the key it asked for.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._base = GENERATORS["bfloat16"](rng, 500, DIMENSION)
        self._rng = rng
        self.serial = 0
        self.contents = {f"{n}.py": [self._fresh() for _ in range(CHUNKS)] for n in range(FILES)}

    def _fresh(self) -> tuple[str, Vectors]:
        self.serial += 1
        return f"chunk {self.serial}", vector_of(self._base, self.serial)

    def save(self, name: str) -> list[tuple[str, Vectors]]:
        """New content of a file: 1 to 3 neighbouring chunks differ."""
        content = list(self.contents[name])
        changed = int(self._rng.integers(1, 4))
        first = int(self._rng.integers(CHUNKS - changed + 1))
        content[first : first + changed] = [self._fresh() for _ in range(changed)]
        self.contents[name] = content
        return content

    def wanted(self, key: str) -> Vectors:
        return vector_of(self._base, int(key.rpartition(" ")[2]))


def vector_of(base: Vectors, serial: int) -> Vectors:
    vector: Vectors = base[serial % len(base)].copy()
    vector[0] = serial % 2**15
    vector[1] = serial // 2**15
    return vector


class Watcher:
    """Runs a check again and again until the end; keeps the first thing that was wrong."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.rounds = 0
        self.error: BaseException | None = None
        self._check = check
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._check()
            except BaseException as error:
                self.error = error
                return
            self.rounds += 1

    @property
    def is_awaited(self) -> bool:
        """Has it still to look for the first time?"""
        return not self.rounds and self.error is None

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def burst(
    files: Files,
    store: EmbeddingStore,
    names: list[str],
    period_s: float,
    watchers: Sequence[Watcher],
) -> int:
    """Save file after file, one every `period_s`, late ones at once; returns how many.

    Goes on until each of the watchers has looked, however late a busy machine lets it.
    """
    begin, saved = time.monotonic(), 0
    while time.monotonic() - begin < SECONDS or any(watcher.is_awaited for watcher in watchers):
        name = names[saved % len(names)]
        store.update_document(name, files.save(name))
        saved += 1
        wait = begin + saved * period_s - time.monotonic()
        if wait > 0:
            time.sleep(wait)
    return saved


BURSTS: dict[str, tuple[int, float]] = {
    "a thousand files in a minute": (FILES, 1 / FILES_A_SECOND),
    "an editor saving every 200 ms": (1, EDITOR_PERIOD_S),
    "as fast as it goes": (FILES, 0.0),
}


@pytest.mark.parametrize("name", BURSTS)
def test_a_burst_loses_nothing_and_keeps_reads_right(tmp_path: Path, name: str) -> None:
    count, period_s = BURSTS[name]
    files = Files()
    with EmbeddingStore.open(tmp_path, StoreConfig()) as store:
        for document, content in files.contents.items():
            store.update_document(document, content)
        reader = EmbeddingStore.open(tmp_path, StoreConfig(), read_only=True)

        def search() -> None:
            query = files.wanted(f"chunk {1 + files.serial // 2}")
            hits = store.search(query, k=5)
            assert len(hits) == 5
            assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
            for hit in hits:
                wanted = files.wanted(hit.key).astype(np.float64)
                other = query.astype(np.float64)
                cosine = wanted @ other / np.sqrt((wanted @ wanted) * (other @ other))
                assert hit.distance == pytest.approx(1 - cosine, abs=1e-9)

        def read_from(opened: EmbeddingStore) -> Callable[[], None]:
            def read() -> None:
                document = f"{np.random.default_rng().integers(count)}.py"
                for key in opened.document_keys(document):
                    try:
                        row = opened.get(key)
                    except NotFoundError:
                        continue  # saved over since the list was made
                    assert row.tobytes() == files.wanted(key).tobytes()

            return read

        watchers = [Watcher(search), Watcher(read_from(store)), Watcher(read_from(reader))]
        with watchers[0], watchers[1], watchers[2]:
            saved = burst(files, store, [f"{n}.py" for n in range(count)], period_s, watchers)
        for watcher in watchers:
            if watcher.error is not None:
                raise watcher.error
            assert watcher.rounds > 0
        assert saved >= min(1 / period_s if period_s else 1, 1)
        reader.close()
    with EmbeddingStore.open(tmp_path, StoreConfig()) as again:
        assert sorted(again.documents()) == sorted(files.contents)
        assert len(again) == FILES * CHUNKS
        for document, content in files.contents.items():
            assert again.document_keys(document) == [key for key, _ in content]
            for key, vector in content:
                assert again.get(key).tobytes() == vector.tobytes()
        assert again.check().is_clean
        newest = files.contents["0.py"][0]
        assert again.search(newest[1], k=1)[0].key == newest[0]
