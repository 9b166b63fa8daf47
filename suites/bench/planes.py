"""What a plane of codes costs on disk and in time, in the forms that were considered.

    python suites/bench/planes.py [--recorded FOLDER] [sizes|kernels|errors|entropy|facts|cold]

What reports/decisions/0010 rests on. Sizes are shares of raw float32, headers and facts included;
times are the best of many, in one thread.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numkong
import numpy as np
from numpy.typing import NDArray

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

from fixtures.titan.recorded import usual_folder  # noqa: E402
from titanstore import EmbeddingStore, StoreConfig  # noqa: E402
from titanstore.codec.choose import encode_frame  # noqa: E402
from titanstore.codec.frame import parse_header  # noqa: E402
from titanstore.codec.planes import EXPONENTS  # noqa: E402
from titanstore.codec.sliced import slice_words  # noqa: E402
from titanstore.segments.plane import plane_rows, row_bytes  # noqa: E402

Rows = NDArray[np.float32]
SETS = ("v1_chunks", "v2_scaled_bf16", "v2_token_mean")
FACTS_BYTES = 32


def recorded(folder: Path, name: str) -> Rows:
    """Distinct recorded vectors."""
    with np.load(folder / f"{name}.npz") as archive:
        found: Rows = np.unique(archive["vectors"], axis=0)
    return found


def say(text: str = "") -> None:
    """One line."""
    sys.stdout.write(f"{text}\n")


def best_s(call: Callable[[], object], repeats: int = 200) -> float:
    """The shortest of many calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def sizes(folder: Path) -> None:
    """Bytes of vectors and what search scans, in each form."""
    say("share of raw  frames alone  16-bit halves  frames + int8  sliced + int8")
    for name in SETS:
        vectors = recorded(folder, name)
        dimension = vectors.shape[1]
        alone = sum(len(encode_frame(vector)) for vector in vectors)
        frames = [encode_frame(vector, with_codes=True) for vector in vectors]
        sliced = sum(map(len, frames)) - dimension * sum(
            parse_header(frame).has_codes for frame in frames
        )
        # the upper half of each word as the plane, the lower one through zstd where it helps
        halves = 0
        for vector in vectors:
            low = (vector.view(np.uint32) & 0xFFFF).astype("<u2").tobytes()
            packed = EXPONENTS.compress(low) if any(low) else b""
            halves += 2 * dimension + 9 + min(len(low), len(low if packed is None else packed))
        count = len(vectors)
        stored = (
            alone,
            halves + FACTS_BYTES * count,
            alone + row_bytes(dimension) * count,
            sliced + row_bytes(dimension) * count,
        )
        shares = "".join(f"{100 * each / vectors.nbytes:15.1f}" for each in stored)
        say(f"{name:<14}{shares}")


def kernels(_folder: Path) -> None:
    """One query against all rows."""
    rng = np.random.default_rng(1)
    say("rows x dimension   int8    float16  float32 (numpy)   ms")
    for count, dimension in ((2_200, 1024), (10_000, 1024), (2_200, 1536), (10_000, 1536)):
        rows = rng.standard_normal((count, dimension)).astype(np.float32)
        query = rng.standard_normal((1, dimension)).astype(np.float32)
        codes = np.clip(np.rint(rows * 30), -127, 127).astype(np.int8)
        asked = np.clip(np.rint(query * 30), -127, 127).astype(np.int8)
        packed = numkong.dots_pack(asked)
        half, asked_half = rows.astype(np.float16), query.astype(np.float16)
        line = [
            best_s(partial(numkong.dots_packed, codes, packed)),
            best_s(partial(numkong.cdist, asked_half, half, metric="dot"), 60),
            best_s(partial(np.matmul, rows, query[0]), 60),
        ]
        say(f"{count:>6} x {dimension:<6}" + "".join(f"{1e3 * each:10.3f}" for each in line))


def errors(folder: Path) -> None:
    """Relative error |x - x'| / |x| of one byte a value: median over the vectors."""
    say("                int8 codes  e4m3")
    for name in SETS:
        vectors = recorded(folder, name)[:300]
        frames = [encode_frame(vector, with_codes=True) for vector in vectors]
        rows = plane_rows(list(vectors), frames)
        codes = np.median([row.error / math.sqrt(row.square) for row in rows])
        # 3 bits of mantissa, exponents down to 2^-9 of a scale that puts the largest at 448
        wide = vectors.astype(np.float64)
        scaled = wide * (448 / np.abs(wide).max(axis=1, keepdims=True))
        _, exponents = np.frexp(scaled)
        units = np.exp2(np.maximum(exponents - 4, -9))
        rest = scaled - np.rint(scaled / units) * units
        float8 = np.median(np.linalg.norm(rest, axis=1) / np.linalg.norm(scaled, axis=1))
        say(f"{name:<16}{100 * codes:8.2f} %{100 * float8:8.2f} %")


def entropy(folder: Path) -> None:
    """What codes would take if they were not read in place but entropy-coded."""
    say("share of raw  codes as stored  by an ideal entropy code of each vector's own")
    for name in SETS:
        vectors = recorded(folder, name)
        total = 0.0
        for vector in vectors:
            codes, _ = slice_words(vector.view(np.uint32))
            _, counts = np.unique(codes, return_counts=True)
            total -= float((counts * np.log2(counts / codes.size)).sum()) / 8
        count = vectors.size
        say(f"{name:<14}{100 * count / vectors.nbytes:20.1f}{100 * total / vectors.nbytes:22.1f}")


def facts(_folder: Path) -> None:
    """Facts of a row, against two sums by math.fsum; and a put of 1 000 vectors."""
    vectors = list(np.random.default_rng(2).standard_normal((320, 1536)).astype(np.float32))
    frames = [encode_frame(vector, with_codes=True) for vector in vectors]

    def by_fsum() -> None:
        for vector in vectors:
            wide = vector.astype(np.float64)
            math.fsum((wide * wide).tolist())
            math.fsum((wide * wide).tolist())

    count = len(vectors)
    encoding = best_s(lambda: [encode_frame(each, with_codes=True) for each in vectors], 5) / count
    say(f"frame, us a vector          {1e6 * encoding:8.1f}")
    say(f"two sums by fsum            {1e6 * best_s(by_fsum, 5) / count:8.1f}")
    of_rows = best_s(lambda: plane_rows(vectors, frames), 20) / count
    say(f"rows                        {1e6 * of_rows:8.1f}")
    words = np.random.default_rng(3).standard_normal((1_000, 1536)).astype(np.float32)
    many = (words.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    for search in (False, True):
        times = []
        for _ in range(5):
            with (
                tempfile.TemporaryDirectory() as place,
                EmbeddingStore.open(place, StoreConfig(search=search)) as store,
            ):
                start = time.perf_counter()
                store.put_many([f"k{number}" for number in range(1_000)], many, "doc")
                times.append(time.perf_counter() - start)
        say(f"put_many of 1 000, ms       {1e3 * min(times):8.1f}  search={search}")


def cold(_folder: Path) -> None:
    """get of one vector with the pages of segments and planes dropped: p50 and p90 of 300."""
    words = np.random.default_rng(4).standard_normal((3_000, 1536)).astype(np.float32)
    many = (words.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[2]) as folder:
        for search in (False, True):
            with EmbeddingStore.open(
                Path(folder) / str(search), StoreConfig(search=search)
            ) as store:
                store.put_many([f"k{number}" for number in range(3_000)], many)
        times: dict[bool, list[float]] = {False: [], True: []}
        for number in np.random.default_rng(5).permutation(2_999)[:300]:
            for search, taken in times.items():
                taken.append(cold_get_s(Path(folder) / str(search), f"k{number}"))
        for search, taken in times.items():
            p50, p90 = np.quantile(taken, [0.5, 0.9])
            say(f"cold get, us: p50 {1e6 * p50:6.0f}, p90 {1e6 * p90:6.0f}  search={search}")


def cold_get_s(path: Path, key: str) -> float:
    """Seconds of one get after another vector was read and all pages were dropped."""
    config = StoreConfig(hot_bytes_max=0, warm_bytes_max=0, prefetch=False)
    with EmbeddingStore.open(path, config, read_only=True) as store:
        store.get("k2999")
        drop(path)
        start = time.perf_counter()
        store.get(key)
        return time.perf_counter() - start


def drop(path: Path) -> None:
    """Have the kernel forget the pages of segments and planes."""
    for file in (path / "segments").iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


PARTS = (sizes, kernels, errors, entropy, facts, cold)


def main() -> None:
    """Run the parts asked for."""
    names = [part.__name__ for part in PARTS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *names])
    parser.add_argument("--recorded", type=Path, default=usual_folder())
    given = parser.parse_args()
    for part in PARTS:
        if not given.parts or part.__name__ in given.parts:
            part(given.recorded)
            say()


if __name__ == "__main__":
    main()
