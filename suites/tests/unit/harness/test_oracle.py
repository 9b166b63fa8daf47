"""Risk: the truth that searches are compared with is itself wrong, or wrong in its last bit."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.oracle import METRICS, Found, Oracle, cosine_similarity, distance

Vectors = NDArray[np.float32]

# near-ties, duplicates, zeros and very different sizes are all likely
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1 + 2**-23, 1 - 2**-24, 2.0**-126, 3e18]),
    st.floats(-4, 4, width=32),
    st.floats(-(2.0**50), 2.0**50, width=32),
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], Vectors, Vectors, int]:
    dimension, count = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    row = st.lists(VALUES, min_size=dimension, max_size=dimension)
    rows = draw(st.lists(row, min_size=count, max_size=count))
    copies = draw(st.lists(st.integers(0, count - 1), max_size=4))
    rows += [rows[place] for place in copies]
    keys = draw(st.permutations([f"k{place:02d}" for place in range(len(rows))]))
    query = draw(st.one_of(row, st.sampled_from(rows)))
    return (
        list(keys),
        np.array(rows, np.float32),
        np.array(query, np.float32),
        draw(st.integers(1, 20)),
    )


def fraction_distance(x: Vectors, q: Vectors, metric: str) -> float:
    """The definition in exact arithmetic, rounded where the definition rounds."""
    a, b = [float(value) for value in x], [float(value) for value in q]
    if metric == "l2":
        terms = []
        for left, right in zip(a, b, strict=True):
            difference = left - right
            terms.append(Fraction(difference * difference))
        return float(sum(terms, Fraction(0)))

    def dot(left: list[float], right: list[float]) -> float:
        exact = (Fraction(u) * Fraction(v) for u, v in zip(left, right, strict=True))
        return float(sum(exact, Fraction(0)))

    if metric == "dot":
        return 1.0 - dot(a, b)
    size = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
    return 1.0 - dot(a, b) / size if size else 1.0


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_it_is_the_definition_in_exact_arithmetic(
    metric: str, case: tuple[list[str], Vectors, Vectors, int]
) -> None:
    keys, vectors, query, k = case
    everything = [
        Found(key, fraction_distance(row, query, metric))
        for key, row in zip(keys, vectors, strict=True)
    ]
    wanted = sorted(everything, key=lambda one: (one.distance, one.key))[:k]
    assert Oracle(keys, vectors).search(query, k, metric) == wanted


@pytest.mark.parametrize("metric", METRICS)
def test_scan_and_definition_agree_on_many_rows(metric: str) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((500, 96), dtype=np.float32)
    vectors[100:110] = vectors[0]
    vectors[200:240] = np.nextafter(vectors[1], np.float32(9))
    keys = [f"{number:05d}" for number in rng.permutation(500)]
    oracle = Oracle(keys, vectors)
    for query in (vectors[0], vectors[1], vectors[7] + vectors[9], np.zeros(96, np.float32)):
        everything = [
            Found(key, distance(row, query, metric)) for key, row in zip(keys, vectors, strict=True)
        ]
        wanted = sorted(everything, key=lambda one: (one.distance, one.key))
        assert oracle.search(query, 30, metric) == wanted[:30]
        assert oracle.search(query, 900, metric) == wanted


def test_many_queries_are_as_many_single_ones() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((40, 8), dtype=np.float32)
    oracle = Oracle([str(row) for row in range(40)], vectors)
    queries = rng.standard_normal((300, 8), dtype=np.float32)
    together = oracle.search_many(queries, 3)
    assert together == [oracle.search(query, 3) for query in queries]


def test_what_is_not_finite_is_never_found() -> None:
    vectors = np.ones((3, 4), np.float32)
    vectors[0, 1], vectors[2, 3] = np.nan, np.inf
    oracle = Oracle(["a", "b", "c"], vectors)
    assert [one.key for one in oracle.search(np.ones(4, np.float32), 10)] == ["b"]


def test_equal_distances_come_in_order_of_their_keys() -> None:
    vectors = np.ones((3, 4), np.float32) * np.array([[1], [2], [4]], np.float32)
    oracle = Oracle(["b", "c", "a"], vectors)
    found = oracle.search(np.ones(4, np.float32), 3)
    assert [one.key for one in found] == ["a", "b", "c"]
    assert {one.distance for one in found} == {0.0}


def test_a_sum_does_not_depend_on_the_order_of_its_terms() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 1000), dtype=np.float32) * np.float32(1e10)
    order = rng.permutation(1000)
    assert cosine_similarity(a, b) == cosine_similarity(a[order], b[order])
    assert distance(a, b, "l2") == distance(a[order], b[order], "l2")


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="no metric"):
        distance(np.ones(2, np.float32), np.ones(2, np.float32), "hamming")
    with pytest.raises(ValueError, match="no metric"):
        Oracle(["a"], np.ones((1, 2), np.float32)).search(np.ones(2, np.float32), 1, "hamming")
    with pytest.raises(ValueError, match="keys for"):
        Oracle(["a"], np.ones((2, 2), np.float32))


def test_nothing_stored_nothing_found() -> None:
    assert Oracle([], np.empty((0, 4), np.float32)).search(np.ones(4, np.float32), 3) == []
