"""The faults of SPEC section 7 as data: what is broken, who must notice, who must keep quiet.

A cell names a gate or row of harness/targets.toml, or one of the harness's other judges:
`decision` (GO, NO-GO, HOLD), `exit` (the status of the command), `harness verify`,
`soak: <resource>` (the slope of a soak) and `compare: <benchmark>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CATALOGUE", "Cell", "Fault", "by_id"]

_QUIET = "quiet"
_CATCH = "catch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one judge must say about one fault.

    Attributes
    ----------
    wanted
        Verdicts that are right; several only where a quiet judge may be unsure.
    kind
        "catch" or "quiet".
    because
        Words that the judge's reason must contain: else it was right by accident.
    """

    judge: str
    wanted: tuple[str, ...]
    kind: str
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault, or one control in which nothing is broken.

    Attributes
    ----------
    kind
        Which module injects it: "run", "soak" or "compare".
    tier
        Evidence tier that the gates judged.
    settings
        What the injector needs to know.
    """

    id: str
    title: str
    injected: str
    kind: str
    tier: str
    cells: tuple[Cell, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        judges = [cell.judge for cell in self.cells]
        if not judges or len(set(judges)) < len(judges):
            raise ValueError(f"{self.id}: each of its judges once, got {judges}")


def _catch(judge: str, *wanted: str, because: str = "") -> Cell:
    return Cell(judge=judge, wanted=wanted, kind=_CATCH, because=because)


def _quiet(judge: str, *wanted: str) -> Cell:
    return Cell(judge=judge, wanted=wanted or ("PASS",), kind=_QUIET)


# Enough for one row of quality.bits, in seconds; and what each larger gate needs at least
_SMALL = {"files": 1, "hostile_vectors": 200}
_HUNDRED = {"hostile_vectors": 200, "updates": 30, "search_sizes": (2_200,)}
# A third as fast as the gate's own: time must not decide a control, even on a busy machine
_SLOWLY = {**_HUNDRED, "trace_pace": 3.0}
_BITS = ("quality.bits",)
_HOSTILE, _EMULATED = "quality.bits.hostile", "quality.bits.emulated"
_LOST, _HITS, _SEARCH = "update.latency.lost", "hit_ratio.hot.editing", "quality.search.2200"
_ENCODE, _DECODE = "compare: codec.Encode.time_encode_8", "compare: codec.Decode.time_decode_32"
_NOT_SLOWER = ("NO REGRESSION", "INCONCLUSIVE")
_GROWTH = ("soak: anonymous", "soak: shared memory", "soak: descriptors", "soak: threads")

CATALOGUE: tuple[Fault, ...] = (
    Fault(
        id="control-run",
        title="nothing broken, a small run",
        injected="nothing",
        kind="run",
        tier="emulated, synthetic",
        cells=(
            _quiet(_EMULATED),
            _quiet(_HOSTILE),
            _quiet("quality.api.emulated"),
            _quiet("harness verify", "stands"),
            _quiet("decision", "HOLD"),  # two gates only: the others are NOT RUN
        ),
        settings={"only": ("quality.bits", "quality.api"), "sizes": _SMALL},
    ),
    Fault(
        id="flipped-bit",
        title="one flipped bit on the disk",
        injected="one bit of the newest segment file of a store, flipped in the file",
        kind="run",
        tier="emulated",
        cells=(
            _catch(_EMULATED, "FAIL"),
            _catch("quality.bits", "FAIL"),
            _catch("decision", "NO-GO"),
            _quiet(_HOSTILE),
            _quiet("harness verify", "stands"),
        ),
        settings={"only": _BITS, "sizes": _SMALL, "flip": True},
    ),
    Fault(
        id="other-commit",
        title="evidence of another commit",
        injected="raw samples that a clone of this project measured at a commit of its own, sealed",
        kind="run",
        tier="synthetic",
        cells=(
            _catch(_HOSTILE, "INVALID", because="another commit"),
            _catch("decision", "HOLD"),
            _quiet(_EMULATED),
        ),
        settings={"only": _BITS, "sizes": _SMALL, "tamper": "other-commit"},
    ),
    Fault(
        id="deleted-evidence",
        title="a deleted evidence file",
        injected="the file of one measurement, deleted after the run",
        kind="run",
        tier="emulated",
        cells=(
            _catch(_EMULATED, "INVALID", because="missing"),
            _catch("harness verify", "does not stand", because="missing"),
            _quiet(_HOSTILE),
        ),
        settings={"only": _BITS, "sizes": _SMALL, "tamper": "deleted"},
    ),
    Fault(
        id="empty-answer",
        title="an empty {} answer from the mocked Bedrock",
        injected="moto's own answer, `{}`, to every invoke_model of a real boto3 client",
        kind="run",
        tier="emulated",
        cells=(_catch("exit", "4, no verdict", because="without a vector"),),
        settings={"only": _BITS, "sizes": _SMALL, "empty_body": True},
    ),
    Fault(
        id="tracemalloc",
        title="tracemalloc left on",
        injected="PYTHONTRACEMALLOC=1 in the environment of every worker",
        kind="run",
        tier="emulated, synthetic",
        cells=(
            _catch(_HOSTILE, "INVALID", because="tracemalloc was on"),
            _catch(_EMULATED, "INVALID", because="tracemalloc was on"),
            _quiet("harness verify", "stands"),
        ),
        settings={"only": _BITS, "sizes": _SMALL, "environment": {"PYTHONTRACEMALLOC": "1"}},
    ),
    Fault(
        id="expired-waiver",
        title="an expired waiver",
        injected="a file of two waivers of gates that did not pass, one of which has run out",
        kind="run",
        tier="emulated, synthetic",
        cells=(
            _catch("query.latency", "FAIL", because="expired"),
            _catch("decision", "NO-GO"),
            _quiet("quality.search", "WAIVED"),
            _quiet(_EMULATED),
        ),
        settings={"only": _BITS, "sizes": _SMALL, "waivers": True},
    ),
    Fault(
        id="control-hundred",
        title="nothing broken, 100 files",
        injected="nothing",
        kind="run",
        tier="emulated",
        # the hit ratio has time in it: on a busy machine its bound may come out too low, but it
        # must not be what it is in hit-ratio-94
        cells=(_quiet(_HITS, "PASS", "INCONCLUSIVE"), _quiet(_SEARCH), _quiet(_LOST)),
        settings={
            "only": ("hit_ratio.hot", "quality.search", "update.latency"),
            "sizes": _SLOWLY,
        },
    ),
    Fault(
        id="lost-update",
        title="one lost update a process",
        injected="a write is acknowledged at once and done with the next one, so the last is lost",
        kind="run",
        tier="emulated",
        cells=(
            _catch(_LOST, "FAIL"),
            _catch("update.latency", "FAIL"),
            _catch("decision", "NO-GO"),
            _quiet(_EMULATED),
            _quiet(_HOSTILE),
        ),
        settings={
            "only": ("update.latency", "quality.bits"),
            "sizes": _HUNDRED,
            "inject": "lost-update",
        },
    ),
    Fault(
        id="stale-search",
        title="a stale search result",
        injected="the store's result cache takes every kept result for the present one",
        kind="run",
        tier="emulated",
        cells=(_catch(_SEARCH, "FAIL"), _catch("decision", "NO-GO"), _quiet(_LOST)),
        settings={
            "only": ("quality.search", "update.latency"),
            "sizes": _HUNDRED,
            "inject": "stale-search",
        },
    ),
    Fault(
        id="another-digit",
        title="another last digit in a kept answer",
        injected="the last digit of the vector in each body that the wrapped client answers with",
        kind="run",
        tier="emulated",
        cells=(
            _catch("quality.api.emulated", "FAIL"),
            _catch("decision", "NO-GO"),
            _quiet(_EMULATED),
        ),
        settings={
            "only": ("quality.api", "quality.bits"),
            "sizes": _SMALL,
            "inject": "another-digit",
        },
    ),
    Fault(
        id="hit-ratio-94",
        title="a hit ratio of 94 %",
        injected="rows leave the hot tier just before they are read, until 94 % of reads are hits",
        kind="run",
        tier="emulated",
        cells=(_catch(_HITS, "FAIL"), _catch("decision", "NO-GO"), _quiet(_LOST)),
        settings={
            "only": ("hit_ratio.hot", "update.latency"),
            "sizes": _SLOWLY,
            "inject": "low-hit-ratio",
        },
    ),
    Fault(
        id="growing-mapping-run",
        title="a growing file mapping while the gate of the heap measures",
        injected="a file mapped and read 1 MiB further after every 1 000 gets of the session",
        kind="run",
        tier="emulated",
        cells=(
            _catch("memory.steady.clean", "FAIL"),
            _quiet("memory.steady.files-1024"),
        ),
        settings={
            "only": ("memory.steady",),
            "sizes": {"memory_corpora": ("files-1024",)},
            "inject": "growing-mapping",
        },
    ),
    Fault(
        id="control-soak",
        title="nothing broken, 24 simulated hours",
        injected="nothing",
        kind="soak",
        tier="simulated",
        cells=(
            *(_quiet(judge) for judge in _GROWTH),
            _quiet("soak: clean file pages"),
            # simulated hours never satisfy the gate
            Cell(judge="soak.day", wanted=("INVALID",), kind=_QUIET, because="simulated"),
        ),
    ),
    Fault(
        id="leak-40k",
        title="a leak of 40 KB an hour",
        injected="buffers of 1 KB that a worker keeps, 40 KB of them a simulated hour",
        kind="soak",
        tier="simulated",
        cells=(_catch("soak: anonymous", "FAIL"), *(_quiet(judge) for judge in _GROWTH[1:])),
        settings={"heap_bytes_an_hour": 40_000},
    ),
    Fault(
        id="leak-2k",
        title="a leak of 2 KB an hour, which is within the budget",
        injected="buffers of 1 KB that a worker keeps, 2 KB of them a simulated hour",
        kind="soak",
        tier="simulated",
        cells=tuple(_quiet(judge) for judge in _GROWTH),
        settings={"heap_bytes_an_hour": 2_000},
    ),
    Fault(
        id="growing-mapping-soak",
        title="a growing file mapping, 24 simulated hours",
        injected="a file mapped and read 4 MB further a simulated hour",
        kind="soak",
        tier="simulated",
        cells=(
            _catch("soak: clean file pages", "FAIL"),
            *(_quiet(judge) for judge in _GROWTH),
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
    Fault(
        id="slowdown",
        title="a slowdown of 5 %",
        injected="a commit whose encode_frame spins for 5 % of its time, built and run",
        kind="compare",
        tier="recorded or synthetic",
        cells=(
            _catch(_ENCODE, "REGRESSED"),
            _quiet(_DECODE, *_NOT_SLOWER),
            _quiet("harness verify", "stands"),
        ),
        settings={"change": "slow"},
    ),
    Fault(
        id="same-code",
        title="an A/A pair: the same commit twice",
        injected="nothing",
        kind="compare",
        tier="recorded or synthetic",
        cells=(
            _quiet(_ENCODE, *_NOT_SLOWER),
            _quiet(_DECODE, *_NOT_SLOWER),
            _quiet("harness verify", "stands"),
        ),
        settings={"change": "none"},
    ),
    Fault(
        id="renamed-benchmark",
        title="a renamed benchmark",
        injected="a commit in which the method of one benchmark has another name",
        kind="compare",
        tier="recorded or synthetic",
        cells=(
            _catch(_DECODE, "NOT COMPARABLE", because="HEAD does not have this benchmark"),
            _catch("compare: decision", "INCONCLUSIVE", because="NOT COMPARABLE"),
            _quiet(_ENCODE, *_NOT_SLOWER),
        ),
        settings={"change": "rename"},
    ),
)


def by_id(name: str) -> Fault:
    """The fault of that name; raises KeyError."""
    for fault in CATALOGUE:
        if fault.id == name:
            return fault
    raise KeyError(name)
