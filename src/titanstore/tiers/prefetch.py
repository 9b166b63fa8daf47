"""A thread for what no reader should wait for: siblings of a miss, frames of evicted rows.

The reader leaves a document's number in a mailbox of one place and goes on. The thread first waits
for a quiet moment, since two threads that decode at once pass the interpreter to and fro and both
get slow; reads that keep jumping between documents are not walking through one, so their request
is dropped and the thread looks more rarely. A third miss in the same document starts it at once.
While it works it looks, row by row, whether another document was missed, and then gives up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_QUIET_S = 100e-6  # longer than the gap between reads that come one after the other
_QUIET_S_MAX = 50e-3  # while reads jump: each look takes the interpreter from a reader
# Two misses in a row hit one of 100 documents by chance once in 100 reads, and a fetch begun in
# vain disturbs the reads after it: it showed in the p99. Three do so once in 10 000.
_REPEATS = 2
_PATIENCE_S = 2e-3  # a burst of scattered misses that lasts longer drops its last document


class Prefetcher:
    """One daemon thread, started by the first read that was not hot.

    Parameters
    ----------
    fetch
        Called in the thread with a document's number.
    tidy
        Called in the thread afterwards: puts away what was evicted.

    Both get a function to call between two rows, which lets readers pass and says whether to go
    on; neither may raise.
    """

    def __init__(
        self,
        fetch: Callable[[int, Callable[[], bool]], None],
        tidy: Callable[[Callable[[], bool]], None],
    ) -> None:
        self._fetch = fetch
        self._tidy = tidy
        self._wanted = 0  # document asked for and not yet begun
        self._last = 0  # document asked for last
        self._fetching = 0
        self._repeats = 0
        self._again = threading.Event()  # one document was missed so often in a row
        self._quiet_s = _QUIET_S
        self._loads = 0
        self._seen = 0  # loads when the tidying began
        self._pending = False
        self._work = threading.Semaphore(0)
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()
        self._stopping = False

    def request(self, document: int) -> None:
        """Note a read that was not hot; `document` is 0 for one without siblings to fetch.

        Returns at once; the newest request wins. Lock-free: a lost update costs one prefetch.
        """
        self._loads += 1
        if document and document != self._fetching:
            if document != self._last:
                self._last = document
                self._repeats = 0
                self._again.clear()
            else:
                self._repeats += 1
                if self._repeats == _REPEATS:
                    self._again.set()
            self._wanted = document
        if not self._pending:
            self._pending = True
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
            is_quiet = self._settle()
            self._pending = False
            document, self._wanted = self._wanted, 0
            if is_quiet:
                if document:
                    self._fetching = document
                    self._fetch(document, self._may_fetch)
                    self._fetching = 0
                    self._again.clear()
                self._seen = self._loads
                self._tidy(self._may_tidy)
            if not self._pending:
                self._idle.set()
                if self._pending:  # asked for between the two lines above
                    self._idle.clear()

    def _may_fetch(self) -> bool:
        return self._let_pass() and self._wanted in (0, self._fetching)

    def _may_tidy(self) -> bool:
        return self._let_pass() and self._seen == self._loads

    def _let_pass(self) -> bool:
        # a reader that waits for the interpreter gets it now instead of 5 ms later
        time.sleep(0)
        return not self._stopping

    def _settle(self) -> bool:
        """Wait until the reads stop or repeat; False: they kept jumping."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self._stopping:
            seen = self._loads
            if self._again.wait(self._quiet_s) or seen == self._loads:
                self._quiet_s = _QUIET_S
                return True
            if time.monotonic() > deadline:
                self._quiet_s = min(4 * self._quiet_s, _QUIET_S_MAX)
                return False
        return False

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
