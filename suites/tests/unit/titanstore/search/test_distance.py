"""Distances are the same bits everywhere: those of correctly rounded sums."""

from __future__ import annotations

import math
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fixtures.vectors import DIMENSION_MAX, GENERATORS
from titanstore.search.distance import Metric, distances
from titanstore.sums import exact_sums

Wide = NDArray[np.float64]
METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")
# magnitudes of the products of two float32 values
LARGEST, SMALLEST = 2.0**257, 2.0**-298
terms = st.one_of(
    st.floats(-LARGEST, LARGEST, allow_subnormal=False),
    st.floats(-4, 4, allow_subnormal=False),
    st.builds(math.ldexp, st.integers(-(2**48), 2**48), st.integers(-298, 200)),
    st.sampled_from([0.0, -0.0, SMALLEST, -SMALLEST, LARGEST, -LARGEST, 1.0, 2.0**-53, 2.0**-54]),
)


class Fallback:
    """Counts how often `math.fsum` has to decide."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        fsum = math.fsum

        def counted(values: list[float]) -> float:
            self.rows += 1
            return fsum(values)

        monkeypatch.setattr(math, "fsum", counted)


@pytest.fixture
def fallback(monkeypatch: pytest.MonkeyPatch) -> Fallback:
    return Fallback(monkeypatch)


def same_bits(found: Wide, wanted: list[float]) -> bool:
    return found.tobytes() == np.array(wanted, np.float64).tobytes()


def check_sums(rows: Wide) -> None:
    before = rows.copy()
    assert same_bits(exact_sums(rows), [math.fsum(row) for row in rows.tolist()])
    assert same_bits(rows.ravel(), before.ravel().tolist())


@given(st.lists(terms, min_size=1, max_size=40).map(lambda row: np.array([row])))
@example(np.array([[1.0, 2.0**-53]]))  # a tie, to even: 1
@example(np.array([[1.0, 2.0**-53, 2.0**-150]]))  # a tie but for one hair: up
@example(np.array([[1.0, 2.0**-53, -(2.0**-150)]]))  # and down
@example(np.array([[1.0 + 2.0**-52, 2.0**-53]]))  # a tie, to even: up
@example(np.array([[1.0, -(2.0**-54)]]))  # a tie below a power of two
@example(np.array([[LARGEST, SMALLEST, -LARGEST]]))
@example(np.array([[-0.0]]))
@settings(max_examples=300, deadline=None)
def test_sums_are_those_of_fsum(rows: Wide) -> None:
    check_sums(rows)


@given(st.data(), st.integers(1, 6), st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_rows_do_not_touch_each_other(data: st.DataObject, count: int, width: int) -> None:
    check_sums(data.draw(arrays(np.float64, (count, width), elements=terms)))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 63, 64, 65, 1024, DIMENSION_MAX]))
@settings(max_examples=40, deadline=None)
def test_sums_that_cancel(seed: int, width: int) -> None:
    """Each term twice with opposite signs, and a few that are left over."""
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((2, width // 2)) * 2.0 ** rng.integers(-280, 200, (2, width // 2))
    extra = rng.standard_normal((2, width - 2 * (width // 2) + 2)) * 2.0**-100
    rows = np.concatenate([half, -half, extra], axis=1)
    check_sums(rng.permuted(rows, axis=1))


@given(st.integers(0, 2**32 - 1), st.integers(2, 200), st.sampled_from([-2, -1, 1, 2]))
@settings(max_examples=60, deadline=None)
def test_sums_next_to_a_tie(seed: int, width: int, hairs: int) -> None:
    """Their rounding depends on terms 2^-100 of the largest."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-(2**40), 2**40, (3, width)).astype(np.float64)
    total = np.array([[math.fsum(row)] for row in whole.tolist()])
    half_ulp = np.spacing(np.abs(total)) / 2
    check_sums(np.concatenate([whole, half_ulp, half_ulp * 2.0**-60 * hairs], axis=1))


@pytest.mark.parametrize("name", ["bfloat16", "bfloat16_divided", "token_mean", "gaussians"])
def test_fsum_is_hardly_ever_needed(name: str, fallback: Fallback) -> None:
    """It costs 25 us a row; sums of products of few bits do tie, at some dimensions often."""
    rows = GENERATORS[name](np.random.default_rng(1), 1000, 1024).astype(np.float64)
    exact_sums(rows * rows[0])
    assert fallback.rows <= 10


def test_fsum_decides_ties(fallback: Fallback) -> None:
    """Without it these would be decided by the order of summation."""
    rows = np.array([[1.0, 2.0**-53], [1.0 + 2.0**-52, 2.0**-53], [1.0, 0.25]])
    assert exact_sums(rows).tolist() == [1.0, 1.0 + 2.0**-51, 1.25]
    assert fallback.rows == 2


# ---------------------------------------------------------------- distances of vectors


def oracle(metric: Metric, vector: list[float], query: list[float]) -> float:
    if metric == "l2":
        return math.fsum((x - q) * (x - q) for x, q in zip(vector, query, strict=True))
    dot = math.fsum(x * q for x, q in zip(vector, query, strict=True))
    if metric == "dot":
        return 1.0 - dot
    length = math.sqrt(math.fsum(x * x for x in vector))
    length *= math.sqrt(math.fsum(q * q for q in query))
    return 1.0 - (dot / length if length else 0.0)


def hostile(seed: int, dimension: int) -> NDArray[np.float32]:
    """Finite vectors of every kind, doubled, negated, and an ulp apart."""
    rng = np.random.default_rng(seed)
    rows = [generate(rng, 2, dimension) for generate in GENERATORS.values()]
    vectors = np.concatenate([*rows, np.full((1, dimension), 3e38, np.float32)])
    vectors = vectors[np.isfinite(vectors).all(axis=1)]
    near = vectors[:4].view(np.uint32) ^ np.uint32(1)
    return np.concatenate([vectors, vectors[:2], -vectors[:2], near.view(np.float32)])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 8, 65])
def test_distances_are_the_oracles(metric: Metric, dimension: int) -> None:
    vectors = hostile(dimension, dimension)
    wide = vectors.astype(np.float64)
    squares = exact_sums(wide * wide)
    room = np.empty_like(wide), np.empty((len(wide) + 2, dimension))
    for query, square in zip(wide, squares[:, None], strict=True):
        wanted = [oracle(metric, vector.tolist(), query.tolist()) for vector in wide]
        assert same_bits(distances(metric, vectors, query, square), wanted)
        assert same_bits(distances(metric, vectors, query, square, room), wanted)


@pytest.mark.parametrize("metric", METRICS)
def test_each_row_may_have_a_query_of_its_own(metric: Metric) -> None:
    vectors = hostile(5, 65)
    wide = vectors[::-1].astype(np.float64)
    squares = exact_sums(wide * wide)
    wanted = [
        distances(metric, vector[None], query, square[None])[0]
        for vector, query, square in zip(vectors, wide, squares, strict=True)
    ]
    assert same_bits(distances(metric, vectors, wide, squares), wanted)


def test_cosine_of_a_zero_vector_is_one() -> None:
    vectors = np.array([[0.0, -0.0], [1.0, 2.0]], np.float32)
    query, square = np.array([3.0, 4.0]), np.array([25.0])
    assert distances("cosine", vectors[:1], query, square).tolist() == [1.0]
    assert distances("cosine", vectors, np.zeros(2), np.zeros(1)).tolist() == [1.0, 1.0]


def test_the_oracle_itself() -> None:
    """Against rational arithmetic, so that fsum is not trusted blindly."""
    rng = np.random.default_rng(3)
    x, q = rng.standard_normal((2, 50)).astype(np.float32).astype(np.float64)
    products = sum(Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), q.tolist(), strict=True))
    assert oracle("dot", x.tolist(), q.tolist()) == 1.0 - float(products)
