"""Bits a value and decoding speed of frames by kind: what decision 0020 rests on.

    python suites/bench/codec_sizes.py [--recorded FOLDER]

Bits are of whole frames, headers included, without and with the codes that search scans. Speed is
float32 bytes made in a second of one thread's CPU time, 1 000 vectors by `decode_frames` and by
`get_many` of a store whose tiers are off: the best of ten, so that other work matters little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

from fixtures.titan.recorded import usual_folder  # noqa: E402
from titanstore import EmbeddingStore, StoreConfig  # noqa: E402
from titanstore.codec.choose import decode_frame, decode_frames, encode_frame  # noqa: E402

Rows = NDArray[np.float32]
SETS = ("v1_chunks", "v2_scaled_bf16", "v2_token_mean", "v2_token_mean_short", "image_v1")
COUNT = 1_000


def populations(folder: Path) -> Iterator[tuple[str, Rows]]:
    """Recorded sets; of v1 also those on its grid alone, which 3 % are not."""
    for name in SETS:
        with np.load(folder / f"{name}.npz") as archive:
            vectors = archive["vectors"]
        yield name, vectors
        if name == "v1_chunks":
            yield "v1 on the grid", vectors[~(vectors.view(np.uint32) & 0xFFFF).any(axis=1)]


def best_s(call: Callable[[], object], clock: Callable[[], float], repeats: int = 10) -> float:
    """The least of several calls."""
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


def measured(vectors: Rows, *, with_codes: bool) -> list[float]:
    """Bits a value; MB/s by `decode_frames`, by `get_many`; us of one decode, a vector put."""
    frames = [encode_frame(vector, with_codes=with_codes) for vector in vectors]
    bits = 8 * sum(map(len, frames)) / vectors.size
    places = np.arange(COUNT) % len(frames)
    wanted = vectors[places]
    many = [memoryview(frames[place]) for place in places]
    out = np.empty_like(wanted)
    batch = best_s(lambda: decode_frames(many, out), time.thread_time)
    assert np.array_equal(out.view(np.uint32), wanted.view(np.uint32))
    one = best_s(lambda: decode_frame(many[0], out[0]), time.perf_counter, 300)
    config = StoreConfig(
        search=with_codes,
        hot_bytes_max=0,
        warm_bytes_max=0,
        prefetch=False,
        durability="power_cut_may_lose_store",
    )
    batches = [[f"{call} {number}" for number in range(COUNT)] for call in range(3)]
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddingStore.open(Path(folder) / "store", config) as store,
    ):
        unused = iter(batches)
        put = best_s(lambda: store.put_many(next(unused), wanted), time.thread_time, 3)
        got = best_s(lambda: store.get_many(batches[0]), time.thread_time)
    figures = [bits, wanted.nbytes / batch / 1e6, wanted.nbytes / got / 1e6, one * 1e6]
    return [*figures, put * 1e6 / COUNT]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recorded", type=Path, default=usual_folder())
    folder = parser.parse_args().recorded
    if folder is None:
        raise SystemExit("no folder of recorded vectors; name one with --recorded")
    names = ("bits a value", "decode_frames MB/s", "get_many MB/s", "decode us", "put_many us")
    sys.stdout.write(" | ".join(("set", "codes", *names)) + "\n")
    for name, vectors in populations(folder):
        for with_codes in (False, True):
            figures = measured(vectors, with_codes=with_codes)
            cells = [f"{figures[0]:.3f}", *(f"{figure:.0f}" for figure in figures[1:3])]
            cells += [f"{figure:.1f}" for figure in figures[3:]]
            sys.stdout.write(" | ".join((name, "yes" if with_codes else "no", *cells)) + "\n")


if __name__ == "__main__":
    main()
