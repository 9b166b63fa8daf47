"""Risk: a row from the pool is wrong, old or another key's; the pool takes more than it may."""

from __future__ import annotations

import errno
import fcntl
import gc
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from numpy.typing import NDArray

from titanstore.pool import board as board_module
from titanstore.pool import door as door_module
from titanstore.pool.board import GENERATION, OLDEST, SLABS_MAX, Board
from titanstore.pool.memory import attach_memory, make_memory
from titanstore.pool.shared import SLAB_BYTES_MIN, SharedPool
from titanstore.pool.slab import Slab, record_bytes, slab_bytes

IDENTITY = b"i" * 32
NONCE = b"n" * 16
BYTES_MAX = 8 * SLAB_BYTES_MIN
Row = NDArray[np.float32]


def row_of(value: float, dimension: int = 1024) -> Row:
    return np.full(dimension, value, np.float32)


def new_counter() -> memoryview[int]:
    return memoryview(mmap.mmap(-1, 8)).cast("Q")


class Store:
    """A generation and a folder; makes pools of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "POOL"
        self.generation = new_counter()
        self.generation[0] = 1
        self.pools: list[SharedPool] = []

    def pool(self, identity: bytes = IDENTITY, bytes_max: int = BYTES_MAX) -> SharedPool:
        pool = SharedPool(self.path, identity, self.generation, bytes_max)
        self.pools.append(pool)
        return pool

    def change(self, pool: SharedPool, *keys: str) -> bool:
        """What a writer does after its commit."""
        self.generation[0] += 1
        return pool.invalidate(keys)

    def close(self) -> None:
        for pool in self.pools:
            pool.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.close()


def own_memory() -> list[str]:
    """Shared memory of a pool that this process has mapped or open."""
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if "/memfd:" in line]
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue  # the listing's own
    return maps + [link for link in links if link.startswith("/memfd:")]


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


# -- sizes ----------------------------------------------------------------------------------


@given(
    dimensions=st.lists(st.sampled_from([1, 300, 1536, 9_000, 16_383]), min_size=1, max_size=40),
    slabs=st.integers(1, 20),
)
def test_the_pool_keeps_its_bound(
    tmp_path_factory: pytest.TempPathFactory, dimensions: list[int], slabs: int
) -> None:
    store = Store(tmp_path_factory.mktemp("pool"))
    pool = store.pool(bytes_max=slabs * SLAB_BYTES_MIN)
    for number, dimension in enumerate(dimensions):
        found = pool.publish(f"key {number}", row_of(number, dimension), 1)
        fits = 4 * record_bytes(b"key 00", dimension) <= slabs * SLAB_BYTES_MIN
        assert (found is not None) == fits
        assert pool.sizes()[1] <= slabs * SLAB_BYTES_MIN
    store.close()


def test_a_pool_of_very_small_slabs_has_at_most_64(store: Store) -> None:
    board = store.pool()._board
    assert board is not None
    for number in range(SLABS_MAX + 10):
        board.slab_with_room(slab_bytes(0), slab_bytes(0), 2**30)
        assert len(board.live()) == min(number + 1, SLABS_MAX)


def test_callers_that_keep_rows_for_ever_cost_two_pools_at_most(store: Store) -> None:
    """One row of each slab that comes by: then copies, 4 kB each instead of 64."""
    pool = store.pool()
    kept = []
    for number in range(1_500):
        found = pool.publish(f"key {number}", row_of(number), 1)
        assert found is not None
        if number % 15 == 0:
            kept.append((number, found))
    held = sum(size for array, size in pool._held if array() is not None)
    assert BYTES_MAX < held <= 2 * BYTES_MAX  # the slabs that were in use when it was too much
    assert pool._is_crowded
    copies = [row for _, row in kept if not isinstance(row.base, np.ndarray)]
    assert copies
    assert not any(row.flags.writeable for row in copies)
    assert all((row == number).all() for number, row in kept)
    kept.clear()
    copies.clear()
    gc.collect()
    found = pool.find("key 1499")
    assert found is not None
    assert isinstance(found.base, np.ndarray), "still copying though nothing is held"


def test_a_rest_of_nothing(store: Store) -> None:
    gc.collect()
    before = own_memory()
    pools = [store.pool() for _ in range(3)]
    for number in range(300):
        pools[number % 3].publish(f"key {number}", row_of(number), 1)
    row = pools[0].find("key 299")
    assert len(own_memory()) > len(before)
    for pool in pools:
        pool.close()
        pool.close()
    assert row is not None
    assert (row == 299).all(), "a row that was handed out went with the pool"
    del row, pool
    pools.clear()
    store.pools.clear()
    gc.collect()
    assert own_memory() == before


def test_no_descriptor_is_lost_when_pools_meet(store: Store) -> None:
    """Two that could not find each other, then can: the second goes over to the first."""
    gc.collect()  # other tests' leftovers hold files too
    before = len(list(Path("/proc/self/fd").iterdir()))
    one = store.pool()
    one.publish("a", row_of(1), 1)
    store.path.unlink()
    two = store.pool()
    two.publish("b", row_of(2), 1)
    assert one.find("b") is None
    os.link(store.path, store.path.with_name("other"))
    with one._door.exclusive(0.0):
        assert two._board is not None
        announcement = two._door.read()
        assert announcement is not None
        one._door.write(announcement)
    assert one.publish("c", row_of(3), 1) is not None
    assert one.find("b") is not None
    assert two.find("c") is not None
    store.close()
    store.pools.clear()
    del one, two
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# -- hostile and damaged --------------------------------------------------------------------


def test_modes_are_0600(store: Store) -> None:
    os.umask(os.umask(0))
    pool = store.pool()
    pool.publish("a", row_of(1), 1)
    assert store.path.stat().st_mode & 0o777 == 0o600
    board = pool._board
    assert board is not None
    descriptors = [board.descriptor, *[slab.descriptor for slab in board.slabs.values()]]
    assert len(descriptors) == 2
    for descriptor in descriptors:
        status = os.fstat(descriptor)
        assert status.st_mode & 0o777 == 0o600
        assert status.st_nlink == 0
        assert not os.get_inheritable(descriptor)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 2**20)


def test_a_pool_file_of_another_user_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.path.touch(mode=0o600)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="POOL belongs to user"):
        store.pool()
    assert store.path.exists()


@pytest.mark.parametrize("what", ["symlink", "folder"])
def test_a_pool_file_that_is_none_is_refused(store: Store, tmp_path: Path, what: str) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    if what == "symlink":
        store.path.symlink_to(target)
    else:
        store.path.mkdir()
    with pytest.raises(OSError, match=r"POOL"):
        store.pool()
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("what", ["readable by others", "hard link", "fifo"])
def test_a_pool_file_that_others_may_have_open_is_replaced(
    store: Store, tmp_path: Path, what: str
) -> None:
    target = tmp_path / "target"
    if what == "fifo":
        os.mkfifo(store.path)
    else:
        store.path.write_bytes(b"precious")
        store.path.chmod(0o666 if what == "readable by others" else 0o600)
        if what == "hard link":
            os.link(store.path, target)
    was = store.path.stat().st_ino
    keep = os.open(store.path, os.O_RDONLY | os.O_NONBLOCK)  # so that its number is not given again
    assert store.pool().publish("a", row_of(1), 1) is not None
    assert store.path.stat().st_ino != was
    assert store.path.stat().st_mode & 0o777 == 0o600
    os.close(keep)
    if what == "hard link":
        assert target.read_bytes() == b"precious"


def test_any_bytes_in_the_pool_file_are_no_danger(store: Store) -> None:
    rng = np.random.default_rng(1)
    first = store.pool()
    first.publish("a", row_of(1), 1)
    good = store.path.read_bytes()
    for number in range(60):
        damaged = bytearray(good)
        if number < 44:
            damaged[number] ^= 1 << int(rng.integers(8))
        else:
            damaged = bytearray(rng.bytes(int(rng.integers(60))))
        store.path.write_bytes(damaged)
        pool = store.pool()
        found = pool.find("a")
        assert found is None or (found == 1).all()
        assert pool.publish("b", row_of(2), 1) is not None
        pool.close()


def test_an_announcement_that_points_elsewhere_is_not_followed(
    store: Store, tmp_path: Path
) -> None:
    """A process number that was given again, and whatever that process has open there."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(board_module._NBYTES))
    unsealed = os.memfd_create("titanstore-pool", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, board_module._NBYTES)
    os.fchmod(unsealed, 0o600)
    foreign, _ = make_memory(board_module._NBYTES)
    short, _ = make_memory(4096)
    opened = [
        os.open(fifo, os.O_RDWR),
        os.open(plain, os.O_RDWR),
        os.open("/dev/zero", os.O_RDWR),
        unsealed,
        foreign,
        short,
        10_000,
    ]
    door = door_module.Door(store.path)
    for descriptor in opened:
        for pid in (os.getpid(), os.getppid(), 1, 2**22 + 1, 2**63):
            door.write(door_module.Announcement(pid, descriptor, NONCE))
            assert Board.attach(pid, descriptor, NONCE, IDENTITY) is None
            pool = store.pool()
            assert pool.publish("a", row_of(1), 1) is not None
            pool.close()
    door.close()
    for descriptor in opened[:-1]:
        os.close(descriptor)


def test_memory_of_another_user_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor, _ = make_memory(4096)
    found = attach_memory(os.getpid(), descriptor, 4096)
    assert found is not None
    os.close(found[0])
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert attach_memory(os.getpid(), descriptor, 4096) is None
    os.close(descriptor)


@pytest.mark.parametrize("what", ["another store", "a copy of its files"])
def test_a_pool_of_another_store_is_not_joined(store: Store, tmp_path: Path, what: str) -> None:
    """Deleted and made again at the same path, or copied with everything in it, POOL too."""
    one = store.pool()
    one.publish("key", row_of(1), 1)
    if what == "another store":
        other = store.pool(identity=b"j" * 32)
    else:
        copied = tmp_path / "copy"
        copied.mkdir()
        (copied / "POOL").write_bytes(store.path.read_bytes())
        (copied / "POOL").chmod(0o600)
        copy = Store(copied)
        other = copy.pool(identity=b"i" * 16 + b"another inode!!!")
    assert other.find("key") is None
    assert other.publish("key", row_of(2), 1) is not None
    found = one.find("key")
    assert found is not None
    assert (found == 1).all()
    other.close()


def test_damage_in_a_slab_is_a_miss(store: Store) -> None:
    """Every bit of a record that is looked at for the first time."""
    maker = store.pool()
    maker.publish("key", row_of(1, 8), 1)
    board = maker._board
    assert board is not None
    slab = next(iter(board.slabs.values()))
    end = record_bytes(b"key", 8)
    for at in range(128, 128 + end):
        for bit in range(8):
            slab._writable[at] ^= 1 << bit
            reader = Slab.attach(
                os.getpid(), slab.descriptor, board.nonce, slab.number, slab.nbytes
            )
            assert reader is not None
            row = reader.row(1, b"key")
            assert row is None or (row == 1).all()
            slab._writable[at] ^= 1 << bit
    assert slab.row(1, b"key") is not None
    assert slab.row(0, b"") is None
    assert slab.row(2, b"key") is None
    assert slab.row(2**16 - 1, b"key") is None


def test_a_slab_whose_end_makes_no_sense_is_not_appended_to(store: Store) -> None:
    pool = store.pool()
    pool.publish("a", row_of(1), 1)
    board = pool._board
    assert board is not None
    for end in (0, 7, 2**63, 2**64 - 128):
        slab = board.slabs[(board.cells[OLDEST + 1] - 1) & 0xFFFFFFFF]
        slab._cells[8] = end
        assert slab.room() <= 0
        assert pool.publish(f"key {end}", row_of(2), 1) is not None


@given(entries=st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=4))
def test_entries_of_any_value_are_harmless(
    tmp_path_factory: pytest.TempPathFactory, entries: list[int]
) -> None:
    store = Store(tmp_path_factory.mktemp("pool"))
    pool = store.pool()
    pool.publish("key", row_of(1), 1)
    board = pool._board
    assert board is not None
    code = memoryview(board.index)
    place = next(place for place in range(len(code)) if code[place])
    tag = code[place] >> 48
    for way, entry in enumerate(entries):
        code[place // 4 * 4 + way] = tag << 48 | entry & 2**48 - 1
    found = pool.find("key")
    assert found is None or (found == 1).all()
    assert pool.publish("key", row_of(1), 1) is not None
    store.close()


# -- no memory ------------------------------------------------------------------------------


def refuse(error: int) -> Callable[..., int]:
    def refused(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    return refused


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENOSYS])
def test_no_memory_is_an_error_at_once_and_leaves_nothing_open(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    gc.collect()
    before = sorted(Path("/proc/self/fd").iterdir())
    for name in ("memfd_create", "posix_fallocate"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, refuse(error))
            with pytest.raises(OSError, match=os.strerror(error)) as caught:
                store.pool()
            assert caught.value.errno == error
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)
    assert store.pool().publish("a", row_of(1), 1) is not None


def test_a_pool_without_room_for_another_slab_keeps_what_it_has(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = store.pool()
    pool.publish("a", row_of(1), 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", refuse(errno.ENOMEM))
        for number in range(14):
            pool.publish(f"key {number}", row_of(number), 1)
        with pytest.raises(OSError, match="memory"):
            pool.publish("one more", row_of(1), 1)
    assert pool.find("a") is not None
    with pool._door.exclusive(0.0) as is_held:
        assert is_held, "the lock was kept after an error"


def test_a_kernel_without_the_newest_flag_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    create = os.memfd_create

    def older(name: str, flags: int) -> int:
        if flags & 0x8:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", older)
    descriptor, _ = make_memory(4096)
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    os.close(descriptor)


def test_a_pool_file_that_cannot_be_written_is_an_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pwrite", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="space"):
        store.pool()


def test_generation_is_where_readers_look() -> None:
    board = Board.make(IDENTITY)
    board.reset(77)
    assert board.cells[GENERATION] == 77
    os.close(board.descriptor)
