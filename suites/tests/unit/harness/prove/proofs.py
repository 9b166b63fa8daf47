"""A proof made by hand in which every judge was right; nothing ran."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import Any

from harness.prove.catalogue import CATALOGUE
from harness.prove.fault import Fault
from harness.prove.matrix import row_of
from harness.prove.proof import Identity
from harness.prove.seen import Seen
from suites.tests.unit.harness.small_run import ENDED_S, SETTING

DIGEST = "a" * 32
WANTED = Identity(
    commit=SETTING.commit,
    content_digest=SETTING.content_digest,
    gates_digest=DIGEST,
    machine=SETTING.machine,
)


def at(moment_s: float) -> str:
    return datetime.datetime.fromtimestamp(moment_s, datetime.UTC).isoformat(timespec="seconds")


MADE = at(ENDED_S - 3600)


def right(fault: Fault) -> Seen:
    """What judges would have said who all were right."""
    seen = Seen()
    for cell in fault.all_cells:
        value = None if cell.between is None else sum(cell.between) / 2
        seen.add(cell.judge, cell.wanted[0], cell.because, value)
    return seen


def made_proof(**more: Any) -> dict[str, Any]:
    """A whole proof in which every judge said what was wanted; made by hand, nothing ran."""
    identity = more.get("identity", asdict(WANTED))
    facts = {"seconds": 1.0, "started": MADE, "identity": identity}
    rows = [row_of(one, right(one), **facts, files={"evidence": "0" * 64}) for one in CATALOGUE]
    return {
        "schema_version": 2,
        "id": "a-proof",
        "verdict": "PROVED",
        "identity": identity,
        "dirty": False,
        "machine": {},
        "command": ["harness", "prove"],
        "started": MADE,
        "ended": MADE,
        "rows": rows,
        **more,
    }
