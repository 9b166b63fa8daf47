"""A fault of a few cells, what judges said of it, and one that a real worker proves in seconds."""

from __future__ import annotations

from harness.prove.fault import Cell, Fault
from harness.prove.seen import Seen

QUICK = "empty-soak"  # a real worker, in seconds
FACTS = {"seconds": 1.0, "started": "2027-01-01T00:00:00+00:00", "files": {}}


def seen(**verdicts: str) -> Seen:
    found = Seen()
    for judge, verdict in verdicts.items():
        found.add(judge, verdict, "a reason with words in it")
    return found


def fault(*cells: Cell) -> Fault:
    return Fault(id="f", title="t", injected="i", kind="run", tier="emulated", cells=cells)
