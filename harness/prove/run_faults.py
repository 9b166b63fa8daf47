"""Faults that are put into runs of the gates (`harness.prove.runs`)."""

from __future__ import annotations

from harness.prove.fault import Cell, Fault
from harness.prove.fault import catch as _catch
from harness.prove.fault import quiet as _quiet

__all__ = ["RUNS"]

# Enough for one row of quality.bits, in seconds; and what each larger gate needs at least
_SMALL = {"files": 1, "hostile_vectors": 200, "client_calls": 200}
_HUNDRED = {"hostile_vectors": 200, "updates": 30, "search_sizes": (2_200,)}
# A third as fast as the gate's own: time must not decide a control, even on a busy machine. Half
# as fast was tried beside a whole test run: the control's hit ratio fell to 92.9 %
_SLOWLY = {**_HUNDRED, "trace_pace": 3.0}
# The first corpus, as for its control, and nothing beside it that no verdict needs: all of it would
# take the catalogue over its 15 minutes
_MEMORY = {"memory_corpora": ("files-1024",), "memory_beside": False}
_BITS = ("quality.bits",)
_HOSTILE, _EMULATED = "quality.bits.hostile", "quality.bits.emulated"
_API = "quality.api.emulated"
_LOST, _HITS, _SEARCH = "update.latency.lost", "hit_ratio.hot.editing", "quality.search.2200"
_HEAP = "memory.steady.files-1024"
_CLEAN = "memory.steady.clean"
_STANDS = _quiet("harness verify", "stands")
_OTHERS = _quiet("all other rows", "quiet")


def _no_go(gate: str) -> Cell:
    return _catch("decision", "NO-GO", because=f"{gate}: FAIL")


RUNS: tuple[Fault, ...] = (
    Fault(
        id="control-run",
        title="nothing broken, a small run",
        injected="nothing",
        kind="run",
        tier="emulated, synthetic",
        cells=(
            _quiet(_EMULATED),
            _quiet(_HOSTILE),
            _quiet(_API),
            _STANDS,
            _OTHERS,
            # two gates only, and no recorded vectors: the others are NOT RUN
            _quiet("decision", "HOLD", because="quality.bits: NOT RUN"),
        ),
        settings={"only": (*_BITS, "quality.api"), "sizes": _SMALL},
    ),
    Fault(
        id="flipped-bit",
        title="one flipped bit on the disk",
        injected="one bit of the newest segment file of a store, flipped in the file",
        kind="run",
        tier="emulated",
        control="control-run",
        cells=(
            # the words of one vector by each way of reading it alone, and of its batch; all
            # vectors of that store by all these ways would be four times as many
            _catch(_EMULATED, "FAIL", between=(1_024, 40_000)),
            _catch("quality.bits", "FAIL"),
            _no_go("quality.bits"),
            _quiet(_HOSTILE),
            _OTHERS,
            _STANDS,
        ),
        settings={"only": _BITS, "sizes": _SMALL, "flip": True},
    ),
    Fault(
        id="another-digit",
        title="another last digit in a kept answer",
        injected="the last digit of the vector in each body that the wrapped client answers with",
        kind="run",
        tier="emulated",
        control="control-run",
        cells=(
            _catch(_API, "FAIL"),
            _catch("quality.api", "FAIL"),
            _no_go("quality.api"),
            _quiet(_EMULATED),
            _OTHERS,
            _STANDS,
        ),
        settings={
            "only": (*_BITS, "quality.api"),
            "sizes": _SMALL,
            "inject": "another-digit",
        },
    ),
    Fault(
        id="other-commit",
        title="evidence of another commit",
        injected="raw samples that a clone of this project measured at a commit of its own, sealed",
        kind="run",
        tier="synthetic",
        control="control-run",
        cells=(
            _catch(_HOSTILE, "INVALID", because="another commit"),
            # HOLD is what a run of one gate says anyway; this is why
            _catch("decision", "HOLD", because="quality.bits: INVALID"),
            _quiet(_EMULATED),
            _OTHERS,
        ),
        settings={"only": _BITS, "sizes": _SMALL, "tamper": "other-commit"},
    ),
    Fault(
        id="deleted-evidence",
        title="a deleted evidence file",
        injected="the file of one measurement, deleted after the run",
        kind="run",
        tier="emulated",
        control="control-run",
        cells=(
            _catch(_EMULATED, "INVALID", because="its raw samples are missing"),
            _catch(
                "harness verify",
                "does not stand",
                because="quality.bits-emulated.json.gz: its raw samples are missing",
            ),
            _catch("decision", "HOLD", because="quality.bits: INVALID"),
            _quiet(_HOSTILE),
            _OTHERS,
        ),
        settings={"only": _BITS, "sizes": _SMALL, "tamper": "deleted"},
    ),
    Fault(
        id="empty-answer",
        title="an empty {} answer from the mocked Bedrock",
        injected="moto's own answer, `{}`, to every invoke_model of a real boto3 client",
        kind="run",
        tier="emulated",
        control="control-run",
        cells=(_catch("exit", "4, no verdict", because="without a vector"),),
        settings={"only": _BITS, "sizes": _SMALL, "empty_body": True},
    ),
    Fault(
        id="tracemalloc",
        title="tracemalloc left on",
        injected="PYTHONTRACEMALLOC=1 in the environment of every worker",
        kind="run",
        tier="emulated, synthetic",
        control="control-run",
        cells=(
            _catch(_HOSTILE, "INVALID", because="tracemalloc was on"),
            _catch(_EMULATED, "INVALID", because="tracemalloc was on"),
            _catch("decision", "HOLD", because="quality.bits: INVALID"),
            _OTHERS,
            _STANDS,
        ),
        settings={"only": _BITS, "sizes": _SMALL, "environment": {"PYTHONTRACEMALLOC": "1"}},
    ),
    Fault(
        id="expired-waiver",
        title="an expired waiver",
        injected="a file of two waivers of gates that did not pass, one of which has run out",
        kind="run",
        tier="emulated, synthetic",
        control="control-run",
        cells=(
            _catch("query.latency", "FAIL", because="expired"),
            _no_go("query.latency"),
            _quiet("quality.search", "WAIVED"),
            _quiet(_EMULATED),
            _quiet(_HOSTILE),
            _OTHERS,
            _STANDS,
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
        cells=(
            _quiet(_HITS, "PASS", "INCONCLUSIVE"),
            _quiet(_SEARCH),
            _quiet(_LOST),
            _OTHERS,
            _STANDS,
        ),
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
        control="control-hundred",
        cells=(
            # 15 processes lose 1 to 3 keys and a document; so does the one that stores a serving
            # first, whose last document is missing from what 5 of them start with
            _catch(_LOST, "FAIL", between=(15, 400)),
            _catch("update.latency", "FAIL"),
            _no_go("update.latency"),
            _quiet(_EMULATED),
            _quiet(_HOSTILE),
            _OTHERS,
            _STANDS,
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
        control="control-hundred",
        cells=(
            _catch(_SEARCH, "FAIL"),
            _catch("quality.search", "FAIL"),
            _no_go("quality.search"),
            _quiet(_EMULATED),
            _quiet(_HOSTILE),
            _OTHERS,
            _STANDS,
        ),
        settings={
            "only": ("quality.search", "quality.bits"),
            "sizes": _HUNDRED,
            "inject": "stale-search",
        },
    ),
    Fault(
        id="hit-ratio-94",
        title="a hit ratio of 94 %",
        injected="rows leave the hot tier just before they are read, until 94 % of reads are hits",
        kind="run",
        tier="emulated",
        control="control-hundred",
        cells=(
            # a busy machine could miss the limit without the fault, but not by just so much
            _catch(_HITS, "FAIL", between=(0.93, 0.942)),
            _no_go("hit_ratio.hot"),
            _quiet(_EMULATED),
            _quiet(_HOSTILE),
            _OTHERS,
            _STANDS,
        ),
        settings={
            "only": ("hit_ratio.hot", "quality.bits"),
            "sizes": _SLOWLY,
            "inject": "low-hit-ratio",
        },
    ),
    Fault(
        id="control-memory",
        title="nothing broken, the gate of the heap",
        injected="nothing",
        kind="run",
        tier="emulated",
        cells=(_quiet(_HEAP), _quiet(_CLEAN), _OTHERS, _STANDS),
        settings={"only": ("memory.steady",), "sizes": _MEMORY},
    ),
    Fault(
        id="growing-mapping-run",
        title="a growing file mapping while the gate of the heap measures",
        injected="a file mapped and read 1 MiB further after every 1 000 gets of the session",
        kind="run",
        tier="emulated",
        control="control-memory",
        cells=(
            # 100 000 operations, most of them gets: up to 105 MB beside the store's own pages
            _catch(_CLEAN, "FAIL", between=(70e6, 140e6)),
            _quiet(_HEAP),
            _OTHERS,
            _STANDS,
        ),
        settings={
            "only": ("memory.steady",),
            "sizes": _MEMORY,
            "inject": "growing-mapping",
        },
    ),
)
