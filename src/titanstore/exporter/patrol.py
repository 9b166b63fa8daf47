"""A whole check of a store now and then, in a process of its own at the lowest priority.

Of its own, since it takes minutes for a large store, and since a bad disk may kill whoever reads
there (docs/how-to/reliability.md, "SIGBUS"). `python -m titanstore.exporter.patrol PATH` is it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from titanstore.config import load_config
from titanstore.errors import CorruptionError, StoreError
from titanstore.store import EmbeddingStore

_LOWEST_PRIORITY = 19
_RETRY_S = 60.0  # after a check that came to no end: the cause may have gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How a whole check ended.

    Attributes
    ----------
    ended_s
        Unix time.
    kinds
        Number of problems by kind; empty: none.
    failure
        Why it came to no end; None: it did.
    """

    ended_s: float
    kinds: Mapping[str, int]
    failure: str | None = None


def check_apart(path: Path, on_start: Callable[[subprocess.Popen[bytes]], object]) -> Checked:
    """Check the store in a folder in a process of its own, and wait for it."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, os.fspath(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    on_start(process)
    answer, _ = process.communicate()
    now = time.time()
    if process.returncode < 0:
        return Checked(ended_s=now, kinds={}, failure=f"killed by signal {-process.returncode}")
    try:
        found = json.loads(answer)
        kinds = {str(kind): int(count) for kind, count in found["kinds"].items()}
        return Checked(ended_s=now, kinds=kinds, failure=found["failure"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return Checked(ended_s=now, kinds={}, failure=f"exit status {process.returncode}")


class Patrol:
    """Checks when it begins and then every so often, in a thread, until it is closed.

    Attributes
    ----------
    last
        The last check that ended; None before the first.
    """

    def __init__(self, path: Path, every_s: float) -> None:
        self.last: Checked | None = None
        self._path = path
        self._every_s = every_s
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="titanstore-patrol", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            found = check_apart(self._path, self._begun)
            if self._stop.is_set():  # it was ended, not the store
                return
            self.last = found
            pause_s = self._every_s if found.failure is None else min(self._every_s, _RETRY_S)
            self._stop.wait(pause_s)

    def _begun(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        if self._stop.is_set():
            process.kill()

    def close(self) -> None:
        """End a check that is under way; idempotent."""
        self._stop.set()
        if self._process is not None:
            self._process.kill()
        self._thread.join()


def _answer(path: Path) -> dict[str, object]:
    settings = replace(load_config(), publish=False, prefetch=False, segment_reads="pread")
    try:
        with EmbeddingStore.open(path, settings, read_only=True) as store:
            report = store.check()
    except CorruptionError as error:
        return {"kinds": {str(error.kind): 1}, "failure": None}
    except StoreError as error:
        return {"kinds": {}, "failure": str(error.kind)}
    return {
        "kinds": Counter(str(problem.kind) for problem in report.problems),
        "failure": None,
    }


if __name__ == "__main__":
    os.nice(_LOWEST_PRIORITY)
    sys.stdout.write(json.dumps(_answer(Path(sys.argv[1]))))
