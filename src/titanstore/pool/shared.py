"""The shared pool: decoded rows that any process of a store finds and reads in place.

reports/decisions/0018-shared-pool.md has the protocol and what was tried against it.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import crc32c
import numpy as np

from titanstore.codec.base import Vector
from titanstore.pool.board import GENERATION, OLDEST, WAYS, Board, first_place
from titanstore.pool.door import Announcement, Door
from titanstore.pool.memory import is_attachable
from titanstore.pool.slab import SLAB_BYTES_MAX, Slab, record_bytes, slab_bytes

SLAB_BYTES_MIN = 64 * 1024
_SLABS = 16  # that a pool is divided into: one goes at a time
_LARGEST_SHARE = 4  # a row larger than this part of the pool would empty it
# A writer waits so long to say what changed; after that nobody believes the pool any more
_PATIENCE_S = 2e-3
_crc = crc32c.crc32c


class SharedPool:
    """Rows by key, shared by all processes that have the store open with the same user.

    Any number of threads may use an object. After a fork, the child calls `leave_parent` and makes
    an object of its own.

    Parameters
    ----------
    path
        The file POOL.
    identity
        32 bytes that this very store has and no other one, no copy of it either.
    generation
        The store's counter; changes whenever a stored value changes.
    bytes_max
        Most that all slabs take which are in use. A process whose callers keep rows for ever keeps
        at most twice as much of slabs that left the pool; beyond that it hands out copies.

    Raises
    ------
    OSError
        There is no shared memory to be had, or the file cannot be used.
    """

    def __init__(
        self, path: Path, identity: bytes, generation: memoryview[int], bytes_max: int
    ) -> None:
        self._identity = identity
        self._generation = generation
        self._bytes_max = bytes_max
        share = bytes_max // _SLABS // mmap.PAGESIZE * mmap.PAGESIZE
        self._slab_bytes = min(max(SLAB_BYTES_MIN, share), SLAB_BYTES_MAX)
        self._lock = threading.Lock()
        self._board: Board | None = None
        self._held: list[tuple[weakref.ref[Vector], int]] = []
        self._is_crowded = False
        self.retired = 0  # raised whenever slabs that were mapped left the pool
        self._door = Door(path)
        try:
            with self._door.exclusive(_PATIENCE_S) as is_held:
                if is_held:
                    self._join()
        except BaseException:
            self._door.close()
            raise

    # -- reading ---------------------------------------------------------------------------

    def find(self, text: str) -> Vector | None:
        """The row of a key, in place and read-only; None if it is not there or not current.

        Takes no lock and waits for nobody. 1.5 us, and 20 us more for each slab that is new.
        """
        board = self._board
        if board is None:
            return None
        try:
            key = text.encode()
        except (AttributeError, UnicodeEncodeError):
            return None  # the caller will be told what a key is
        if board.cells[OLDEST] != board.oldest_seen and self._lock.acquire(blocking=False):
            try:
                self._forget_retired(board)
            finally:
                self._lock.release()
        return self._find(board, key, _crc(key))

    def _find(self, board: Board, key: bytes, code: int) -> Vector | None:
        ahead = board.cells[GENERATION] - self._generation[0]
        if ahead:
            return None
        # `ahead` is 0. It is here so that the entries' address depends on it: no processor reads
        # them before it has read the generation ("Memory order" in the decision)
        first = first_place(code) + ahead
        tag = code >> 16
        for entry in board.index[first : first + WAYS]:
            if entry >> 48 == tag and entry:
                number = entry & 0xFFFFFFFF
                slab = board.slabs.get(number) or board.slab(number)
                if slab is not None:
                    row = slab.row(entry >> 32 & 0xFFFF, key)
                    if row is not None:
                        return self._private_copy(row) if self._is_crowded else row
        return None

    def _forget_retired(self, board: Board) -> None:
        self._note_gone(board.forget_retired())

    def _note_gone(self, slabs: list[Slab]) -> None:
        if slabs:
            self._held += [(weakref.ref(slab.floats), slab.nbytes) for slab in slabs]
            self._count_held()
            self.retired += 1

    def _count_held(self) -> None:
        self._held = [(array, size) for array, size in self._held if array() is not None]
        self._is_crowded = sum(size for _, size in self._held) > self._bytes_max

    def _private_copy(self, row: Vector) -> Vector:
        """For callers who keep rows of slabs that left the pool: their own 4 kB, not 64."""
        self._count_held()
        return np.frombuffer(row.tobytes(), np.float32) if self._is_crowded else row

    def is_in_use(self, row: Vector) -> bool:
        """Does a row lie in a slab that is in the pool?"""
        board = self._board
        base = row.base
        return board is not None and any(slab.floats is base for slab in list(board.slabs.values()))

    # -- writing ---------------------------------------------------------------------------

    def publish(self, text: str, row: Vector, generation: int) -> Vector | None:
        """Put a row into the pool; the row as all processes see it, or None if it is not there.

        It is refused if the store's generation is no longer the one that it was before the row was
        read, if somebody else publishes at this moment, or if the row is a large part of the pool.
        Raises OSError where there is no memory.
        """
        key = text.encode()
        wanted = record_bytes(key, row.size)
        nbytes = max(self._slab_bytes, slab_bytes(wanted))
        if wanted * _LARGEST_SHARE > self._bytes_max or nbytes > SLAB_BYTES_MAX:
            return None
        with self._lock, self._door.exclusive(0.0) as is_held:
            if not is_held:
                return None
            board = self._join()
            if self._generation[0] != generation:
                return None
            if board.cells[GENERATION] != generation:
                board.reset(generation)
            code = _crc(key)
            found = self._find(board, key, code)
            if found is not None:
                return found
            slab = board.slab_with_room(wanted, nbytes, self._bytes_max)
            unit = slab.append(key, row)
            board.enter(code, slab, unit)
            self._forget_retired(board)
            return self._find(board, key, code)

    def invalidate(self, texts: Sequence[str]) -> bool:
        """Drop keys whose value changed in the step to the present generation; is it done?

        For the one writer, after it raised the generation. If not all others can be vouched for,
        the pool stays behind the generation and nobody believes any of it.
        """
        with self._lock, self._door.exclusive(_PATIENCE_S) as is_held:
            if not is_held:
                return False
            board = self._join()
            now = self._generation[0]
            if board.cells[GENERATION] != (now - 1) % 2**64:
                return False
            board.carry_over([_crc(text.encode()) for text in texts], now)
        return True

    def _join(self) -> Board:
        """The board that all processes can find, under both locks. Raises OSError."""
        board = self._board
        seen = self._door.read()
        if seen is not None:
            if board is not None and seen.nonce == board.nonce:
                if seen.pid == os.getpid() or is_attachable(seen.pid, seen.descriptor):
                    return board
            else:
                other = Board.attach(seen.pid, seen.descriptor, seen.nonce, self._identity)
                if other is not None:
                    self._leave_board()
                    self._board = other
                    return other
        if board is None:
            board = Board.make(self._identity)
            self._board = board
        self._door.write(Announcement(os.getpid(), board.descriptor, board.nonce))
        return board

    # -- sizes -----------------------------------------------------------------------------

    @property
    def bytes_max(self) -> int:
        """Most that the slabs of the pool take."""
        return self._bytes_max

    def sizes(self) -> tuple[int, int]:
        """Rows in the pool, and bytes of its slabs."""
        board = self._board
        return (0, 0) if board is None else (board.row_count(), board.slab_bytes())

    # -- leaving ---------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything; idempotent. Rows that were handed out stay valid."""
        with self._lock:
            self.leave_parent()

    def leave_parent(self) -> None:
        """In a forked child: close what was inherited, without the locks of the parent."""
        self._leave_board()
        self._door.close()

    def _leave_board(self) -> None:
        board, self._board = self._board, None
        if board is not None:
            self._note_gone(board.let_go())
