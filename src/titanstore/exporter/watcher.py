"""Looks at one store from outside for as long as it is wanted, and never makes the store wait."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from titanstore.config import load_config
from titanstore.errors import CorruptionError, StoreError
from titanstore.events import Event, store_name, tell
from titanstore.exporter.patrol import Patrol
from titanstore.exporter.readiness import OK, Readiness, read_one, room_of
from titanstore.exporter.samples import Samples, put_reading
from titanstore.exporter.totals import Totals
from titanstore.figures.folder import published
from titanstore.folder import open_folder
from titanstore.monitor.reading import Reading, take_reading

_FRESH_S = 1.0  # whoever asks again within it is told the same: scrapes cannot add up
_ANOTHER = "another-store"
_PLACE_BYTES = 4  # of a fingerprint: enough to begin anywhere


class Watcher:
    """What an exporter knows of a store. Any thread may ask.

    A thread reads the figures that processes publish, `sample_s` apart; what a process does after
    the last look at it is in no total. A scrape opens the store for reading, reads one vector of it
    and closes it again.

    Parameters
    ----------
    free_bytes_min
        The store counts as ready only with more than this free on its file system.
    check_s
        Seconds between whole checks; 0: none.

    Raises
    ------
    NotFoundError, InvalidInputError, NewerFormatError, CorruptionError, StorageError
        There is no store, or its header file cannot be read.
    """

    def __init__(
        self, path: Path, *, free_bytes_min: int, check_s: float, sample_s: float = 1.0
    ) -> None:
        folder, _ = open_folder(path, read_only=True, create=False)
        self.store_id = folder.store_id
        self._path = path
        self._config = replace(load_config(), segment_reads="pread")
        self._free_bytes_min = free_bytes_min
        self._sample_s = sample_s
        self._version = version("titanstore")
        self._totals = Totals()
        self._totals_lock = threading.Lock()
        self._look_lock = threading.Lock()
        self._looked_s = float("-inf")
        self._seen: tuple[Samples, Readiness] | None = None
        self._suspect: bytes | None = None  # where a damaged record was found
        self._sample()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="titanstore-figures", daemon=True)
        self._thread.start()
        self._patrol = Patrol(path, check_s) if check_s > 0 else None

    @property
    def label(self) -> str:
        """What tells this store's series from another's."""
        return store_name(self.store_id)

    def _run(self) -> None:
        while not self._stop.wait(self._sample_s):
            self._sample()

    def _sample(self) -> None:
        with self._totals_lock:  # around the reading too: an older look must not come last
            found, _ = published(self.store_id)
            self._totals.take(found)

    def look(self) -> tuple[Samples, Readiness]:
        """Values of now, at most a second old, and whether the store may be used."""
        with self._look_lock:
            now = time.monotonic()
            if self._seen is None or now - self._looked_s >= _FRESH_S:
                self._seen = self._look(now)
                self._looked_s = time.monotonic()
            return self._seen

    def _look(self, begun_s: float) -> tuple[Samples, Readiness]:
        samples = Samples()
        damage: dict[str, int] = {}
        reading = self._reading(damage)
        store = OK if isinstance(reading, Reading) else reading
        if isinstance(reading, Reading):
            put_reading(samples, reading)
        readiness = Readiness(
            store=store, damage=self._damage(samples, damage), disk=self._disk(samples)
        )
        self._tell(readiness)
        samples.put("up", int(store == OK))
        samples.put("ready", int(readiness.is_ready))
        samples.put("info", 1, self._version)
        self._sample()
        with self._totals_lock:
            samples.put_counters(self._totals.counters())
            samples.put_latencies(self._totals.latencies())
        samples.put("scrape_seconds", time.monotonic() - begun_s)
        return samples, readiness

    def _tell(self, readiness: Readiness) -> None:
        """Log it when a store becomes ready, or is so no longer."""
        before = None if self._seen is None else self._seen[1]
        if readiness == before:
            return
        if readiness.is_ready:
            tell(logging.INFO, Event.READY, "ready", store_id=self.store_id)
            return
        words = f"store: {readiness.store}; damage: {readiness.damage}; disk: {readiness.disk}"
        tell(logging.WARNING, Event.NOT_READY, f"not ready: {words}", store_id=self.store_id)

    def _reading(self, damage: dict[str, int]) -> Reading | str:
        """What the store is like, or in a word why it cannot be read; counts damage met."""
        place = self._suspect or os.urandom(_PLACE_BYTES)
        try:
            folder, _ = open_folder(self._path, read_only=True, create=False)
            if folder.store_id != self.store_id:
                return _ANOTHER  # its figures are not to be told under this one's label
            reading = take_reading(self._path, self._config, time.monotonic)
            read_one(self._path, place)
        except StoreError as error:
            if isinstance(error, CorruptionError):
                damage[str(error.kind)] = 1
                self._suspect = place
            return str(error.kind)
        except OSError as error:  # a name that went while it was looked at
            return type(error).__name__
        self._suspect = None
        return reading

    def _damage(self, samples: Samples, met: dict[str, int]) -> str:
        checked = None if self._patrol is None else self._patrol.last
        failure = None
        kinds = dict(met)
        if checked is not None:
            failure = checked.failure
            kinds |= checked.kinds
            if failure is None:
                samples.put("check_timestamp_seconds", checked.ended_s)
        samples.put("damaged_places", sum(kinds.values()))
        if kinds:
            return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        return OK if failure is None else f"the check came to no end: {failure}"

    def _disk(self, samples: Samples) -> str:
        try:
            room = room_of(self._path)
        except OSError as error:
            return f"not to be asked: {type(error).__name__}"
        samples.put("disk_free_bytes", room.free)
        samples.put("disk_size_bytes", room.size)
        if room.free > self._free_bytes_min:
            return OK
        return f"{room.free} bytes free, wanted more than {self._free_bytes_min}"

    def close(self) -> None:
        """End its threads; idempotent."""
        self._stop.set()
        self._thread.join()
        if self._patrol is not None:
            self._patrol.close()
