"""What the store must hold: a memory-mapped file that outlives a kill -9 of every process.

All words are little-endian 64-bit and written one at a time, so that a kill leaves each of them
old or new; the kernel keeps the pages whoever dies. One process writes a ledger's model, any
number read it meanwhile.

For each key, the stamps that it was given lie in a ring:

    begun     how many were ever given, counted before the store is called
    settled   up to which of them the store has acknowledged, counted after it returned

so a reader that noted `settled` before its read and looks at `begun` after it knows every value
that it may have met. Nothing else may come back: not an older value, not another key's.

A change goes through four phases. A kill in each of them leaves one question, and `Life.recover`
(harness/soak/life.py) answers it by looking into the store:

    IDLE       nothing under way
    INTENDING  stamps are being given; the store was not called, so all of it must be old
    CALLING    the store may have done all of it, or nothing
    SETTLING   the store has acknowledged; all of it must be new
    UNDOING    the store was found not to have done it; the old stamps are given once more

Order of the words: x86-64 keeps stores in order; elsewhere the store's own locks and system calls,
which lie between the phases, are barriers.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from harness.errors import EvidenceError

__all__ = ["ROLES", "Count", "Header", "Kind", "Ledger", "Phase", "Span", "VersionState", "Words"]

Words = NDArray[np.uint64]

_MAGIC = int.from_bytes(b"SOAKLED1", "little")
_RING = 16  # stamps a key remembers; a read that lasts longer than 15 writes of it is not judged
_VERSIONS = 256  # versions a ledger knows at once; far more than are ever kept
_HEADER = 64
ROLES = 8  # processes that count here, each in a row of its own
_ROLE_WORDS = 16


class Phase(IntEnum):
    """Where the change under way is."""

    IDLE = 0
    INTENDING = 1
    CALLING = 2
    SETTLING = 3
    UNDOING = 4


class Kind(IntEnum):
    """What changes."""

    NONE = 0
    PUT = 1
    UPDATE = 2
    DELETE = 3
    SNAPSHOT = 4
    ROLLBACK = 5
    MAINTAIN = 6


class VersionState(IntEnum):
    """What a ledger knows of one version."""

    NONE = 0
    KEPT = 1
    MAY_GO = 2
    EXPECTED = 3


class Header(IntEnum):
    """Words of the header."""

    MAGIC = 0
    KEYS = 1
    SEED = 2
    OPERATION = 3  # number of the next operation, or of the one under way
    PHASE = 4
    KIND = 5
    ARGUMENT = 6
    LAST_VERSION = 7
    NEXT_STAMP = 8
    RESTARTS = 9  # how often the writing process was started
    STOP = 10  # 1: every process is to end after what it is doing
    RECOVERIES = 11  # restarts after which every key was verified
    FATE_OLD = 12  # changes that a kill undid,
    FATE_NEW = 13  # and those that were done though nobody was told
    SEGMENTS = 14  # files of evidence that were begun: one that is cut off the end is missed


class Count(IntEnum):
    """Words of a process's row, written by that process alone but for KILLED."""

    PID = 0
    DONE = 1  # operations of the mix
    CHECKED = 2  # vectors and search results that were compared
    WRONG = 3
    NOT_JUDGED = 4
    STARTS = 5
    READY = 6  # pid again, once it has verified what it had to
    KILLED = 7  # pid that the killer is about to kill
    KILLS = 8
    TOLD = 9  # how many of WRONG are in a segment, written by the driver


def _go_on(_: str) -> None:
    """Nothing waits and nothing kills."""


class Span(NamedTuple):
    """What a reader noted of a key before it read."""

    settled: int


class Ledger:
    """One open ledger; a context manager.

    Raises
    ------
    EvidenceError
        The file is not a ledger of so many keys and that seed.
    """

    def __init__(self, path: Path, *, keys: int, seed: int) -> None:
        self.keys = keys
        words = _HEADER + ROLES * _ROLE_WORDS + keys * (2 + _RING) + _VERSIONS * (2 + keys)
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if is_new or not os.fstat(descriptor).st_size:
                os.ftruncate(descriptor, 8 * words)
            elif os.fstat(descriptor).st_size != 8 * words:
                raise EvidenceError(f"{path.name}: not a ledger of {keys} keys")
            self._map = mmap.mmap(descriptor, 8 * words)
        finally:
            os.close(descriptor)
        flat: Words = np.frombuffer(self._map, np.uint64)
        parts = np.split(
            flat,
            np.cumsum(
                [_HEADER, ROLES * _ROLE_WORDS, keys, keys, keys * _RING, _VERSIONS, _VERSIONS]
            ),
        )
        self.header = parts[0]
        self.roles = parts[1].reshape(ROLES, _ROLE_WORDS)
        self._begun, self._settled = parts[2], parts[3]
        self._ring = parts[4].reshape(keys, _RING)
        self._version_numbers, self._version_states = parts[5], parts[6]
        self._version_stamps = parts[7].reshape(_VERSIONS, keys)
        self.pause: Callable[[str], None] = _go_on  # told where it is: for kills at that point
        if not self.header[Header.MAGIC]:
            self.header[Header.KEYS], self.header[Header.SEED] = keys, seed
            self.header[Header.NEXT_STAMP] = 1
            self.header[Header.MAGIC] = _MAGIC
        wanted = (_MAGIC, keys, seed)
        if tuple(int(self.header[at]) for at in (0, 1, 2)) != wanted:
            raise EvidenceError(f"{path.name}: not a ledger of {keys} keys and seed {seed}")

    # -- reading ---------------------------------------------------------------------------

    def word(self, which: Header) -> int:
        """One word of the header."""
        return int(self.header[which])

    @property
    def phase(self) -> Phase:
        """Of the change under way."""
        return Phase(int(self.header[Header.PHASE]))

    def stamps(self) -> Words:
        """The settled stamp of every key: what the store must hold while nothing is under way."""
        rows = np.arange(self.keys)
        found: Words = self._ring[rows, self._settled % np.uint64(_RING)]
        return found

    def stamp(self, key: int) -> int:
        """The settled stamp of one key."""
        return int(self._ring[key, int(self._settled[key]) % _RING])

    def begun(self) -> Words:
        """A copy of all counts of stamps given."""
        found: Words = self._begun.copy()
        return found

    def settled(self) -> Words:
        """A copy of all counts of stamps settled."""
        found: Words = self._settled.copy()
        return found

    @property
    def last_stamp(self) -> int:
        """The newest stamp that was given out."""
        return int(self.header[Header.NEXT_STAMP]) - 1

    def before(self, key: int) -> Span:
        """To be called before a key is read."""
        return Span(settled=int(self._settled[key]))

    def allowed(self, key: int, span: Span) -> list[int] | None:
        """Stamps that a read begun at `span` and ended now may have met.

        None if so many writes came in between that the first are no longer in the ring.
        """
        begun = int(self._begun[key])
        found = [int(self._ring[key, at % _RING]) for at in range(span.settled, begun + 1)]
        # a slot is overwritten before the count goes up, so look at the count once more
        if int(self._begun[key]) - span.settled >= _RING - 1:
            return None
        return found

    def under_way(self) -> dict[int, tuple[int, int]]:
        """Keys whose last stamp is not settled, with the settled stamp and the last one."""
        found = {}
        for key in np.flatnonzero(self._begun != self._settled).tolist():
            last = int(self._ring[key, int(self._begun[key]) % _RING])
            found[key] = (self.stamp(key), last)
        return found

    def versions(self, *states: VersionState) -> list[int]:
        """Numbers of the versions in these states (default KEPT), rising."""
        wanted = states or (VersionState.KEPT,)
        found = self._version_numbers[np.isin(self._version_states, [int(one) for one in wanted])]
        return sorted(int(number) for number in found)

    def version_stamps(self, number: int) -> Words:
        """Stamp of every key in a version; raises KeyError for one that is not kept."""
        slot = number % _VERSIONS
        state = int(self._version_states[slot])
        if int(self._version_numbers[slot]) != number or state == VersionState.NONE:
            raise KeyError(number)
        copied: Words = self._version_stamps[slot].copy()
        return copied

    # -- changing, by the one writer -------------------------------------------------------

    def new_stamps(self, count: int) -> list[int]:
        """Stamps that no write ever had."""
        first = int(self.header[Header.NEXT_STAMP])
        self.header[Header.NEXT_STAMP] = first + count
        return list(range(first, first + count))

    def intend(self, kind: Kind, changes: Mapping[int, int], argument: int = 0) -> None:
        """Before the store is called: which keys get which stamps. Ends in CALLING.

        Keys that have the stamp already are left out.
        """
        self.header[Header.KIND], self.header[Header.ARGUMENT] = kind, argument
        self.header[Header.PHASE] = Phase.INTENDING
        if kind in (Kind.SNAPSHOT, Kind.ROLLBACK):
            self._expect_versions(kind, changes)
        if kind == Kind.MAINTAIN:
            self._let_go(argument)
        for key, stamp in changes.items():
            self.pause("intending")
            if self.stamp(key) != stamp:
                self._give(key, stamp)
        self.pause("intended")
        self.header[Header.PHASE] = Phase.CALLING

    def _give(self, key: int, stamp: int) -> None:
        begun = int(self._begun[key]) + 1
        self._ring[key, begun % _RING] = stamp
        self._begun[key] = begun

    def _expect_versions(self, kind: Kind, changes: Mapping[int, int]) -> None:
        now = self.stamps()
        states = [now]
        if kind == Kind.ROLLBACK:  # the state that it ends, and the one that it makes
            after = now.copy()
            for key, stamp in changes.items():
                after[key] = stamp
            states.append(after)
        last = int(self.header[Header.LAST_VERSION])
        for number, stamps in enumerate(states, start=last + 1):
            slot = number % _VERSIONS
            self._version_states[slot] = VersionState.NONE
            self._version_stamps[slot] = stamps
            self._version_numbers[slot] = number
            self._version_states[slot] = VersionState.EXPECTED

    def _let_go(self, keep: int) -> None:
        kept = self.versions()
        for number in kept[: max(0, len(kept) - keep)]:
            self._version_states[number % _VERSIONS] = VersionState.MAY_GO

    def settle(self) -> None:
        """After the store returned: all of it is done. Also goes on with it after a kill."""
        self.header[Header.PHASE] = Phase.SETTLING
        expected = self.versions(VersionState.EXPECTED)
        for number in expected:
            self.header[Header.LAST_VERSION] = number
            self._version_states[number % _VERSIONS] = VersionState.KEPT
            self.pause("settling")
        self._version_states[self._version_states == VersionState.MAY_GO] = VersionState.NONE
        for key in self.under_way():
            self._settled[key] = self._begun[key]
            self.pause("settling")
        self._finish()

    def undo(self, kept: Sequence[int] = ()) -> None:
        """After a kill: the store did none of it. Readers may have begun to expect the new.

        Parameters
        ----------
        kept
            Versions that the store has: of those that might have gone, these have not.
        """
        self.header[Header.PHASE] = Phase.UNDOING
        for number in self.versions(VersionState.MAY_GO):
            state = VersionState.KEPT if number in kept else VersionState.NONE
            self._version_states[number % _VERSIONS] = state
        self._version_states[self._version_states == VersionState.EXPECTED] = VersionState.NONE
        for key, (old, last) in self.under_way().items():
            if last != old:
                self._give(key, old)
            self.pause("undoing")
            self._settled[key] = self._begun[key]
        self._finish()

    def _finish(self) -> None:
        self.header[Header.OPERATION] += np.uint64(1)
        self.header[Header.PHASE] = Phase.IDLE

    def skip(self) -> None:
        """The operation was one that changes nothing."""
        self._finish()

    def adopt(self, key: int, stamp: int) -> None:
        """Give and settle a stamp at once: only before anybody reads."""
        self._give(key, stamp)
        self._settled[key] = self._begun[key]

    # -- keeping ---------------------------------------------------------------------------

    def flush(self) -> None:
        """Make it survive a power cut as well; milliseconds."""
        self._map.flush()

    def close(self) -> None:
        """Idempotent. Arrays that were handed out as copies stay."""
        for name in ("header", "roles", "_begun", "_settled", "_ring"):
            self.__dict__.pop(name, None)
        for name in ("_version_numbers", "_version_states", "_version_stamps"):
            self.__dict__.pop(name, None)
        if not self._map.closed:
            # somebody holds a row: then the pages go with the process
            with contextlib.suppress(BufferError):
                self._map.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
