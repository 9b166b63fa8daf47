"""What a client counted, as plain numbers."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCounters:
    """What happened since a client was wrapped.

    Attributes
    ----------
    hits
        Answers that came from the store.
    calls
        Calls of the model for an embedding, retries of botocore not counted.
    shared
        Answers that came with the call of another thread for the same text.
    passed
        Calls of `invoke_model` that are not for an embedding of Titan, or not plainly so.
    past
        Of `calls`, those made past the store on demand.
    outside
        Of `calls`, those for keys that the setting `rollout_percent` leaves to the model.
    compared
        Of `outside`, those whose answer the store had too, and which were compared.
    shadow_mismatches
        Of `compared`, those that the store would have answered otherwise, by a bit or more.
    refused
        Answers without a whole vector of the right dimension; handed on, never kept.
    kept, kept_verbatim
        Answers written to the store; of them, those whose bytes were kept as they are.
    not_kept
        Answers that could not be kept: the store is read-only, broken, or refuses the vector.
    mismatches
        Kept answers whose vector or bytes have changed since, and so were asked for again.
    store_failures
        Errors of the store that were passed over: the call went to the model.
    tokens_saved
        Sum of inputTextTokenCount over `hits` and `shared`.
    tokens_spent
        The same over `calls`, where the answer told.
    """

    hits: int = 0
    calls: int = 0
    shared: int = 0
    passed: int = 0
    past: int = 0
    outside: int = 0
    compared: int = 0
    shadow_mismatches: int = 0
    refused: int = 0
    kept: int = 0
    kept_verbatim: int = 0
    not_kept: int = 0
    mismatches: int = 0
    store_failures: int = 0
    tokens_saved: int = 0
    tokens_spent: int = 0

    @property
    def calls_saved(self) -> int:
        """Calls of the model that were not made."""
        return self.hits + self.shared


@dataclass(slots=True)
class Tally:
    """Counters under way; every addition counts, from any thread."""

    _numbers: dict[str, int] = field(
        default_factory=lambda: {one.name: 0 for one in fields(ClientCounters)}
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _logged: set[str] = field(default_factory=set)

    def add(self, name: str, tokens: int | None = None) -> int:
        """One more of a counter, and how many now; `tokens` are saved where a call was spared."""
        with self._lock:
            self._numbers[name] += 1
            if tokens:
                self._numbers["tokens_spent" if name == "calls" else "tokens_saved"] += tokens
            return self._numbers[name]

    def is_first(self, kind: str) -> bool:
        """Count a failure of the store; is it the first of its kind?"""
        with self._lock:
            self._numbers["store_failures"] += 1
            is_first = kind not in self._logged
            self._logged.add(kind)
            return is_first

    def snapshot(self) -> ClientCounters:
        """All of them at one moment."""
        with self._lock:
            return ClientCounters(**self._numbers)

    def leave_parent(self) -> None:
        """In a forked child: the lock may be held for ever."""
        self._lock = threading.Lock()
