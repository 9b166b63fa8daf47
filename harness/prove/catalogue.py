"""The faults of SPEC section 7 as data: what is broken, who must notice, who must keep quiet.

A control comes before the faults that are the same but for what is broken.

A cell names a gate or row of harness/targets.toml, or one of the harness's other judges:
`decision` (GO, NO-GO, HOLD), `exit` (the status of the command), `harness verify`, `all other rows`
(those of the run that no cell names and no caught gate has), `soak: <resource>` (the slope of a
soak), `kept by the worker` (what the worker holds at its end) and `compare: <benchmark>`.
"""

from __future__ import annotations

from harness.prove.compare_faults import COMPARES
from harness.prove.fault import Fault
from harness.prove.run_faults import RUNS
from harness.prove.soak_faults import SOAKS

__all__ = ["CATALOGUE", "by_id"]

CATALOGUE: tuple[Fault, ...] = (*RUNS, *SOAKS, *COMPARES)


def by_id(name: str) -> Fault:
    """The fault of that name; raises KeyError."""
    for fault in CATALOGUE:
        if fault.id == name:
            return fault
    raise KeyError(name)
