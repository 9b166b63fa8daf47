"""Answers as they come, each durable before the next call is made; nothing paid for is lost.

A folder of recordings holds `journal.jsonl`, one object an answer or a lost call, and the bodies.
While a call is made `under-way.json` says which: whoever is killed then may have been billed for
it, and the next one that opens the folder counts it.
`provenance.json`, the .npz files and `bodies/index.json`, which `fixtures.titan.recorded` reads,
are made from them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UsageError

__all__ = ["Entry", "Journal"]

_NAME = "journal.jsonl"
_UNDER_WAY = "under-way.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One call that was or may have been billed.

    Attributes
    ----------
    digest
        Of model and request (`fixtures.titan.recorded.request_digest`).
    turn
        0 for the first time that this was asked, 1 for the second, ...
    file
        Of the body, in `bodies`; "" where no answer came.
    sha256
        Of the body; "" where no answer came.
    cost
        Picodollars.
    at_s
        Unix time.
    host
        That answered; only Bedrock's own makes live evidence.
    """

    model: str
    request: Mapping[str, Any]
    digest: str
    turn: int
    file: str
    sha256: str
    tokens: int
    cost: int
    at_s: float
    region: str
    machine: str
    host: str


class Journal:
    """The recordings of one folder; one process writes (`locked`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bodies = folder / "bodies"
        self.entries: list[Entry] = []

    @classmethod
    @contextmanager
    def locked(cls, folder: Path) -> Iterator[Journal]:
        """Open a folder of recordings, or make one; cuts what a kill left half-written.

        Raises
        ------
        UsageError
            Another process records into it, or it holds something else.
        """
        journal = cls(folder)
        journal.bodies.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(f"another process records into {folder}") from error
            if not (folder / _NAME).exists() and (folder / "provenance.json").exists():
                raise UsageError(f"{folder} holds recordings that this command did not make")
            (folder / _NAME).touch()
            journal._read()
            yield journal

    def _read(self) -> None:
        path = self.folder / _NAME
        if not path.exists():
            return
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):  # killed while it was written: its body is asked for again
            with path.open("r+b") as file:
                file.truncate(len(whole))
        try:
            self.entries = [Entry(**json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError) as error:
            raise UsageError(f"{path} is damaged: {error}") from error
        self._count_under_way()

    def _count_under_way(self) -> None:
        """Count a call that was begun, and of whose end nothing is known, as billed."""
        path = self.folder / _UNDER_WAY
        if not path.exists():
            return
        try:
            found = json.loads(path.read_bytes())
            place, told = int(found["place"]), dict(found["call"])
        except (ValueError, KeyError, TypeError):  # killed while it was written: not begun
            path.unlink()
            return
        if place == len(self.entries):  # else its entry is there
            self.keep(b"", **told)
        path.unlink(missing_ok=True)

    @contextmanager
    def under_way(self, **told: Any) -> Iterator[None]:
        """Around a call: what it may cost is durable before it is made.

        `told` are the fields of its entry if no answer comes. A HarnessError (a refusal, which is
        not billed) takes the note away; whatever else ends it leaves it to `keep`, or to the next
        who opens the folder.
        """
        note = {"place": len(self.entries), "call": told}
        with (self.folder / _UNDER_WAY).open("wb") as file:
            file.write(json.dumps(note).encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            yield
        except HarnessError:
            (self.folder / _UNDER_WAY).unlink(missing_ok=True)
            raise

    def has(self, digest: str, turn: int) -> bool:
        """Is there an answer?"""
        return any(
            entry.file and (entry.digest, entry.turn) == (digest, turn) for entry in self.entries
        )

    def spent(self) -> int:
        """Picodollars of all calls of this folder."""
        return sum(entry.cost for entry in self.entries)

    def keep(self, body: bytes, **told: Any) -> Entry:
        """Write an answer's body, then its entry, both durably; `body` b"" for a lost call."""
        name = ""
        if body:
            name = f"{told['digest'][:32]}-{told['turn']}.json"
            with (self.bodies / name).open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
        entry = Entry(file=name, sha256=hashlib.sha256(body).hexdigest() if body else "", **told)
        with (self.folder / _NAME).open("ab") as journal:
            journal.write(json.dumps(asdict(entry)).encode() + b"\n")
            journal.flush()
            os.fsync(journal.fileno())
        self.entries.append(entry)
        (self.folder / _UNDER_WAY).unlink(missing_ok=True)
        return entry

    def body(self, entry: Entry) -> bytes:
        """The body of an entry, as it was sent.

        Raises
        ------
        UsageError
            It is gone, or not what came.
        """
        path = self.bodies / entry.file
        try:
            found = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from error
        if hashlib.sha256(found).hexdigest() != entry.sha256:
            raise UsageError(f"{path} is not what Titan sent: recordings are not edited")
        return found
