"""The Lance table of a store: derived data that answers approximate nearest neighbours fast.

It holds a copy of every current vector (exact frame and unit search vector), so that either can
be rebuilt from the other, bit for bit. Nothing that it says is believed unchecked: candidates are
rescored from the store, rows carry checksums, and every failure is a `LanceUnavailableError`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from titanstore.search import lance_commits as commits
from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_files import check_files
from titanstore.search.lance_folder import create_state, empty_folder, keep_state, open_state
from titanstore.search.lance_loop import LanceLoop
from titanstore.search.lance_schema import LanceRow, StoredRow, Vector, stored_rows
from titanstore.search.lance_settings import (
    COSINE_OF_L2,
    LanceSettings,
    candidates_of,
    index_name,
    is_worth_an_index,
)
from titanstore.search.lance_state import (
    Content,
    State,
    file_time_ns,
    read_state,
    state_stamp,
)
from titanstore.search.lance_sync import SyncReport, write_changes

__all__ = ["LanceRow", "LanceSettings", "LanceTable", "LanceUnavailableError", "SyncReport"]

Candidate = tuple[str, float]
_ASKED_AT_ONCE = 4  # more only queue up inside LanceDB
_ANSWER_S = 60.0  # LanceDB not answering is a failure like others
_SAME_LENGTH = 1.001  # lengths this close: cosine, dot and l2 have the same nearest


class LanceTable:
    """One Lance table of a store. Make it with `open`; `with` or `close` gives it back.

    Any thread may ask. One process at a time may write, the one that has the store open for
    writing; one thread at a time, which a lock sees to. Readers in other processes follow by
    themselves. In a forked child every method raises LanceUnavailableError.

    Every method raises LanceUnavailableError for whatever goes wrong with the table.
    """

    def __init__(
        self,
        folder: Path,
        state: State,
        settings: LanceSettings,
        loop: LanceLoop,
        writer: Any,
        checked: set[str],
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._loop = loop
        self._writer = writer  # None: read-only
        self._checked = checked  # files whose seals have been verified
        self._lock = threading.RLock()
        self._asking = threading.BoundedSemaphore(_ASKED_AT_ONCE)
        self._show(state)

    @classmethod
    def open(
        cls,
        folder: Path,
        dimension: int,
        settings: LanceSettings,
        *,
        read_only: bool = False,
    ) -> LanceTable:
        """Open the table in a folder of its own.

        Parameters
        ----------
        dimension
            Of the vectors that can be searched. Rows of other dimensions are kept, not searched.
        read_only
            For processes that do not write the store.

        Raises
        ------
        LanceUnavailableError
            There is no table, it is damaged, or made for another dimension or value type: `create`
            it anew and sync everything.
        InvalidInputError
            BAD_SETTING: lancedb is not installed.

        Notes
        -----
        About 1 s and 52 MB when lancedb is first imported, then about 1 s for each GB, because
        every file is read and verified. What a killed `sync` left is taken back.
        """
        read_state(folder)  # without a table, LanceDB need not be there, and makes no folder
        return cls._made(
            folder, settings, partial(open_state, folder, dimension, settings, read_only=read_only)
        )

    @classmethod
    def create(cls, folder: Path, dimension: int, settings: LanceSettings) -> LanceTable:
        """An empty table, watermark 0, in place of whatever the folder holds; else as `open`."""
        return cls._made(folder, settings, partial(create_state, folder, dimension, settings))

    @classmethod
    def _made(
        cls,
        folder: Path,
        settings: LanceSettings,
        state_of: Callable[[LanceLoop, set[str]], tuple[State, Any]],
    ) -> LanceTable:
        loop = LanceLoop(folder, settings)
        checked: set[str] = set()
        try:
            state, writer = state_of(loop, checked)
            return cls(folder, state, settings, loop, writer, checked)
        except BaseException:
            loop.close()
            raise

    # -- what it holds ---------------------------------------------------------------------

    @property
    def content(self) -> Content:
        """What the version that is asked holds: watermark, rows, index."""
        return self._state.content

    @property
    def watermark(self) -> int:
        """All that the store wrote up to this is in; what came later the caller searches."""
        return self._state.content.watermark

    def serves(self, metric: str) -> bool:
        """Can candidates by this metric come from here? Not without an index.

        The index is over unit vectors. Where all vectors have one length (titan-embed-text-v2),
        dot and l2 have the same neighbours; elsewhere (v1) they must be searched flat.
        """
        content = self._state.content
        if not content.index:
            return False
        low, high = content.norms
        return metric == "cosine" or high <= low * _SAME_LENGTH

    def candidates_of(self, k: int) -> int:
        """How many candidates to ask for when the k nearest are wanted."""
        return candidates_of(self._settings, k)

    # -- asking ----------------------------------------------------------------------------

    def candidates(
        self, query: Vector, count: int, *, timeout_s: float = _ANSWER_S
    ) -> list[Candidate]:
        """Keys near a query, with approximate cosine distances, nearest first.

        Parameters
        ----------
        query
            float32, shape (dimension,), of any length but 0, finite.

        Notes
        -----
        As of `watermark`; a key may have been replaced or removed since. 2 to 4 ms.
        """
        unit = commits.unit(query)
        found = self._ask(unit, count, timeout_s)
        columns = (found[name].to_pylist() for name in ("key", "_distance"))
        return [(key, COSINE_OF_L2 * distance) for key, distance in zip(*columns, strict=True)]

    def candidates_many(
        self, queries: Sequence[Vector], count: int, *, timeout_s: float = _ANSWER_S
    ) -> list[list[Candidate]]:
        """`candidates` of each query, in one call of LanceDB."""
        if not queries:
            return []
        units = [commits.unit(query) for query in queries]
        if len(units) == 1:
            return [self.candidates(queries[0], count, timeout_s=timeout_s)]
        found = self._ask(units, count, timeout_s)
        answers: list[list[Candidate]] = [[] for _ in queries]
        columns = (found[name].to_pylist() for name in ("query_index", "key", "_distance"))
        for place, key, distance in zip(*columns, strict=True):
            answers[place].append((key, COSINE_OF_L2 * distance))
        return answers

    def _ask(self, query: Any, count: int, timeout_s: float) -> Any:
        self._follow()
        state, view = self._shown
        content = state.content
        if not content.index:
            raise LanceUnavailableError("the table has no index")
        with self._asking:
            return self._loop.run(
                lambda: commits.near(view, query, count, content, self._settings), timeout_s
            )

    def _follow(self) -> None:
        """Take up what another process made of the table, or its being gone."""
        if state_stamp(self._folder) != self._stamp:
            with self._lock:
                if state_stamp(self._folder) != self._stamp:
                    self._show(read_state(self._folder))

    def _show(self, state: State) -> None:
        """Ask this state from now on; its files are verified, its index is read into the cache."""
        check_files(self._folder / f"{state.table}.lance", state.files, self._checked)
        stamp = state_stamp(self._folder)
        connection, content = self._loop.connection, state.content

        async def view() -> Any:
            table = await connection.open_table(state.table, version=content.version)
            if content.index:
                await commits.verify_index(table, content, state.dimension)
                await table.prewarm_index(commits.NEAR)
            return table

        self._shown = state, self._loop.run(view, _ANSWER_S)
        self._stamp = stamp

    @property
    def _state(self) -> State:
        return self._shown[0]

    def rows(self) -> Iterator[StoredRow]:
        """Every row as of `watermark`, in no particular order, in bounded memory.

        Raises
        ------
        LanceUnavailableError
            At a row that is not what was written; at the end, if rows are missing or too many.
            What was given before is then not to be relied on as a whole.
        """
        self._follow()
        state, view = self._shown
        content = state.content
        batches = self._loop.run(lambda: commits.stream(view), _ANSWER_S)
        count = digest = 0
        while (batch := self._loop.run(lambda: commits.following(batches), _ANSWER_S)) is not None:
            digest += int(batch.column("checksum").to_numpy().astype("u8").sum())
            count += batch.num_rows
            yield from stored_rows(batch)
        if (count, digest % 2**64) != (content.rows, content.digest):
            raise LanceUnavailableError(f"{count} rows, {content.rows} were written, or others")

    # -- writing ---------------------------------------------------------------------------

    def sync(
        self,
        upserts: Iterable[LanceRow],
        deletes: Iterable[str],
        watermark: int,
        *,
        progress: Callable[[int], None] | None = None,
        seconds_max: float | None = None,
    ) -> SyncReport:
        """Bring the table up to the store's `watermark`; off the request path.

        Parameters
        ----------
        upserts
            Current rows of the keys written since the table's watermark, best in ascending
            `version`. Of two rows with one key the later counts.
        deletes
            Keys that are gone; absent ones, and those in `upserts` too, do no harm.
        progress
            Told the number of rows so far after each commit.
        seconds_max
            Stop after the commit that passes this. Put index building (minutes at 10^6 rows) on
            top: LanceDB does that in one piece.

        Notes
        -----
        Queries go on meanwhile and see the earlier state until the end. Whatever is raised, and
        after kill -9, the table is as before, and the same call can be made again. One sync
        copies the whole table once (LanceDB's compaction), so gather changes.
        """
        with self._lock:
            table = self._writable()
            since_ns = file_time_ns()
            content = self._settled(table)
            target = commits.Target(table, self._settings, self._state.dimension)
            content, report = write_changes(
                self._loop, target, content, upserts, deletes, watermark, progress, seconds_max
            )
            if report.upserted or report.deleted or self.wants_index(content):
                content = self._loop.run(partial(commits.keep_up, target, content))
            self._keep(self._state.with_content(content), since_ns)
            self._loop.run(lambda: commits.prune(table, self._settings.history_s))
            return report

    def wants_index(self, content: Content) -> bool:
        """Would a `sync` without changes make the index that the settings want?"""
        is_worth = is_worth_an_index(self._settings, content.rows)
        return is_worth and content.index != index_name(self._settings)

    def _writable(self) -> Any:
        if self._writer is None:
            raise LanceUnavailableError("the table is open for reading only")
        return self._writer

    def _settled(self, table: Any) -> Content:
        """Take back what a sync that failed has committed."""
        content = self._state.content
        version = self._loop.run(lambda: commits.settle(table, content.version))
        return replace(content, version=version)

    def _keep(self, state: State, since_ns: int) -> None:
        """Make a state the one that counts, here and in other processes."""
        state = keep_state(self._folder, state, since_ns, durable=self._settings.durable)
        self._checked |= state.files.keys()  # sealed from what is there
        self._show(state)

    def drop(self) -> None:
        """Empty the table's folder and close it. Readers get LanceUnavailableError."""
        with self._lock:
            self._writable()
            self.close()
            empty_folder(self._folder)

    def close(self) -> None:
        """Give the thread and the caches back; idempotent."""
        self._loop.close()

    def __enter__(self) -> LanceTable:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
