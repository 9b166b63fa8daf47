"""After a miss, decode the rest of the document in a thread of its own.

The wanted vector never waits: the reader leaves the document's number in a mailbox of one place
and goes on. The thread first waits a moment. If another document was missed meanwhile, the reads
are not walking through documents and decoding siblings would only take the interpreter away from
them, so it waits again and keeps only the newest; a second miss in the same document starts it at
once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_QUIET_S = 50e-6  # longer than the next chunk of a burst takes to be missed
_PATIENCE_S = 2e-3  # a burst of scattered misses that lasts longer drops its last document


class Prefetcher:
    """One daemon thread, started by the first miss that has siblings.

    Parameters
    ----------
    fetch
        Called in the thread with a document's number; it must not raise.
    """

    def __init__(self, fetch: Callable[[int], None]) -> None:
        self._fetch = fetch
        self._wanted = 0  # document asked for and not yet begun
        self._repeated = False
        self._requests = 0
        self._work = threading.Semaphore(0)
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()
        self._stopping = False

    def request(self, document: int) -> None:
        """Ask for a document's siblings; returns at once, newest request wins."""
        self._requests += 1
        if self._wanted == document:
            self._repeated = True
            return
        self._repeated = False
        pending = self._wanted != 0
        self._wanted = document
        if not pending:
            self._idle.clear()
            if self._thread is None:
                self._begin()
            self._work.release()

    def _begin(self) -> None:
        with self._start:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(
                    target=self._run, name="titanstore-prefetch", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._work.acquire()
            if self._stopping:
                return
            if self._settle():
                document, self._wanted = self._wanted, 0
                if document:
                    self._fetch(document)
            if not self._wanted:
                self._idle.set()

    def _settle(self) -> bool:
        """Wait until the misses stop or repeat; False: they kept jumping, forget the request."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._repeated:
            seen = self._requests
            time.sleep(_QUIET_S)
            if seen == self._requests:
                return True
            if time.monotonic() > deadline:
                self._wanted = 0
                return False
        return True

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is asked for or under way; for tests and measurements."""
        return self._idle.wait(timeout_s)

    def stop(self) -> None:
        """End the thread and wait for it; idempotent."""
        with self._start:
            self._stopping = True
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            self._work.release()
            thread.join()
