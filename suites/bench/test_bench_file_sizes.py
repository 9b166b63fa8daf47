"""Does a save, or reading a file whole, cost more the larger the file is?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.documents import document_rows
from harness.benchmarks import note_limit
from suites.bench.checked import Checked, same_bits
from suites.bench.conftest import CHUNKS, DIMENSION
from titanstore import EmbeddingStore

FILES = {"smoke": [1, CHUNKS], "full": [1, CHUNKS, 100, 1_000]}  # chunks of one
SIZES = sorted({chunks for several in FILES.values() for chunks in several})
ROUNDS = {"smoke": 3, "full": 200}
each_file = pytest.mark.parametrize("chunks", SIZES)


def _content(chunks: int) -> list[tuple[str, Any]]:
    rows = document_rows(23, 1, chunks, DIMENSION)
    return [(f"chunk {number}", rows[number]) for number in range(chunks)]


def _needs(size: str, chunks: int) -> None:
    if chunks not in FILES[size]:
        pytest.skip(f"files of {chunks} chunks are measured at full size")


@each_file
def test_bench_save_of_one_chunk(
    benchmark: Any, told: dict[str, Any], size: str, tmp_path: Path, chunks: int
) -> None:
    """The middle chunk of a file has other text; durable when it returns."""
    _needs(size, chunks)
    before = _content(chunks)
    middle = chunks // 2
    other = ("other text", document_rows(29, 1, 1, DIMENSION)[0])
    states = [[*before[:middle], other, *before[middle + 1 :]], before]
    with EmbeddingStore.open(tmp_path / "store") as store:
        store.update_document("file", before)
        bytes_whole = store.stats().segment_bytes

        def check(place: int, _: Any) -> None:
            keys, vectors = zip(*states[place], strict=True)
            assert store.document_keys("file") == list(keys)
            assert same_bits(store.get(keys[middle]), vectors[middle])

        run = Checked(lambda state: store.update_document("file", state), states, check)
        benchmark.pedantic(run.timed, setup=run.item, rounds=ROUNDS[size], warmup_rounds=2)
        run.check_last()
        known = dict([*before, other])
        keys = store.document_keys("file")
        assert len(keys) == chunks
        assert all(same_bits(store.get(key), known[key]) for key in keys)
    told |= {"chunks": chunks, "segment_bytes_of_the_file": bytes_whole}
    if chunks == CHUNKS:
        note_limit(told, what="half of all saves", statistic="p50", limit=0.01)


@each_file
def test_bench_file_read_whole(
    benchmark: Any, told: dict[str, Any], size: str, tmp_path: Path, chunks: int
) -> None:
    """`get_many` of all chunks of a file, after which the tiers are as they were."""
    _needs(size, chunks)
    content = _content(chunks)
    keys = [key for key, _ in content]
    wanted = np.stack([vector for _, vector in content])
    with EmbeddingStore.open(tmp_path / "store") as store:
        store.update_document("file", content)

        def check(_: int, answer: Any) -> None:
            assert same_bits(answer, wanted)

        run = Checked(store.get_many, [keys], check)
        benchmark.pedantic(run.timed, setup=run.item, rounds=ROUNDS[size], warmup_rounds=2)
        run.check_last()
    told["chunks"] = chunks
