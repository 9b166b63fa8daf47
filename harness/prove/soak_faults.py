"""Faults that are put into the life of a worker (`harness.prove.soaks`)."""

from __future__ import annotations

from harness.prove.fault import Fault
from harness.prove.fault import catch as _catch
from harness.prove.fault import quiet as _quiet

__all__ = ["SOAKS"]

_GROWTH = ("soak: anonymous", "soak: shared memory", "soak: descriptors", "soak: threads")
_PAGES = "soak: clean file pages"
_KEPT_HEAP, _KEPT_PAGES = "kept by the worker: buffers", "kept by the worker: mapped pages"
_NO_BUFFERS, _NO_PAGES = _quiet(_KEPT_HEAP, "none"), _quiet(_KEPT_PAGES, "none")

SOAKS: tuple[Fault, ...] = (
    Fault(
        id="control-soak",
        title="nothing broken, 24 simulated hours",
        injected="nothing",
        kind="soak",
        tier="simulated",
        cells=(
            *(_quiet(judge) for judge in _GROWTH),
            _quiet(_PAGES),
            _NO_BUFFERS,
            _NO_PAGES,
            # simulated hours never satisfy the gate
            _quiet("soak.day", "INVALID", because="simulated"),
        ),
    ),
    Fault(
        id="leak-40k",
        title="a leak of 40 KB an hour",
        injected="buffers of 1 KB that a worker keeps, 40 KB of them a simulated hour",
        kind="soak",
        tier="simulated",
        control="control-soak",
        cells=(
            # a buffer of 1 KB has a header of Python's and one of malloc's
            _catch("soak: anonymous", "FAIL", between=(20e3, 90e3)),
            _catch(_KEPT_HEAP, "some", between=(955e3, 960e3)),
            *(_quiet(judge) for judge in _GROWTH[1:]),
            _quiet(_PAGES),
            _NO_PAGES,
        ),
        settings={"heap_bytes_an_hour": 40_000},
    ),
    Fault(
        id="leak-2k",
        title="a leak of 2 KB an hour, which is within the budget",
        injected="buffers of 1 KB that a worker keeps, 2 KB of them a simulated hour",
        kind="soak",
        tier="simulated",
        control="control-soak",
        cells=(
            # the soak must keep quiet, so that nobody else would miss the leak if it were left out
            _catch(_KEPT_HEAP, "some", between=(46e3, 48e3)),
            *(_quiet(judge) for judge in _GROWTH),
            _quiet(_PAGES),
            _NO_PAGES,
        ),
        settings={"heap_bytes_an_hour": 2_000},
    ),
    Fault(
        id="growing-mapping-soak",
        title="a growing file mapping, 24 simulated hours",
        injected="a file mapped and read 4 MB further a simulated hour",
        kind="soak",
        tier="simulated",
        control="control-soak",
        cells=(
            _catch(_PAGES, "FAIL", between=(3e6, 5e6)),
            _catch(_KEPT_PAGES, "some", between=(95e6, 97e6)),
            *(_quiet(judge) for judge in _GROWTH),
            _NO_BUFFERS,
        ),
        settings={"mapped_bytes_an_hour": 4_000_000},
    ),
    Fault(
        id="empty-soak",
        title="a soak with no observations",
        injected="a worker that begins a segment of evidence, and ends without one observation",
        kind="soak",
        tier="real-time",
        cells=(
            _catch("soak.day", "INVALID", because="no observations"),
            _catch("soak: anonymous", "NOT RUN"),
        ),
        settings={"hours": 0},
    ),
)
