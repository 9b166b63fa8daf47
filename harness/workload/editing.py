"""The gated workload: one developer at work on a corpus (SPEC section 4, "editing session").

A drifting set of active files is opened, edited, saved and searched. Nobody has published the
figures of a single developer's embedding traffic, so a constant below without a source is marked
as an assumption: vary it before trusting a margin. Results on histories that people really made
come from `harness.workload.git`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from harness.workload.trace import Operation, Trace
from harness.workload.visits import Step, VisitRecorder, read_all, save_document

__all__ = ["EditingSession", "editing_session"]

READS = 100_000  # SPEC section 2, `memory.steady`: 10^5 operations of the editing session


@dataclass(frozen=True, slots=True, kw_only=True)
class EditingSession:
    """Parameters of a session; each default says where it comes from."""

    documents: int = 100  # SPEC section 2: "100 files"
    chunks_per_document: int = 22  # the same: 22 chunks of 1 024 dimensions
    dimension: int = 1024  # the same
    reads: int = READS
    # Files in work at one time. Assumption: as many tabs as fit beside each other.
    active_files: int = 8
    # Of visits that are not searches, those that open a file anew, which drops the file longest
    # untouched: the set drifts. Assumption: one file in ten visits.
    open_share: float = 0.10
    # Visits that are searches. Assumption: one search to four saves or opens.
    search_share: float = 0.20
    # Results read per search. SPEC section 2, `query.latency`: k = 10.
    results: int = 10
    # Where results lie: in active files, in files beside them in order of name (one folder, one
    # subject), or anywhere. Assumption: one looks for what one works on; the rest is split.
    result_active_share: float = 0.80
    result_near_share: float = 0.15
    near_files: int = 3  # distance in order of name that counts as beside; assumption
    # The file touched last is the likeliest to be saved next: chance falls by this factor with
    # each place in order of recency. Assumption.
    recency_factor: float = 0.6

    def __post_init__(self) -> None:
        counts = (self.chunks_per_document, self.dimension, self.active_files, self.results)
        if min(counts) < 1 or self.reads < 0 or self.near_files < 1:
            raise ValueError("counts of an editing session must be at least 1")
        if self.documents <= self.active_files:
            raise ValueError(f"{self.documents} documents, more than {self.active_files} wanted")
        shares = (self.open_share, self.search_share, self.result_active_share)
        near = self.result_near_share
        if not all(0 <= share <= 1 for share in (*shares, near, shares[2] + near)):
            raise ValueError("shares of an editing session must lie between 0 and 1")
        if not 0 < self.recency_factor <= 1:
            raise ValueError(f"recency factor {self.recency_factor}, above 0 to 1 wanted")


def editing_session(seed: int, session: EditingSession | None = None, *, source: str = "") -> Trace:
    """Generate one session; the same seed and parameters give the same trace.

    Parameters
    ----------
    seed
        Of the numpy Generator that makes every choice.
    session
        Parameters, by default those of the gate.
    source
        What the documents are, e.g. a corpus digest; kept in the trace.

    Returns
    -------
    Trace
        The first visit boundary at or after `session.reads` reads ends it. A save reads all the
        document's chunks and writes 1 to 3; an open reads all; a search reads `results` single
        chunks, each from a result of its own.
    """
    chosen = session or EditingSession()
    developer = _Developer(np.random.default_rng(seed), chosen)
    while developer.reads < chosen.reads:
        developer.act()
    return developer.recorder.finish(
        name="editing-session",
        seed=seed,
        documents=chosen.documents,
        chunks_per_document=chosen.chunks_per_document,
        row_bytes=4 * chosen.dimension,
        parameters=asdict(chosen),
        source=source,
    )


class _Developer:
    """What the developer has open, most recently touched first, and what was done so far."""

    def __init__(self, rng: np.random.Generator, session: EditingSession) -> None:
        self.recorder = VisitRecorder(rng)
        self.reads = 0
        self._rng = rng
        self._session = session
        self._active: list[int] = []
        weights = session.recency_factor ** np.arange(session.active_files)
        self._recency = weights / weights.sum()

    def act(self) -> None:
        """One visit: fill the active set first, then search, open or save by their shares."""
        session = self._session
        if len(self._active) < session.active_files:
            self._open()
        elif self._rng.random() < session.search_share:
            self._search()
        elif self._rng.random() < session.open_share:
            self._open()
        else:
            self._save()

    def _open(self) -> None:
        session = self._session
        others = np.setdiff1d(np.arange(session.documents), self._active)
        document = int(self._rng.choice(others))
        self._active = [document, *self._active][: session.active_files]
        self._record(read_all(document, session.chunks_per_document))

    def _save(self) -> None:
        place = int(self._rng.choice(len(self._active), p=self._recency))
        document = self._active.pop(place)
        self._active.insert(0, document)
        self._record(save_document(self._rng, document, self._session.chunks_per_document))

    def _search(self) -> None:
        """Results are distinct chunks; reading them touches no file's recency."""
        session = self._session
        wanted = min(session.results, session.documents * session.chunks_per_document)
        found: dict[tuple[int, int], None] = {}
        while len(found) < wanted:
            chunk = int(self._rng.integers(session.chunks_per_document))
            found[self._result_document(), chunk] = None
        self._record([(document, chunk, Operation.READ) for document, chunk in found])

    def _result_document(self) -> int:
        session = self._session
        draw = self._rng.random()
        if draw >= session.result_active_share + session.result_near_share:
            return int(self._rng.integers(session.documents))
        place = int(self._rng.choice(len(self._active), p=self._recency))
        document = self._active[place]
        if draw < session.result_active_share:
            return document
        distance = int(self._rng.integers(1, session.near_files + 1))
        side = 1 if self._rng.random() < 0.5 else -1
        return (document + side * distance) % session.documents

    def _record(self, steps: list[Step]) -> None:
        self.recorder.visit(steps)
        self.reads += sum(operation is Operation.READ for _, _, operation in steps)
