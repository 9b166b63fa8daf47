"""How long does a frame take to make and to read?

Recorded Titan vectors where their folder is there, otherwise synthetic ones on the same grids and
labelled so (`extra_info`). A round is one vector, another each time; its result is compared with
the bits that went in, between the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from suites.bench.checked import Checked, same_bits
from titanstore.codec.choose import CODECS, decode_frame, decode_frames, encode_frame
from titanstore.codec.frame import parse_header

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "titan"
SEED = 20_240_601
Vectors = NDArray[np.float32]
Size = Literal["smoke", "full"]
ROUNDS: dict[Size, int] = {"smoke": 20, "full": 5_000}
BATCH_VECTORS: dict[Size, int] = {"smoke": 50, "full": 1_000}
BATCH_ROUNDS: dict[Size, int] = {"smoke": 3, "full": 200}


def _bfloat16(values: Vectors) -> Vectors:
    return (values.view(np.uint32) >> 16 << 16).astype(np.uint32).view(np.float32)


# kind -> (file of recorded vectors, dimension, synthetic stand-in from normal noise)
KINDS: dict[str, tuple[str, int, Callable[[Vectors], Vectors]]] = {
    "v1": ("v1_chunks.npz", 1536, _bfloat16),
    "scaled": ("v2_scaled_bf16.npz", 1024, lambda noise: _bfloat16(noise) / np.float32(1.1734)),
    "image": (
        "image_v1.npz",
        1024,
        lambda noise: _bfloat16(noise) * (np.float32(1) / np.float32(1.1734)),
    ),
    "token-mean": ("v2_token_mean.npz", 1024, lambda noise: noise),
    "token-mean-short": ("v2_token_mean_short.npz", 1024, lambda noise: noise),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


class Population(NamedTuple):
    """Distinct vectors of one kind, and where they come from."""

    vectors: Vectors
    source: Literal["recorded", "synthetic"]


@pytest.fixture
def size(request: pytest.FixtureRequest) -> Size:
    chosen: Size = request.config.getoption("--size")
    return chosen


@pytest.fixture
def population(kind: str, size: Size) -> Population:
    file, dimension, imitate = KINDS[kind]
    if (RECORDED / file).exists():
        with np.load(RECORDED / file) as archive:
            return Population(archive["vectors"], "recorded")
    seed = SEED if size == "full" else time.time_ns() % 2**32
    print(f"seed {seed}")  # noqa: T201
    noise = np.random.default_rng(seed).standard_normal((60, dimension)).astype(np.float32)
    return Population(imitate(noise), "synthetic")


def _describe(benchmark: Any, population: Population, frames: list[bytes]) -> None:
    names = [CODECS[parse_header(frame).codec_id].name for frame in frames]
    benchmark.extra_info.update(
        source=population.source,
        vectors=len(frames),
        codecs={name: names.count(name) for name in sorted(set(names))},
        saved_percent=round(100 * (1 - sum(map(len, frames)) / population.vectors.nbytes), 2),
    )


@each_kind
def test_bench_encode_frame(benchmark: Any, population: Population, size: Size) -> None:
    vectors = list(population.vectors)
    frames = [encode_frame(vector) for vector in vectors]

    def check(place: int, frame: bytes) -> None:
        assert frame == frames[place]
        assert same_bits(decode_frame(frame), vectors[place])

    run = Checked(encode_frame, vectors, check)
    benchmark.pedantic(run.timed, setup=run.item, rounds=ROUNDS[size], warmup_rounds=5)
    run.check_last()
    _describe(benchmark, population, frames)


@each_kind
def test_bench_decode_frame(benchmark: Any, population: Population, size: Size) -> None:
    vectors = list(population.vectors)
    frames = [encode_frame(vector) for vector in vectors]

    def check(place: int, decoded: Vectors) -> None:
        assert same_bits(decoded, vectors[place])

    run = Checked(decode_frame, frames, check)
    benchmark.pedantic(run.timed, setup=run.item, rounds=ROUNDS[size], warmup_rounds=5)
    run.check_last()
    _describe(benchmark, population, frames)


@each_kind
def test_bench_decode_many_frames(benchmark: Any, population: Population, size: Size) -> None:
    """As many frames as get_many is asked for; smaller sets are gone through several times."""
    distinct = [encode_frame(vector) for vector in population.vectors]
    places = np.arange(BATCH_VECTORS[size]) % len(distinct)
    frames = [distinct[place] for place in places]
    wanted = population.vectors[places]
    out = np.empty_like(wanted)

    def check(_: int, __: None) -> None:
        assert same_bits(out, wanted)
        out.fill(np.nan)

    run = Checked(lambda batch: decode_frames(batch, out), [frames], check)
    benchmark.pedantic(run.timed, setup=run.item, rounds=BATCH_ROUNDS[size], warmup_rounds=1)
    run.check_last()
    _describe(benchmark, population, distinct)
    if benchmark.stats is not None:  # None under --benchmark-disable
        per_second = wanted.nbytes / benchmark.stats.stats.median
        benchmark.extra_info["decoded_megabytes_per_second"] = round(per_second / 1e6, 1)
