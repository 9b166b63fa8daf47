"""What do several readers at once get done: threads, processes, beside a writer or alone?"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suites.bench.checked import same_bits
from suites.bench.conftest import Filled, Stores
from titanstore import EmbeddingStore, StoreConfig

STORED = {"smoke": 220, "full": 2_200}
CALLS = {  # of all readers together
    "get": {"smoke": 40, "full": 4_000},
    "search": {"smoke": 8, "full": 200},
}
ROUNDS = {"smoke": 1, "full": 10}
KEPT = 20  # one row in so many is kept and checked: rows that callers hold cost the store memory
CONFIG = StoreConfig(result_cache_entries=0, durability="power_cut_may_lose_store")
Answers = list[tuple[int, Any]]  # place, and what was returned for it
_store: EmbeddingStore
_answers: Answers


def _get(store: EmbeddingStore, filled: Filled, places: list[int]) -> Answers:
    kept = []
    for number, place in enumerate(places):
        row = store.get(filled.keys[place])
        if number % KEPT == 0:
            kept.append((place, row))
    return kept


def _search(store: EmbeddingStore, filled: Filled, places: list[int]) -> Answers:
    return [(place, store.search(filled.vectors[place], k=10)) for place in places]


WORK: dict[str, Callable[[EmbeddingStore, Filled, list[int]], Answers]] = {
    "get": _get,
    "search": _search,
}


def _check(what: str, filled: Filled, answers: Answers) -> None:
    """A row has the bits that were put; what is nearest to a stored vector is itself."""
    assert answers
    for place, answer in answers:
        if what == "get":
            assert same_bits(answer, filled.vectors[place])
        else:
            assert answer[0].key == filled.keys[place]
            assert len(answer) == 10


def _shares(what: str, size: str, readers: int, count: int) -> list[list[int]]:
    places = np.random.default_rng(19).integers(0, count, CALLS[what][size]).tolist()
    return [places[reader::readers] for reader in range(readers)]


@contextmanager
def _writer(filled: Filled, *, is_on: bool) -> Iterator[EmbeddingStore]:
    """The store; where wanted, a thread saves one document after the other meanwhile."""
    with EmbeddingStore.open(filled.path, CONFIG) as store:
        begun, ended = threading.Event(), threading.Event()
        saved = 0

        def save() -> None:
            nonlocal saved
            while not ended.wait(0.005):
                begun.set()
                chunk = [(f"beside {saved}", filled.vectors[saved % len(filled.vectors)])]
                store.update_document("beside", chunk)
                saved += 1

        thread = threading.Thread(target=save)
        if is_on:
            thread.start()
            begun.wait()
        try:
            yield store
        finally:
            ended.set()
            if is_on:
                thread.join()
    assert (saved > 0) is is_on


@pytest.mark.parametrize("is_written", [False, True], ids=["alone", "beside-a-writer"])
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("what", WORK)
def test_bench_threads(
    benchmark: Any,
    told: dict[str, Any],
    size: str,
    tmp_path: Path,
    what: str,
    threads: int,
    is_written: bool,
) -> None:
    """Timed is all calls of all threads together."""
    filled = Stores(tmp_path).of(STORED[size])
    shares = _shares(what, size, threads, len(filled.keys))
    answers: list[Answers] = []

    def check() -> tuple[tuple[()], dict[str, Any]]:
        for one in answers:
            _check(what, filled, one)
        answers.clear()
        return (), {}

    with (
        _writer(filled, is_on=is_written) as store,
        ThreadPoolExecutor(threads) as pool,
    ):
        run = WORK[what]

        def timed() -> None:
            answers.extend(pool.map(lambda share: run(store, filled, share), shares))

        benchmark.pedantic(timed, setup=check, rounds=ROUNDS[size], warmup_rounds=1)
    assert len(answers) == threads
    check()
    _tell_rate(benchmark, told, sum(map(len, shares)))


def _open_here(path: Path) -> None:
    global _store
    _store = EmbeddingStore.open(path, CONFIG, read_only=True)


def _run_here(what: str, filled: Filled, places: list[int]) -> int:
    global _answers
    _answers = WORK[what](_store, filled, places)
    return len(places)


def _check_here(what: str, filled: Filled) -> None:
    _check(what, filled, _answers)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("what", WORK)
def test_bench_processes(
    benchmark: Any, told: dict[str, Any], size: str, tmp_path: Path, what: str, processes: int
) -> None:
    """As threads, with a process for each reader; starting them is not timed."""
    filled = Stores(tmp_path).of(STORED[size])
    shares = _shares(what, size, processes, len(filled.keys))
    with ExitStack() as stack:
        readers = [
            stack.enter_context(
                ProcessPoolExecutor(
                    1,
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=_open_here,
                    initargs=(filled.path,),
                )
            )
            for _ in shares
        ]
        done: list[int] = []

        def timed() -> None:
            jobs = [
                reader.submit(_run_here, what, filled, share)
                for reader, share in zip(readers, shares, strict=True)
            ]
            done.extend(job.result() for job in jobs)

        def check() -> tuple[tuple[()], dict[str, Any]]:
            if done:
                for reader in readers:
                    reader.submit(_check_here, what, filled).result()
            done.clear()
            return (), {}

        benchmark.pedantic(timed, setup=check, rounds=ROUNDS[size], warmup_rounds=1)
        assert sum(done) == sum(map(len, shares))
        check()
    _tell_rate(benchmark, told, sum(map(len, shares)))


def _tell_rate(benchmark: Any, told: dict[str, Any], calls: int) -> None:
    told["calls"] = calls
    if benchmark.stats is not None:  # None under --benchmark-disable
        told["calls_per_second"] = round(calls / benchmark.stats.stats.median)
