"""Risk: queries that leave the data's own grid, or are all the same."""

from __future__ import annotations

import numpy as np

from fixtures.vectors import GENERATORS
from harness.workload.queries import KINDS, make_queries


def test_queries_are_of_every_kind_in_turn() -> None:
    rng = np.random.default_rng(1)
    stored = GENERATORS["bfloat16"](rng, 50, 64)
    queries = make_queries(stored, 60, rng)
    assert queries.shape == (60, 64)
    assert queries.dtype == np.float32
    assert len({query.tobytes() for query in queries}) == 60
    rows = {row.tobytes() for row in stored}
    for place, query in enumerate(queries):
        assert (query.tobytes() in rows) is (place % len(KINDS) == 1)
        if place % len(KINDS) == 0:
            nearest = min(np.count_nonzero(query != row) for row in stored)
            assert 0 < nearest <= 2
            assert not (query.view(np.uint32) & 0xFFFF).any()


def test_one_row_and_the_same_seed_are_enough() -> None:
    stored = np.arange(8, dtype=np.float32)[None, :]
    once, again = (make_queries(stored, 7, np.random.default_rng(2)) for _ in range(2))
    assert once.tobytes() == again.tobytes()
    assert np.isfinite(once).all()
