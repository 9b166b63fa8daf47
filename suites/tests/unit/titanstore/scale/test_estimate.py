"""Risk: a plan that is not the product of what was given."""

from __future__ import annotations

import pytest

from titanstore.scale.estimate import Quantities, plan


def test_a_plan_is_the_product_of_what_was_given() -> None:
    given = Quantities(
        vectors=10**9,
        dimension=1024,
        frame_bytes=1000,
        row_bytes=52,
        part_rows=100_000,
        load_rate=1000,
        verify_rate=2000,
        multiply_rate=1e10,
        workers=100,
        tokens=100,
        token_price=0.00002,
        calls_rate=1000,
    )
    found = plan(given)
    assert found.raw_bytes == 4.096e12
    assert found.data_bytes == 3.1e12
    assert found.index_bytes == 136e9
    assert (found.parts, found.fragments, found.index_partitions) == (10_000, 10_000, 31_622)
    assert found.load_hours == pytest.approx(10**4 / 3600)
    assert found.verify_hours == pytest.approx(5_000 / 3600)
    assert found.embed_hours == pytest.approx(10**6 / 3600)
    assert found.embed_cost == pytest.approx(2000)
    compared = 2 * 1024 * 31_622 / 1e10
    assert found.index_hours == pytest.approx(compared * 10**7 / 3600)
    assert found.train_hours == pytest.approx(compared * 64 * 31_622 * 50 / 3600)
    worked = 100 * (10**6 + 5_000 + compared * 10**7) + compared * 64 * 31_622 * 50
    assert found.compute_cost == pytest.approx(worked / 3600 * 0.05)
    assert found.storage_cost_month == pytest.approx(3236 * 0.023)
    for name in ("vectors", "workers", "load_rate", "tokens"):
        with pytest.raises(ValueError, match=name):
            Quantities(**{name: -1})
