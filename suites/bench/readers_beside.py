"""What a writer gets done beside 1, 2, 4 and 8 reading processes, and what readers feel of it.

    python suites/bench/readers_beside.py --seconds 4 --rounds 3

One process saves a file of 22 chunks, 2 of them changed, durably, again and again. Readers read
files from begin to end, drawn at random, a get a chunk, each checked: `paced` a thousand gets a
second each, `flat-out` as fast as they can, where on few cores they take the processor from the
writer and from each other. Every round has all cases in another order, and its own without readers,
to which its ratios are. What a reader feels is compared with the same just before the writer began.
Lines of JSON, then a table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fixtures.vectors import bfloat16
from titanstore import EmbeddingStore, StoreConfig

FILES, CHUNKS, DIMENSION = 6, 22, 1024  # all of it fits into the hot tier
CHANGED = 2
READERS = (1, 2, 4, 8)
PACES = ("paced", "flat-out")
_PAUSE_S = 0.022  # of a paced reader, for each file
_ROWS = bfloat16(np.random.default_rng(1), 500, DIMENSION)
_WHOLE = frozenset(row.tobytes() for row in _ROWS)
_CONFIG = StoreConfig(publish=False)


class Felt(NamedTuple):
    """What a reader saw in one stretch of time."""

    gets: int
    p50_us: float
    p99_us: float
    max_us: float


def key_of(file: int, chunk: int) -> str:
    """Not a digest of anything: the key says where the value belongs."""
    return f"{file:02d} {chunk:02d}"


def value_of(place: int, saved: int) -> NDArray[np.float32]:
    """One of few rows, so that a mixture of two would show."""
    row: NDArray[np.float32] = _ROWS[(place + 31 * saved) % len(_ROWS)]
    return row


def fill(folder: Path) -> None:
    """A store of `FILES` files."""
    with EmbeddingStore.open(folder, _CONFIG) as store:
        for file in range(FILES):
            store.update_document(f"{file}.py", _chunks(file, [0] * CHUNKS))


def _chunks(file: int, saved: list[int]) -> list[tuple[str, NDArray[np.float32]]]:
    return [
        (key_of(file, chunk), value_of(file * CHUNKS + chunk, saved[chunk]))
        for chunk in range(CHUNKS)
    ]


# -- readers --------------------------------------------------------------------------------------


def _read(folder: str, seed: int, channel: Connection) -> None:
    """A process that reads for as long as it is told, and tells what it felt."""
    rng = random.Random(seed)
    with EmbeddingStore.open(folder, _CONFIG, read_only=True) as store:
        channel.send("open")
        while (asked := channel.recv()) is not None:
            pace, seconds = asked
            channel.send(_felt(store, rng, seconds, is_paced=pace == "paced"))


def _felt(store: EmbeddingStore, rng: random.Random, seconds: float, *, is_paced: bool) -> Felt:
    clock, times = time.perf_counter_ns, []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        file = rng.randrange(FILES)
        for chunk in range(CHUNKS):
            key = key_of(file, chunk)
            begun = clock()
            row = store.get(key)
            times.append(clock() - begun)
            if row.tobytes() not in _WHOLE:
                raise AssertionError(f"{key} is torn: {row}")
        if is_paced:
            time.sleep(_PAUSE_S)
    p50, p99, most = np.percentile(times, [50, 99, 100]) / 1e3
    return Felt(len(times), float(p50), float(p99), float(most))


@contextmanager
def _readers(folder: Path, count: int) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")
    channels: list[Connection] = []
    processes: list[SpawnProcess] = []
    try:
        for seed in range(count):
            ours, theirs = context.Pipe()
            channels.append(ours)
            process = context.Process(target=_read, args=(str(folder), seed, theirs), daemon=True)
            process.start()
            processes.append(process)
            theirs.close()
        for channel in channels:
            channel.recv()
        yield channels
        for channel in channels:
            channel.send(None)
    except BaseException:  # Ctrl-C, or a reader that has died: nobody will tell the others
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.join()
        for channel in channels:
            channel.close()


def _felt_by_all(channels: list[Connection]) -> Felt | None:
    """Of all readers: their gets together, the median of the others, and the longest of all."""
    if not channels:
        return None
    found = [channel.recv() for channel in channels]
    return Felt(
        sum(felt.gets for felt in found),
        statistics.median(felt.p50_us for felt in found),
        statistics.median(felt.p99_us for felt in found),
        max(felt.max_us for felt in found),
    )


# -- the writer -----------------------------------------------------------------------------------


class Writer:
    """Saves one file after the other."""

    def __init__(self, store: EmbeddingStore) -> None:
        self._store = store
        self._saves = 0
        self._contents = [[0] * CHUNKS for _ in range(FILES)]

    def save_for(self, seconds: float) -> float:
        """Saves a second."""
        begun, before = time.monotonic(), self._saves
        while time.monotonic() < begun + seconds:
            self._saves += 1
            file = self._saves % FILES
            for nth in range(CHANGED):
                self._contents[file][(self._saves + nth) % CHUNKS] = self._saves
            self._store.update_document(f"{file}.py", _chunks(file, self._contents[file]))
        return (self._saves - before) / (time.monotonic() - begun)


def case_of(
    folder: Path, writer: Writer, pace: str, readers: int, seconds: float
) -> dict[str, Any]:
    """One case: the readers alone, then beside the writer."""
    with _readers(folder, readers) as channels:
        for channel in channels:
            channel.send((pace, seconds))
        alone = _felt_by_all(channels)
        for channel in channels:
            channel.send((pace, seconds))
        saves = writer.save_for(seconds)
        beside = _felt_by_all(channels)
    return {
        "pace": pace,
        "readers": readers,
        "saves_per_second": saves,
        "alone": None if alone is None else alone._asdict(),
        "beside": None if beside is None else beside._asdict(),
    }


def rounds_of(
    folder: Path,
    rounds: int,
    seconds: float,
    readers: Sequence[int] = READERS,
    paces: Sequence[str] = PACES,
) -> Iterator[dict[str, Any]]:
    """Every case of every round."""
    fill(folder)
    with EmbeddingStore.open(folder, _CONFIG) as store:
        writer = Writer(store)
        writer.save_for(seconds / 2)  # warm
        for number in range(rounds):
            cases = [("none", 0), *((pace, count) for pace in paces for count in readers)]
            random.Random(number).shuffle(cases)
            for pace, count in cases:
                store.maintain()
                case = case_of(folder, writer, pace, count, seconds)
                yield {"round": number, "seconds": seconds, **case}


# -- the table ------------------------------------------------------------------------------------


def table_of(found: list[dict[str, Any]]) -> list[str]:
    """Medians over the rounds; each ratio within its round, with the least and the most."""
    nothing = {one["round"]: one["saves_per_second"] for one in found if not one["readers"]}
    lines = [
        f"without readers: {statistics.median(nothing.values()):.0f} saves a second",
        "",
        "| readers | pace | saves a second | of those without readers | gets a second, all "
        "| get p50: alone, beside | get p99: alone, beside | longest get beside |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for pace in PACES:
        for readers in READERS:
            own = [one for one in found if (one["pace"], one["readers"]) == (pace, readers)]
            lines.append(_row_of(own, nothing))
    return lines


def _row_of(own: list[dict[str, Any]], nothing: dict[int, float]) -> str:
    def middle(part: str, name: str) -> float:
        return float(statistics.median(one[part][name] for one in own))

    saves = statistics.median(one["saves_per_second"] for one in own)
    ratios = [one["saves_per_second"] / nothing[one["round"]] for one in own]
    ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    seconds = statistics.median(one["seconds"] for one in own)
    gets = middle("beside", "gets") / seconds
    longest = max(one["beside"]["max_us"] for one in own) / 1e3
    return (
        f"| {own[0]['readers']} | {own[0]['pace']} | {saves:.0f} | {ratio} | {gets:,.0f} "
        f"| {middle('alone', 'p50_us'):.2f}, {middle('beside', 'p50_us'):.2f} us "
        f"| {middle('alone', 'p99_us'):.0f}, {middle('beside', 'p99_us'):.0f} us "
        f"| {longest:.1f} ms |"
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each stretch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="on the disk that is meant; default: a temporary one")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        for case in rounds_of(Path(name) / "store", given.rounds, given.seconds):
            found.append(case)
            print(json.dumps(case), flush=True)  # noqa: T201
    print("\n".join(table_of(found)))  # noqa: T201


if __name__ == "__main__":
    main()
