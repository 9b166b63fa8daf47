"""Faults put into a soak to show that it notices: each is a real one.

leak         the resident process keeps 40 KB more an hour
bitflip      bits of a segment file are flipped on the disk, one in every 2 KiB
lost-update  a write is acknowledged that never reached the store
stall        every process of the store is stopped and never goes on
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness.soak.checks import SoakSubject
from harness.soak.layout import Lane
from harness.soak.ledger import Header, Ledger
from harness.subject import Vectors

__all__ = ["INJECTIONS", "INJECT_AT", "Leak", "faulty", "flip_when_due", "stop_when_due"]

INJECTIONS = ("leak", "bitflip", "lost-update", "stall")
INJECT_AT = 200  # operation of the writer from which `stall` and `bitflip` are due
_LOST_PUT = 30  # the put that is lost
_LEAK_BYTES_AN_HOUR = 40_000.0
_PIECE = 1_024  # bytes; of this size malloc takes them from the heap, as most buffers


class Leak:
    """Memory that grows with the clock and is never given back."""

    def __init__(self, bytes_an_hour: float = _LEAK_BYTES_AN_HOUR) -> None:
        self._rate = bytes_an_hour / 3600
        self._pieces: list[bytearray] = []

    def reach(self, time_s: float) -> None:
        """Hold as much as is due at this moment."""
        while (len(self._pieces) + 1) * _PIECE <= time_s * self._rate:
            self._pieces.append(bytearray(b"\x5a" * _PIECE))


def faulty(injection: str, subject: SoakSubject) -> SoakSubject:
    """The store, or one that loses a write."""
    if injection == "lost-update":
        put, puts = subject.put_many, [0]

        def lose(keys: Sequence[str], vectors: Vectors) -> None:
            puts[0] += 1
            if puts[0] != _LOST_PUT:
                put(keys, vectors)

        subject.put_many = lose  # type: ignore[method-assign]  # that is the fault
    return subject


def flip_when_due(injection: str, ledger: Ledger, lane: Lane) -> None:
    """Flip bits of the largest segment file, once, where the store is told nothing of it."""
    done = lane.path / "flipped"
    if injection != "bitflip" or ledger.word(Header.OPERATION) < INJECT_AT or done.exists():
        return
    done.touch()
    path = max((lane.store / "segments").glob("*.seg"), key=lambda one: one.stat().st_size)
    descriptor = os.open(path, os.O_RDWR)
    try:
        # a bit in every 2 KiB: then not all of them are in records that nobody needs any more
        for place in range(1_024, os.fstat(descriptor).st_size, 2_048):
            (byte,) = os.pread(descriptor, 1, place)
            os.pwrite(descriptor, bytes([byte ^ 0x10]), place)
    finally:
        os.close(descriptor)


def stop_when_due(injection: str, ledger: Ledger) -> bool:
    """Is it time to stop everything?"""
    return injection == "stall" and ledger.word(Header.OPERATION) >= INJECT_AT
