"""What a store remembers of migrations: versions, so that nothing new lies on the disk.

Before its first write a migration takes a version and tags it "migration <identity>"; when all is
moved and verified it takes one with the label "migration <identity> done". A tag without the second
is a migration under way, to be gone on with. The label of the first holds a digest of the source's
fingerprint, so that one that has changed since is noticed.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from titanstore.store import EmbeddingStore
from titanstore.types import Version

_WORD = "migration"
_DONE = "done"


class Mark(NamedTuple):
    """One migration that can be undone.

    Attributes
    ----------
    before
        The version that its first write followed.
    done
        The version that it ended with; None while it is under way.
    """

    identity: str
    before: Version
    done: Version | None

    def is_of(self, fingerprint: str) -> bool:
        """Did the source have this fingerprint when it began?"""
        return (self.before.label or "").endswith(f" of {_digest(fingerprint)}")


def marks(store: EmbeddingStore) -> list[Mark]:
    """All migrations that can be undone, oldest first."""
    versions = store.versions()
    found = []
    for before in versions:
        for tag in before.tags:
            word, _, identity = tag.partition(" ")
            if word != _WORD:
                continue
            ends = [
                one
                for one in versions
                if one.number > before.number and one.label == _label_done(identity)
            ]
            found.append(Mark(identity, before, ends[0] if ends else None))
    return found


def mark_of(store: EmbeddingStore, identity: str) -> Mark | None:
    """The migration of that identity, if it left its mark."""
    return next((mark for mark in marks(store) if mark.identity == identity), None)


def begin(store: EmbeddingStore, identity: str, fingerprint: str) -> Version:
    """Take the version to go back to, durably; an older mark of the same identity ends."""
    version = store.snapshot(f"{_WORD} {identity} of {_digest(fingerprint)}")
    if mark_of(store, identity) is not None:
        store.untag(f"{_WORD} {identity}")
    return store.tag(version, f"{_WORD} {identity}")


def end(store: EmbeddingStore, identity: str) -> Version:
    """Say that all of it is there."""
    return store.snapshot(_label_done(identity))


def forget(store: EmbeddingStore, mark: Mark) -> None:
    """Take a mark away: it was undone."""
    store.untag(f"{_WORD} {mark.identity}")


def _label_done(identity: str) -> str:
    return f"{_WORD} {identity} {_DONE}"


def _digest(fingerprint: str) -> str:
    return hashlib.blake2b(fingerprint.encode(), digest_size=16).hexdigest()
