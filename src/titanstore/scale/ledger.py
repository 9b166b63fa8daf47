"""Small files of a job beside its table: what each part has written.

A file is written whole under a name of its own, never replaced, and carries a checksum: who reads
one that is damaged or torn takes it for absent, and that part is done again.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crc32c import crc32c

from titanstore.scale.location import Location, lance, reaching

_NOTE = re.compile(r"part-([0-9]+)-[0-9a-f]{8}\.json")
_DONE = re.compile(r"done-[0-9a-f]{8}\.json")


class Ledger:
    """The notes of one job, in a folder or below a prefix of a bucket. Any process may use one."""

    def __init__(self, table: Location, job: str) -> None:
        self._place = table.beside("jobs")
        self._job = job

    def note(self, part: int, told: Mapping[str, Any]) -> None:
        """Keep what a part has written."""
        self._write(f"part-{part:06d}-{secrets.token_hex(4)}.json", told)

    def notes(
        self, holds: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[int, dict[str, Any]]:
        """Of each part that was done, the first note that is whole and `holds`.

        Several workers may have done one part, each with files of its own: only those of the note
        that is found here are ever committed.
        """
        found: dict[int, dict[str, Any]] = {}
        for name in self._names():
            named = _NOTE.fullmatch(name)
            if named is None:
                continue
            part = int(named[1])
            told = None if part in found else self._read(name)
            if told is not None and holds(told):
                found[part] = told
        return found

    def end(self, told: Mapping[str, Any]) -> None:
        """Keep what the job did in all: it is committed."""
        self._write(f"done-{secrets.token_hex(4)}.json", told)

    def ended(self) -> dict[str, Any] | None:
        """What the job did, if it is committed.

        Of runs in several places all but one found everything there: what that one did counts.
        """
        told = [self._read(name) for name in self._names() if _DONE.fullmatch(name)]
        return max(
            (each for each in told if each is not None),
            key=lambda each: each["added"],
            default=None,
        )

    # -- files -----------------------------------------------------------------------------

    def _session(self) -> Any:
        return lance().file.LanceFileSession(self._place.uri, storage_options=self._place.options())

    def _names(self) -> list[str]:
        with reaching(self._place):
            if self._place.is_local:
                folder = Path(self._place.uri) / self._job
                return sorted(each.name for each in folder.glob("*.json"))
            return sorted(each.rpartition("/")[2] for each in self._session().list(self._job))

    def _write(self, name: str, told: Mapping[str, Any]) -> None:
        body = json.dumps(told, sort_keys=True).encode()
        data = b"%08x\n" % crc32c(body) + body
        with reaching(self._place):
            if self._place.is_local:
                folder = Path(self._place.uri) / self._job
                folder.mkdir(parents=True, exist_ok=True)
                torn = folder / f".{name}"
                torn.write_bytes(data)
                torn.rename(folder / name)
                return
            with tempfile.TemporaryDirectory() as folder_name:
                path = Path(folder_name) / name
                path.write_bytes(data)
                self._session().upload_file(os.fspath(path), f"{self._job}/{name}")

    def _read(self, name: str) -> dict[str, Any] | None:
        with reaching(self._place), tempfile.TemporaryDirectory() as folder_name:
            if self._place.is_local:
                path = Path(self._place.uri) / self._job / name
            else:
                path = Path(folder_name) / name
                self._session().download_file(f"{self._job}/{name}", os.fspath(path))
            data = path.read_bytes()
        told, _, body = data.partition(b"\n")
        if told != b"%08x" % crc32c(body):
            return None
        found = json.loads(body)
        return found if isinstance(found, dict) else None
