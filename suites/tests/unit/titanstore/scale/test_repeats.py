"""Risk: a key that stands twice is not noticed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from titanstore.scale.repeats import Place, hashes_of, suspects


def test_suspects_are_exactly_the_rows_that_share_a_hash(rng: np.random.Generator) -> None:
    for _ in range(20):
        parts = [rng.integers(0, 40, rng.integers(0, 20)).astype(np.uint64) for _ in range(3)]
        others = [rng.integers(0, 60, 8).astype(np.uint64) for _ in range(2)]
        every = [int(each) for part in parts for each in part]
        there = {int(each) for other in others for each in other}
        wanted = [
            Place(number, row)
            for number, part in enumerate(parts)
            for row, each in enumerate(part)
            if every.count(int(each)) > 1 or int(each) in there
        ]
        assert suspects(parts, others) == wanted
    assert suspects([], []) == []


def test_a_key_has_one_hash_whatever_stands_beside_it() -> None:
    digests = [f"{number:032x}" for number in range(50)]
    alone = hashes_of(pa.array(digests))
    mixed = hashes_of(pa.array([*digests, "short", "ключ"]))
    sliced = hashes_of(pa.array(["x" * 32, *digests]).slice(1))
    chunked = hashes_of(pa.chunked_array([digests[:20], digests[20:]]))
    assert len(set(mixed.tolist())) == 52
    for other in (mixed[:50], sliced, chunked):
        assert np.array_equal(alone, other)
