"""Memory of a row is never reused while anything looks at it, and always afterwards."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from titanstore.tiers.rows import RowPool

Vector = NDArray[np.float32]


@pytest.fixture(autouse=True, scope="module")
def few_objects() -> Iterator[None]:
    """The collector looks at what these tests made, and not at all of pytest, hundreds of times."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def filled(value: float) -> Callable[[Vector], None]:
    def fill(out: Vector) -> None:
        out[:] = value

    return fill


def free_slots(pool: RowPool) -> int:
    return sum(len(free) for free in pool._free.values())


def all_slots(pool: RowPool) -> int:
    return sum(extent.count for extent in pool._extents.values())


# every way to look at a row without copying it
LOOKS: dict[str, Callable[[Vector], object]] = {
    "row": lambda row: row,
    "slice": lambda row: row[1:2],
    "slice of a slice": lambda row: row[1:][:2],
    "reversed": lambda row: row[::-1],
    "words": lambda row: row.view(np.uint32),
    "column": lambda row: row[:, None],
    "memoryview": lambda row: row.data,
    "array of a memoryview": lambda row: np.asarray(row.data),
    "frombuffer": lambda row: np.frombuffer(row, np.float32)[1:],
    "strided": lambda row: np.lib.stride_tricks.sliding_window_view(row, 2),
    "broadcast": lambda row: np.broadcast_to(row, (2, row.size)),
    "iterator": lambda row: row.flat,
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_row_lives_as_long_as_any_look_at_it(look: str) -> None:
    pool = RowPool(200_000)
    row, is_pooled = pool.new_row(1024, filled(7))
    assert is_pooled
    kept = LOOKS[look](row)
    del row
    gc.collect()
    others = [pool.new_row(1024, filled(value))[0] for value in range(60)]
    seen = list(kept) if isinstance(kept, np.flatiter) else np.asarray(kept).view(np.float32)
    assert np.all(np.equal(seen, 7))
    del others, kept, seen
    gc.collect()
    assert free_slots(pool) == all_slots(pool) > 0


@pytest.mark.parametrize("bytes_max", [0, 200_000])
def test_no_row_can_be_made_writable(bytes_max: int) -> None:
    row, is_pooled = RowPool(bytes_max).new_row(256, filled(1))
    assert is_pooled is bool(bytes_max)
    with pytest.raises(ValueError, match="read-only"):
        row[0] = 2
    with pytest.raises(ValueError, match="WRITEABLE"):
        row.setflags(write=True)
    with pytest.raises(ValueError, match="WRITEABLE"):
        row[:3].setflags(write=True)
    assert row.shape == (256,)


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["new", "new", "drop", "keep slice", "collect", "fail"]),
            st.sampled_from([1, 8, 384, 1024, 1536, 16_383]),
            st.integers(0, 1000),
        ),
        max_size=80,
    ),
    bytes_max=st.sampled_from([0, 70_000, 200_000, 400_000]),
)
def test_kept_rows_never_change_and_memory_comes_back(
    steps: list[tuple[str, int, int]], bytes_max: int
) -> None:
    pool = RowPool(bytes_max)
    held: list[tuple[Vector, float]] = []
    for turn, (step, dimension, choice) in enumerate(steps):
        if step == "new":
            held.append((pool.new_row(dimension, filled(turn))[0], turn))
        elif step == "fail":
            with pytest.raises(ZeroDivisionError):
                pool.new_row(dimension, lambda out: out.__setitem__(0, 1 // 0))
        elif step == "collect":
            gc.collect()
        elif held:
            row, value = held.pop(choice % len(held))
            if step == "keep slice":
                held.append((row[-1:], value))
            del row
        assert pool.nbytes <= bytes_max
        assert pool.nbytes == sum(extent.nbytes for extent in pool._extents.values())
        assert all((row == value).all() for row, value in held)
    held.clear()
    gc.collect()
    assert free_slots(pool) == all_slots(pool)


def test_a_dimension_that_comes_later_gets_the_memory_of_one_that_left() -> None:
    pool = RowPool(140_000)
    first = [pool.new_row(1024, filled(1)) for _ in range(32)]
    assert all(is_pooled for _, is_pooled in first)
    one_kept = first[0][0]
    assert not pool.new_row(1536, filled(2))[1]
    first.clear()
    row, is_pooled = pool.new_row(1536, filled(2))
    assert is_pooled
    assert (one_kept == 1).all()
    assert (row == 2).all()


def test_rows_dropped_in_other_threads_come_back() -> None:
    pool = RowPool(400_000)
    lock = threading.Lock()
    wrong: list[float] = []

    def work(seed: int) -> None:
        held: list[tuple[Vector, float]] = []
        for turn in range(1500):
            value = float(seed * 10_000 + turn)
            with lock:
                row, _ = pool.new_row(512, filled(value))
            held.append((row, value))
            if len(held) > 20:
                kept, wanted = held.pop(turn % 20)
                if not (kept == wanted).all():
                    wrong.append(wanted)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not wrong
    assert free_slots(pool) == all_slots(pool)


def test_rows_outlive_their_pool() -> None:
    pool = RowPool(200_000)
    row, _ = pool.new_row(1024, filled(3))
    del pool
    gc.collect()
    assert (row == 3).all()
