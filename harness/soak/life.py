"""A process's life on a store: operations one after the other, and what is to be done after a kill.

The order is always the same: say in the ledger what will change, call the store, say that it has.
Whatever is killed in between, the next life finds out which of both states the store has, and that
it has all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from harness.soak.checks import Checks, SoakSubject
from harness.soak.ledger import Header, Kind, Ledger, Phase, VersionState
from harness.soak.mix import Operation, draw
from harness.soak.space import Space
from harness.soak.values import ABSENT, Values
from harness.subject import Vectors

__all__ = ["Done", "Life"]

_LATENCY = {"put": "write", "update": "write", "delete": "write", "get": "get", "search": "search"}


class Done(NamedTuple):
    """One operation that ended.

    Attributes
    ----------
    latency
        Which latency its seconds belong to: "get", "write", "search", or "".
    """

    kind: str
    latency: str
    seconds: float


class Life:
    """The one writing process of a ledger, from the opening of the store to its end.

    Parameters
    ----------
    mix
        A name of `mix.MIXES`.
    versions_max
        The store's setting of that name: what `maintain` will keep.
    wrong
        Told each wrong answer, in words.
    around
        Called with the call of the store that an operation is about; for kills inside it.
    """

    def __init__(
        self,
        subject: SoakSubject,
        ledger: Ledger,
        values: Values,
        space: Space,
        *,
        mix: str,
        seed: int,
        versions_max: int,
        wrong: Callable[[str], None],
        exact: bool = True,
        around: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        self._subject = subject
        self._ledger = ledger
        self._values = values
        self._space = space
        self._mix = mix
        self._seed = seed
        self._versions_max = versions_max
        self._wrong = wrong
        self._around = around or (lambda call: call())
        self.checks = Checks(subject, ledger, values, space, wrong, exact=exact)

    # -- beginning -------------------------------------------------------------------------

    def begin(self) -> None:
        """Find out what a kill left, then verify every key, document and one version.

        A new store is filled first, at once: the first operations put each document.
        """
        self._ledger.header[Header.RESTARTS] += np.uint64(1)
        self.recover()
        while self._ledger.word(Header.OPERATION) < len(self._space.every_document):
            self.go_on()
        self.verify()
        self._ledger.header[Header.RECOVERIES] += np.uint64(1)

    def verify(self) -> None:
        """Every key and document, all versions by number and one of them by its content."""
        self.checks.everything()
        versions = self._ledger.versions()
        restart = self._ledger.word(Header.RESTARTS)
        if versions:
            self.checks.version(versions[restart % len(versions)])
        if restart % 4 == 0:
            self.checks.integrity()

    def recover(self) -> None:
        """Settle or undo the change that was under way. Safe to be killed in, at any point."""
        phase = self._ledger.phase
        if phase == Phase.IDLE:
            return
        try:
            kept = self._subject.version_numbers()
        except self._subject.errors as error:
            self._wrong(f"after a kill the versions cannot be read: {error!r}")
            kept = []
        if phase == Phase.SETTLING:
            self._ledger.settle()
        elif phase in (Phase.INTENDING, Phase.UNDOING) or not self._was_done(kept):
            self._ledger.undo(kept)
            self._ledger.header[Header.FATE_OLD] += np.uint64(1)
        else:
            self._ledger.settle()
            self._ledger.header[Header.FATE_NEW] += np.uint64(1)

    def _was_done(self, kept: list[int]) -> bool:
        """Did the store do the change that it was called for? Wrong if it did a part of it.

        Its versions tell for a snapshot or a rollback, its keys for everything that changes keys.
        """
        votes = {}
        expected = self._ledger.versions(VersionState.EXPECTED)
        for number in expected:
            votes[f"version {number}"] = number in kept
        for key, (old, new) in self._ledger.under_way().items():
            seen = self._look(key)
            name = self._space.names[key]
            is_new = self.checks.is_value(key, new, seen)
            if not is_new and not self.checks.is_value(key, old, seen):
                found = self.checks.known_as(key, seen)
                self._wrong(f"after a kill {name!r} is {found}; wanted stamp {old} or {new}")
            votes[name] = is_new
        if len(set(votes.values())) > 1:
            done = sorted(name for name, is_new in votes.items() if is_new)
            self._wrong(
                f"after a kill a {Kind(self._ledger.word(Header.KIND)).name.lower()} is there in "
                f"part: {len(done)} of {len(votes)} are new, {', '.join(done[:4])}"
            )
        return any(votes.values())

    def _look(self, key: int) -> Vectors | None:
        try:
            return self._subject.get(self._space.names[key])
        except KeyError:
            return None
        except self._subject.errors as error:
            self._wrong(f"after a kill {self._space.names[key]!r} raised {error!r}")
            return None

    # -- going on --------------------------------------------------------------------------

    def go_on(self) -> Done:
        """The next operation; what it returned, or changed, is checked."""
        number = self._ledger.word(Header.OPERATION)
        operation = draw(self._space, self._ledger, self._mix, self._seed, number)
        latency = _LATENCY.get(operation.kind, "")
        if operation.kind == "get":
            begin = time.perf_counter()
            self.checks.read(operation.keys[0])
            seconds = time.perf_counter() - begin
            self._ledger.skip()
        elif operation.kind == "search":
            begin = time.perf_counter()
            self.checks.search(np.random.default_rng(operation.seed))
            seconds = time.perf_counter() - begin
            self._ledger.skip()
        else:
            seconds = self._change(operation)
        return Done(operation.kind, latency, seconds)

    def _change(self, operation: Operation) -> float:
        kind, changes, call = self._call_of(operation)
        argument = self._versions_max if kind == Kind.MAINTAIN else operation.version
        self._ledger.intend(kind, changes, argument)
        begin = time.perf_counter()
        try:
            self._around(call)
        except self._subject.errors as error:
            self._wrong(f"{operation.kind} raised {error!r}")
            self.recover()
            return time.perf_counter() - begin
        seconds = time.perf_counter() - begin
        self._ledger.settle()
        if kind == Kind.ROLLBACK:
            self.checks.everything()
        elif changes:
            keys = list(changes)
            self.checks.read(keys[self._ledger.word(Header.OPERATION) % len(keys)])
        return seconds

    def _call_of(self, operation: Operation) -> tuple[Kind, dict[int, int], Callable[[], object]]:
        """What changes in the ledger, and the call of the store that does it."""
        subject, names = self._subject, self._space.names
        fresh = dict(
            zip(
                operation.changed,
                self._ledger.new_stamps(len(operation.changed)),
                strict=True,
            )
        )
        if operation.kind == "put":
            if not fresh:
                return Kind.PUT, {}, lambda: None
            keys = [names[key] for key in operation.keys]
            vectors = np.stack([self._vector(key, fresh[key]) for key in operation.keys])
            return Kind.PUT, fresh, lambda: subject.put_many(keys, vectors)
        if operation.kind == "update":
            assert operation.document is not None
            document = operation.document
            now = self._ledger.stamps()
            chunks = [
                (names[key], self._vector(key, fresh.get(key, int(now[key]))))
                for key in operation.keys
            ]
            gone = set(document.keys) - set(operation.keys)
            changes = {**dict.fromkeys(sorted(gone), ABSENT), **fresh}
            return Kind.UPDATE, changes, lambda: subject.update_document(document.name, chunks)
        if operation.kind == "delete":
            keys = [names[key] for key in operation.keys]
            changes = dict.fromkeys(operation.keys, ABSENT)
            return Kind.DELETE, changes, lambda: subject.delete(keys)
        if operation.kind == "rollback":
            target = self._ledger.version_stamps(operation.version)
            turned = np.flatnonzero(target != self._ledger.stamps()).tolist()
            changes = {key: int(target[key]) for key in turned}
            return Kind.ROLLBACK, changes, lambda: subject.rollback(operation.version)
        if operation.kind == "snapshot":
            label = f"operation {self._ledger.word(Header.OPERATION)}"
            return Kind.SNAPSHOT, {}, lambda: subject.snapshot(label)
        return Kind.MAINTAIN, {}, subject.maintain

    def _vector(self, key: int, stamp: int) -> Vectors:
        return self._values.of(stamp, self._space.dimension(key))
