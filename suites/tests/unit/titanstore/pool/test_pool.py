"""Risk: a row from the pool is wrong, old or another key's."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from suites.tests.unit.titanstore.pool.stores import IDENTITY, Row, Store, row_of
from titanstore.pool.board import GENERATION, OLDEST, Board
from titanstore.pool.shared import SLAB_BYTES_MIN

# -- rows ----------------------------------------------------------------------------------


def test_what_one_publishes_all_find_in_the_same_place(store: Store) -> None:
    one, two = store.pool(), store.pool()
    published = one.publish("key", row_of(7), 1)
    found = two.find("key")
    assert published is not None
    assert found is not None
    assert found.tobytes() == row_of(7).tobytes()
    assert found.ctypes.data % 64 == 0
    # the same memory, though mapped twice: a byte put in by the back door shows in both
    board = one._board
    assert board is not None
    slab = next(iter(board.slabs.values()))
    at = slab.memory.tobytes().index(row_of(7).tobytes())
    slab._writable[at : at + 4] = struct.pack("<f", 8)
    assert found[0] == published[0] == 8


@pytest.mark.parametrize("bits", [0x7FC00001, 0x7F800001, 0x80000000, 0x00000001])
def test_every_bit_of_a_row_survives(store: Store, bits: int) -> None:
    row = np.full(333, bits, np.uint32).view(np.float32)
    store.pool().publish("key", row, 1)
    found = store.pool().find("key")
    assert found is not None
    assert found.tobytes() == row.tobytes()


def test_a_row_cannot_be_written_by_any_means(store: Store) -> None:
    row = store.pool().publish("key", row_of(7), 1)
    assert row is not None
    with pytest.raises(ValueError, match="read-only"):
        row[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        row.setflags(write=True)
    base = row.base
    assert isinstance(base, np.ndarray)
    with pytest.raises(ValueError, match="WRITEABLE"):
        base.setflags(write=True)
    with pytest.raises(TypeError, match="read-only"):
        row.data.cast("B")[0] = 1


def test_a_row_that_a_caller_keeps_never_changes(store: Store) -> None:
    """Ten times the pool's size goes through it; every hundredth row is kept."""
    one, two = store.pool(), store.pool()
    kept = []
    for number in range(1_300):
        one.publish(f"key {number}", row_of(number), 1)
        if number % 100 == 0:
            found = two.find(f"key {number}")
            assert found is not None
            kept.append((number, found[3:-3]))  # a slice of it is enough
    for number, part in kept:
        assert (part == number).all()
    assert two.find("key 0") is None
    assert two.find("key 1299") is not None


def test_odd_keys_are_no_hits_and_no_errors(store: Store) -> None:
    pool = store.pool()
    for key in ("", "\ud800", "k" * 5_000, 7, None):
        assert pool.find(key) is None  # type: ignore[arg-type]


def test_keys_whose_codes_are_equal_are_told_apart(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titanstore.pool.shared._crc", lambda key: 0)
    pool = store.pool()
    for number in range(9):
        pool.publish(f"key {number}", row_of(number), 1)
        for other in range(9):
            found = pool.find(f"key {other}")
            assert found is None or found[0] == other
        assert pool.find(f"key {number}") is not None


def test_a_full_bucket_gives_up_its_oldest_entry(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = {f"key {number}".encode(): number << 16 for number in range(9)}
    monkeypatch.setattr("titanstore.pool.shared._crc", codes.__getitem__)
    pool = store.pool()
    for number in range(9):
        pool.publish(f"key {number}", row_of(number, 12_000), 1)  # one of them fills a slab
        for earlier in range(number + 1):
            found = pool.find(f"key {earlier}")
            assert found is None or found[0] == earlier
            assert (found is not None) == (number - earlier < 4)


# -- what changed ---------------------------------------------------------------------------


def test_a_changed_key_is_gone_for_all_and_the_others_stay(store: Store) -> None:
    writer, reader = store.pool(), store.pool()
    for number in range(20):
        reader.publish(f"key {number}", row_of(number), 1)
    assert store.change(writer, "key 3")
    assert reader.find("key 3") is None
    assert all(reader.find(f"key {number}") is not None for number in range(20) if number != 3)


def test_between_the_change_and_its_announcement_nothing_is_found(store: Store) -> None:
    writer, reader = store.pool(), store.pool()
    reader.publish("a", row_of(1), 1)
    store.generation[0] += 1
    assert reader.find("a") is None
    assert writer.invalidate(["b"])
    assert reader.find("a") is not None


def test_a_row_read_before_a_change_is_refused(store: Store) -> None:
    writer, reader = store.pool(), store.pool()
    store.change(writer, "key")
    assert reader.publish("key", row_of(1), 1) is None
    assert reader.find("key") is None


def test_a_change_that_nobody_announced_empties_the_pool(store: Store) -> None:
    """A writer that was killed after it raised the generation, or before it could lock."""
    writer, reader = store.pool(), store.pool()
    reader.publish("a", row_of(1), 1)
    store.generation[0] += 1
    assert not store.change(writer, "b")
    assert reader.find("a") is None
    assert reader.publish("c", row_of(3), 3) is not None
    assert reader.find("a") is None, "an entry of an earlier generation came back"
    assert reader.find("c") is not None


def test_a_writer_that_cannot_lock_leaves_a_pool_that_nobody_believes(store: Store) -> None:
    writer, reader = store.pool(), store.pool()
    reader.publish("a", row_of(1), 1)
    with reader._door.exclusive(0.0) as is_held:
        assert is_held
        assert not store.change(writer, "b")
        assert reader.find("a") is None
        assert writer.publish("c", row_of(3), 2) is None, "published without the lock"
    assert writer.publish("c", row_of(3), 2) is not None
    assert reader.find("a") is None


def test_an_entry_is_read_after_the_generation(store: Store) -> None:
    """A reset between the two looks of a reader must not make an old entry true."""
    reader, other = store.pool(), store.pool()
    reader.publish("key", row_of(1), 1)
    board = reader._board
    assert board is not None

    class Counter:
        """Reads as the generation; then a value changes and another process publishes."""

        def __init__(self, first: Callable[[], object]) -> None:
            self.first = first

        def __getitem__(self, place: int) -> int:
            seen = store.generation[place]
            self.first()
            return seen

    def change() -> None:
        store.generation[0] = 2
        other.publish("other", row_of(2), 2)

    store.generation[0] = 2  # acknowledged before the reader begins
    reader._generation = Counter(change)  # type: ignore[assignment]
    assert reader.find("key") is None


def test_the_last_generation_is_followed_by_the_first(store: Store) -> None:
    writer, reader = store.pool(), store.pool()
    store.generation[0] = 2**64 - 1
    reader.publish("a", row_of(1), 2**64 - 1)
    reader.publish("b", row_of(2), 2**64 - 1)
    store.generation[0] = 0
    assert reader.find("a") is None
    assert writer.invalidate(["b"])
    assert reader.find("a") is not None
    assert reader.find("b") is None


def test_slab_numbers_go_beyond_32_bits(store: Store) -> None:
    one, two = store.pool(), store.pool()
    one.publish("before", row_of(0, 12_000), 1)
    for pool in (one, two):
        assert pool._board is not None
    board = one._board
    assert board is not None
    board._retire(1)
    board.cells[OLDEST] = board.cells[OLDEST + 1] = 2**32 - 3
    for number in range(7):
        assert one.publish(f"key {number}", row_of(number, 12_000), 1) is not None
        assert two.find("before") is None, "a slab that was taken for one 2**32 later"
        for earlier in range(number + 1):
            found = two.find(f"key {earlier}")
            assert found is not None
            assert (found == earlier).all()


class PoolMachine(RuleBasedStateMachine):
    """Three processes' worth of pools against a dictionary: found means current, bit for bit."""

    keys = st.integers(0, 30)

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name))
        self.members = [self.store.pool(bytes_max=4 * SLAB_BYTES_MIN) for _ in range(3)]
        self.model: dict[str, float] = {}
        self.kept: list[tuple[float, Row]] = []
        self.value = 0.0

    @rule(who=st.integers(0, 2), key=keys, late=st.booleans(), dimension=st.sampled_from([8, 3000]))
    def publish(self, who: int, key: int, late: bool, dimension: int) -> None:
        name = f"key {key}"
        if name not in self.model:
            self.model[name] = float(key)
        generation = self.store.generation[0] - late
        row = row_of(self.model[name] + (1000 if late else 0), dimension)
        found = self.members[who].publish(name, row, generation)
        if found is not None:
            assert not late or (found == self.model[name]).all()
            self.kept.append((float(found[0]), found))

    @rule(keys=st.lists(keys, max_size=3))
    def change(self, keys: list[int]) -> None:
        self.value += 1
        for key in keys:
            self.model[f"key {key}"] = 10_000 + self.value
        assert self.store.change(self.members[0], *[f"key {key}" for key in keys]) in (True, False)

    @rule()
    def raise_only(self) -> None:
        self.store.generation[0] += 1

    @rule(who=st.integers(0, 2))
    def reopen(self, who: int) -> None:
        self.members[who].close()
        self.members[who] = self.store.pool(bytes_max=4 * SLAB_BYTES_MIN)

    @rule(who=st.integers(0, 2), key=keys)
    def find(self, who: int, key: int) -> None:
        found = self.members[who].find(f"key {key}")
        if found is not None:
            assert (found == self.model[f"key {key}"]).all()

    @invariant()
    def kept_rows_stand_still_and_sizes_are_bounded(self) -> None:
        for value, row in self.kept:
            assert (row == value).all()
        for member in self.members:
            assert member.sizes()[1] <= 4 * SLAB_BYTES_MIN

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


class ApartMachine(PoolMachine):
    """The same where /proc is closed and opened again: sides with a board each, and meetings."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()

    @rule(is_closed=st.booleans())
    def close_proc(self, *, is_closed: bool) -> None:
        self.patch.undo()
        if is_closed:
            for module in ("board", "slab"):
                self.patch.setattr(f"titanstore.pool.{module}.attach_memory", lambda *_: None)
            self.patch.setattr("titanstore.pool.shared.is_attachable", lambda *_: False)

    def teardown(self) -> None:
        self.patch.undo()
        super().teardown()


TestPoolMachine = PoolMachine.TestCase
TestApartMachine = ApartMachine.TestCase
TestApartMachine.settings = settings(TestApartMachine.settings, max_examples=25)


def test_generation_is_where_readers_look() -> None:
    board = Board.make(IDENTITY)
    board.reset(77)
    assert board.cells[GENERATION] == 77
    os.close(board.descriptor)
