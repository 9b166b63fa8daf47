"""What `EmbeddingStore` offers to whoever keeps a store in order."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from titanstore.check import CheckReport, StoreCheck
from titanstore.events import Event
from titanstore.rooms import Rooms
from titanstore.stats import Maintenance, StoreStats

_Result = TypeVar("_Result")


class KeptStore(ABC):
    """The part of a store that counts, checks, repairs and tidies."""

    @abstractmethod
    def _kept(self) -> Rooms:
        """What is open, up to date."""

    @abstractmethod
    def _keep(self, act: Callable[[Rooms, Callable[[], object]], _Result]) -> _Result:
        """Do `act` as the only writer; it is given what tells every process of a change."""

    def stats(self) -> StoreStats:
        """Sizes and counters at this moment; no walk over the vectors."""
        return self._kept().stats()

    def check(
        self, progress: Callable[[int, int], None] | None = None, *, repair: bool = False
    ) -> CheckReport:
        """Read every entry, record, frame and document once and report what is not as written.

        Never raises for damage: it is what the report lists. `progress(done, total)` is called
        every few thousand vectors. About 0.1 ms a vector, less with the setting `search` off.

        With `repair`, vectors that are damaged are first stored again where a copy with the same
        bits is found: in a Lance table, or in a record that a version keeps. `restored` of the
        report names them; its problems are what is left. The damaged records stay, dead, until
        `maintain`. It needs a store open for writing, and then raises as `put_many`.
        """
        restored = self._keep(lambda rooms, _: rooms.repair()) if repair else ()
        rooms = self._kept()
        found = StoreCheck(rooms.catalog, rooms.reader, rooms.bloom).run(progress)
        if found.problems:
            kinds = sorted({str(problem.kind) for problem in found.problems})
            rooms.tell(
                logging.ERROR,
                Event.DAMAGE_FOUND,
                "a check found damage",
                count=len(found.problems),
                kind=", ".join(kinds),
            )
        return replace(found, restored=restored)

    def maintain(self, progress: Callable[[int], None] | None = None) -> Maintenance:
        """Give back the space of replaced and removed vectors where it is worth the copying.

        Versions without a tag beyond the newest `versions_max` (a setting) go first. Where the
        store is large enough for LanceDB (setting `search_index`), its table is brought up to the
        present, or made: minutes for a million vectors; `progress` is told the rows so far.
        A segment file is rewritten when more than half of it is dead. Readers go on meanwhile;
        writers of this object wait. Safe to interrupt at any moment.
        """
        return self._keep(lambda rooms, changed: rooms.maintain(changed, progress))
