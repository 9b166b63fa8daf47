"""Is what the store answers among what it may answer now? Each answer, beside writers at work.

A read is right if it returned a value that was acknowledged, or under way, at some moment from its
begin to its end (`harness/soak/ledger.py`). A search is right if each of its hits has a distance
that is exactly the true one of such a value, in order, and nothing that was there all the time and
nearer is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from harness.oracle import METRICS, distance
from harness.soak.ledger import Ledger, Span, VersionState, Words
from harness.soak.space import Document, Space
from harness.soak.values import ABSENT, Values
from harness.subject import Vectors

__all__ = ["Checks", "SoakSubject"]

_HITS = 10
_MARGIN = 1e-9  # of a float64 scan over 1536 terms; its true error is below 1e-12
_STAMPS_SHOWN = 4


class SoakSubject(Protocol):
    """What a soak asks of a store."""

    get: Callable[[str], Vectors]
    errors: type[Exception]

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None: ...
    def update_document(self, document: str, chunks: Sequence[tuple[str, Vectors]]) -> None: ...
    def delete(self, keys: Sequence[str]) -> None: ...
    def get_many(self, keys: Sequence[str]) -> Vectors: ...
    def search(
        self, query: Vectors, k: int = 10, metric: str = "cosine"
    ) -> Sequence[tuple[str, float]]: ...
    def maintain(self) -> None: ...
    def snapshot(self, label: str) -> int: ...
    def get_at(self, version: int, key: str) -> Vectors: ...
    def rollback(self, version: int) -> None: ...
    def version_numbers(self) -> list[int]: ...
    def documents(self) -> dict[str, list[str]]: ...
    def problems(self) -> list[str]: ...
    def wait_for_prefetch(self) -> None: ...
    def close(self) -> None: ...
    def __len__(self) -> int: ...


class Checks:
    """Compares the answers of one open store with a ledger.

    Parameters
    ----------
    wrong
        Told each wrong answer, in words.
    exact
        Searches are exact; False with a LanceDB index, where the choice of hits may differ and
        only their distances are checked.
    """

    def __init__(
        self,
        subject: SoakSubject,
        ledger: Ledger,
        values: Values,
        space: Space,
        wrong: Callable[[str], None],
        *,
        exact: bool = True,
    ) -> None:
        self._subject = subject
        self._ledger = ledger
        self._values = values
        self._space = space
        self._wrong = wrong
        self._exact = exact
        self._mirrors: dict[int, _Mirror] = {}
        self.checked = 0
        self.not_judged = 0

    # -- reads -----------------------------------------------------------------------------

    def read(self, key: int) -> None:
        """Get one key and check what comes back."""
        span = self._ledger.before(key)
        try:
            seen: Vectors | None = self._subject.get(self._space.names[key])
        except KeyError:
            seen = None
        except self._subject.errors as error:
            self._wrong(f"get of {self._space.names[key]!r} raised {error!r}")
            return
        self.judge(key, seen, span)

    def document(self, document: Document) -> None:
        """Get all keys of a document at once, as far as they seem to be there."""
        spans = {key: self._ledger.before(key) for key in document.keys}
        keys = [key for key in document.keys if self._ledger.stamp(key) != ABSENT]
        try:
            rows = self._subject.get_many([self._space.names[key] for key in keys])
        except (KeyError, self._subject.errors):
            for key in keys:  # one may have gone meanwhile; each for itself will tell
                self.read(key)
            return
        if len(rows) != len(keys):
            self._wrong(f"{len(keys)} keys of {document.name} asked for, {len(rows)} rows came")
            return
        for key, row in zip(keys, rows, strict=True):
            self.judge(key, row, spans[key])

    def judge(self, key: int, seen: Vectors | None, span: Span) -> None:
        """Is this what a read of `key` begun at `span` may return?"""
        allowed = self._ledger.allowed(key, span)
        if allowed is None:
            self.not_judged += 1
            return
        self.checked += 1
        if not any(self.is_value(key, stamp, seen) for stamp in allowed):
            shown = ", ".join(map(str, allowed[:_STAMPS_SHOWN]))
            found = self.known_as(key, seen)
            self._wrong(
                f"{self._space.names[key]!r} came back as {found}; wanted the vector of stamp "
                f"{shown}"
            )

    def is_value(self, key: int, stamp: int, seen: Vectors | None) -> bool:
        """Is this the vector of a stamp, bit for bit? None is that of ABSENT."""
        if seen is None or stamp == ABSENT:
            return seen is None and stamp == ABSENT
        wanted = self._values.of(stamp, self._space.dimension(key))
        return seen.tobytes() == wanted.tobytes()

    def known_as(self, key: int, seen: Vectors | None) -> str:
        """In words, what a wrong vector is: an older one of the key's, or none that was written."""
        if seen is None:
            return "absent"
        newest = self._ledger.last_stamp
        for stamp in range(newest, max(0, newest - 20_000), -1):
            if self.is_value(key, stamp, seen):
                return f"the vector of stamp {stamp}"
        return "a vector that was never written lately"

    def everything(self) -> None:
        """Every key, every document, and which versions there are; nobody writes meanwhile."""
        stamps = self._ledger.stamps()
        for wide in sorted({self._space.dimension(key) for key in range(len(self._space))}):
            keys = [
                key
                for key in np.flatnonzero(stamps != ABSENT).tolist()
                if self._space.dimension(key) == wide
            ]
            self._many(keys, stamps)
        for key in np.flatnonzero(stamps == ABSENT).tolist():
            self.read(key)
        self._whole(stamps)

    def _many(self, keys: Sequence[int], stamps: Words) -> None:
        if not keys:
            return
        try:
            rows = self._subject.get_many([self._space.names[key] for key in keys])
        except (KeyError, self._subject.errors):
            for key in keys:  # which of them it is
                self.read(key)
            return
        for key, row in zip(keys, rows, strict=True):
            self.checked += 1
            if not self.is_value(key, int(stamps[key]), row):
                self._wrong(
                    f"{self._space.names[key]!r} is {self.known_as(key, row)}; wanted the vector "
                    f"of stamp {int(stamps[key])}"
                )

    def _whole(self, stamps: Words) -> None:
        count = int(np.count_nonzero(stamps != ABSENT))
        wanted = {
            document.name: [self._space.names[key] for key in document.keys if stamps[key]]
            for document in self._space.every_document
            if stamps[document.keys.start : document.keys.stop].any()
        }
        try:
            found, documents = len(self._subject), self._subject.documents()
            versions = self._subject.version_numbers()
        except self._subject.errors as error:
            self._wrong(f"the lists of the store raised {error!r}")
            return
        if found != count:
            self._wrong(f"the store has {found} vectors, wanted {count}")
        for name in sorted(wanted.keys() | documents.keys()):
            if documents.get(name) != wanted.get(name):
                self._wrong(f"document {name}: {documents.get(name)}, wanted {wanted.get(name)}")
        kept = self._ledger.versions(VersionState.KEPT)
        if versions != kept:
            self._wrong(f"the store has versions {versions}, wanted {kept}")

    def version(self, number: int) -> None:
        """Every key as it was in a version; nobody writes meanwhile."""
        for key, stamp in enumerate(self._ledger.version_stamps(number).tolist()):
            try:
                seen: Vectors | None = self._subject.get_at(number, self._space.names[key])
            except KeyError:
                seen = None
            except self._subject.errors as error:
                self._wrong(f"version {number}, {self._space.names[key]!r}: {error!r}")
                continue
            self.checked += 1
            if not self.is_value(key, stamp, seen):
                self._wrong(
                    f"{self._space.names[key]!r} of version {number} is "
                    f"{self.known_as(key, seen)}; wanted that of stamp {stamp}"
                )

    def integrity(self) -> None:
        """The store's own walk over all that it holds."""
        for problem in self._subject.problems():
            self._wrong(f"check: {problem}")

    # -- searches --------------------------------------------------------------------------

    def search(self, rng: np.random.Generator) -> None:
        """Search for something near a stored vector, or for one of no key, and check the hits."""
        before, stamps = self._ledger.settled(), self._ledger.stamps()
        near = int(rng.integers(len(self._space)))
        dimension = self._space.dimension(near)
        metric = METRICS[int(rng.integers(len(METRICS)))]
        mirror = self._mirrors.get(dimension)
        if mirror is None:
            mirror = self._mirrors[dimension] = _Mirror(self._space, dimension)
        if not stamps[mirror.keys].any():
            self.not_judged += 1  # a store without a vector of the dimension refuses the query
            return
        stamp = int(stamps[near]) or 1 + int(rng.integers(1_000_000))
        query = self._values.of(stamp, dimension)
        try:
            hits = self._subject.search(query, _HITS, metric)
        except self._subject.errors as error:
            self._wrong(f"a {metric} search of {dimension} raised {error!r}")
            return
        moved = self._ledger.begun() != before
        if not self._hits_are_true(hits, query, metric, before):
            return
        if self._exact:
            mirror.refresh(stamps, self._values)
            self._none_is_missing(hits, mirror, stamps, moved, query, metric)
        self.checked += 1

    def _hits_are_true(
        self, hits: Sequence[tuple[str, float]], query: Vectors, metric: str, before: Words
    ) -> bool:
        for name, seen in hits:
            key = self._space.numbers.get(name)
            if key is None:
                self._wrong(f"a {metric} search found {name!r}, which was never put")
                return False
            allowed = self._ledger.allowed(key, Span(settled=int(before[key])))
            if allowed is None:
                self.not_judged += 1
                return False
            true = [
                distance(self._values.of(stamp, len(query)), query, metric)
                for stamp in dict.fromkeys(allowed)
                if stamp != ABSENT
            ]
            if seen not in true:
                self._wrong(f"a {metric} search found {name!r} at {seen!r}, its distance is {true}")
                return False
        order = [(seen, name) for name, seen in hits]
        if order != sorted(order) or len({name for name, _ in hits}) < len(hits):
            self._wrong(f"the hits of a {metric} search are out of order or double: {order}")
            return False
        return True

    def _none_is_missing(
        self,
        hits: Sequence[tuple[str, float]],
        mirror: _Mirror,
        stamps: Words,
        moved: Words,
        query: Vectors,
        metric: str,
    ) -> None:
        found = {self._space.numbers[name] for name, _ in hits}
        farthest = hits[-1][1] if len(hits) == _HITS else np.inf
        near = mirror.distances(query, metric) < farthest - _MARGIN
        there = near & (stamps[mirror.keys] != ABSENT) & ~moved[mirror.keys]
        missing = [key for key in mirror.keys[there].tolist() if key not in found]
        if missing:
            names = [self._space.names[key] for key in missing[:_STAMPS_SHOWN]]
            self._wrong(f"a {metric} search of {len(query)} values missed {names}")


class _Mirror:
    """The vectors that the keys of one dimension should have, made anew where a stamp changed."""

    def __init__(self, space: Space, dimension: int) -> None:
        self.keys = np.array(
            [key for key in range(len(space)) if space.dimension(key) == dimension]
        )
        self._dimension = dimension
        self._stamps = np.zeros(len(self.keys), np.uint64)
        self._wide = np.zeros((len(self.keys), dimension))
        self._squares = np.zeros(len(self.keys))

    def refresh(self, stamps: Words, values: Values) -> None:
        now = stamps[self.keys]
        for row in np.flatnonzero(now != self._stamps).tolist():
            if now[row] != ABSENT:
                self._wide[row] = values.of(int(now[row]), self._dimension)
                self._squares[row] = self._wide[row] @ self._wide[row]
        self._stamps = now

    def distances(
        self, query: Vectors, metric: str
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        wide = query.astype(np.float64)
        dots, square = self._wide @ wide, float(wide @ wide)
        if metric == "dot":
            return np.asarray(1 - dots)
        if metric == "l2":
            return np.asarray(self._squares + square - 2 * dots)
        sizes = np.sqrt(self._squares * square)
        return np.asarray(1 - np.divide(dots, sizes, out=np.zeros_like(dots), where=sizes > 0))
