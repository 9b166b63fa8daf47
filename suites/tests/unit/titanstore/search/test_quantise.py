"""Bounds from codes hold the distance: otherwise a near vector is never looked at."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from fixtures.titan.recorded import RecordedSet
from fixtures.vectors import DIMENSION_MAX, GENERATORS, gaussians, token_mean
from titanstore.codec.choose import encode_frame
from titanstore.search.distance import Metric, distances
from titanstore.search.flat import score_rows
from titanstore.search.quantise import quantise, score_values
from titanstore.segments.plane import pack_row, plane_row, row_type

Vectors = NDArray[np.float32]
METRICS: tuple[Metric, ...] = ("cosine", "dot", "l2")


def rows_of(vectors: Vectors, *, compress: bool = True) -> NDArray[np.void]:
    """What a plane holds of vectors that a store was given."""
    packed = bytearray()
    for vector in vectors:
        frame = encode_frame(vector, compress=compress, with_codes=True)
        packed += pack_row(plane_row(vector, frame), 0, 0)
    return np.frombuffer(bytes(packed), row_type(vectors.shape[1]))


def check_bounds(vectors: Vectors, queries: Vectors, *, compress: bool = True) -> float:
    """Assert that each bound holds; the widest interval of a cosine."""
    rows = rows_of(vectors, compress=compress)
    cut = quantise(queries)
    widest = 0.0
    for metric in METRICS:
        lower, upper = score_rows(rows, cut, metric)
        exact = np.stack(
            [
                distances(metric, vectors, query, square)
                for query, square in zip(cut.wide, cut.squares[:, None], strict=True)
            ]
        )
        assert (lower <= exact).all(), metric
        assert (exact <= upper).all(), metric
        if metric == "cosine":
            widest = float((upper - lower).max())
    return widest


def finite(vectors: Vectors) -> Vectors:
    return np.ascontiguousarray(vectors[np.isfinite(vectors).all(axis=1)])


def hostile(seed: int, dimension: int) -> Vectors:
    """Finite vectors of every kind, doubled, negated, scaled to the ends, and an ulp apart."""
    rng = np.random.default_rng(seed)
    rows = [generate(rng, 2, dimension) for generate in GENERATORS.values()]
    one_hot = np.eye(1, dimension, int(rng.integers(dimension)), dtype=np.float32)
    ends = [one_hot * np.float32(scale) for scale in (3.4e38, 1e-45, -1.2e-38, 1)]
    ends += [np.full((1, dimension), value, np.float32) for value in (3.4e38, -1e38, 1e-45, -1e-40)]
    vectors = finite(np.concatenate([*rows, *ends]))
    near = vectors[::3].view(np.uint32) ^ np.uint32(1)
    return finite(np.concatenate([vectors, vectors[:3], -vectors[::2], near.view(np.float32)]))


@given(seed=st.integers(0, 2**32 - 1), dimension=st.integers(1, 40), compress=st.booleans())
@settings(max_examples=25, deadline=None)
def test_bounds_of_hostile_vectors(seed: int, dimension: int, *, compress: bool) -> None:
    vectors = hostile(seed, dimension)
    check_bounds(vectors, vectors, compress=compress)


words = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1 << 31, 1, 0x7F7FFFFF, 0x00800000, 0x3F800000, 0x3F800001, 0x3F7FFFFF]),
    # fixed point near the borders of codes: 127 steps, half a step, one
    st.sampled_from([0x42FE0000, 0x42FFFFFF, 0x42800000, 0x3F000000, 0x3EFFFFFF, 0xBF800000]),
)


@given(st.data(), st.integers(1, 9))
@settings(max_examples=150, deadline=None)
def test_bounds_of_any_words(data: st.DataObject, dimension: int) -> None:
    row = st.lists(words, min_size=dimension, max_size=dimension)
    some = st.lists(row, min_size=1, max_size=4)
    given_words = np.array(data.draw(some) + data.draw(some), np.uint32)
    vectors = finite(given_words.view(np.float32))
    if len(vectors):
        check_bounds(vectors, vectors)


@pytest.mark.parametrize("dimension", [256, 1024, 1025, 1536])
def test_bounds_at_usual_dimensions(dimension: int) -> None:
    vectors = hostile(dimension, dimension)
    check_bounds(vectors, vectors[::5])


def test_bounds_at_the_longest_dimension() -> None:
    """Where an integer sum of products is largest."""
    full = np.full((2, DIMENSION_MAX), 1.9999999, np.float32)
    full[1] *= -1
    vectors = np.concatenate([full, gaussians(np.random.default_rng(0), 2, DIMENSION_MAX)])
    check_bounds(vectors, vectors)


def test_bounds_of_recorded_vectors(recorded_sets: dict[str, RecordedSet]) -> None:
    for found in recorded_sets.values():
        vectors = np.ascontiguousarray(found.vectors[:80])
        assert check_bounds(vectors, vectors[:10]) < 0.1, found.name


def test_bounds_are_narrow_enough_to_choose() -> None:
    """An interval of [0, 2] would hold every distance."""
    vectors = token_mean(np.random.default_rng(4), 100, 1024)
    assert check_bounds(vectors, vectors[:5]) < 0.05


def test_rows_that_are_not_finite_are_never_near() -> None:
    vectors = np.ones((3, 8), np.float32)
    vectors[1, 3], vectors[2, 0] = np.nan, np.inf
    for metric in METRICS:
        lower, upper = score_rows(rows_of(vectors), quantise(vectors[:1]), metric)
        assert np.isnan(lower[0]).tolist() == np.isnan(upper[0]).tolist() == [False, True, True]


def test_some_of_the_queries_are_those_queries() -> None:
    vectors = gaussians(np.random.default_rng(5), 7, 24)
    rows, queries = rows_of(vectors), quantise(vectors)
    whole = score_rows(rows, queries, "l2")
    part = score_rows(rows, queries.some(slice(2, 5)), "l2")
    for all_bounds, bounds in zip(whole, part, strict=True):
        assert np.array_equal(all_bounds[2:5], bounds)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_bounds_do_not_depend_on_what_the_room_held_before(metric: Metric, count: int) -> None:
    vectors = gaussians(np.random.default_rng(6), 9, 24)
    vectors[4] = 0.0
    rows, queries = rows_of(vectors), quantise(vectors[:count])
    alone = score_rows(rows, queries, metric)
    room = np.full(score_values(count, len(rows)) + 5, np.nan)
    for part in (slice(0, 9), slice(2, 7), slice(4, 5)):
        within = score_rows(rows[part], queries, metric, room)
        for one, other in zip(within, alone, strict=True):
            assert np.shares_memory(one, room)
            assert np.array_equal(one, other[:, part])
    assert np.isnan(room[-5:]).all()
