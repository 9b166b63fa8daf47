"""Faults that are put between two commits (`harness.prove.compares`)."""

from __future__ import annotations

from harness.prove.fault import Fault
from harness.prove.fault import catch as _catch
from harness.prove.fault import quiet as _quiet

__all__ = ["COMPARES"]

_ENCODE, _DECODE = "compare: codec.Encode.time_encode_8", "compare: codec.Decode.time_decode_32"
_NOT_SLOWER = ("NO REGRESSION", "INCONCLUSIVE")
# of one benchmark INCONCLUSIVE is quiet only if it was looked at: 10 rounds are the first look
_ROUNDS = _quiet("compare: rounds", "enough")
_STANDS = _quiet("harness verify", "stands")

COMPARES: tuple[Fault, ...] = (
    Fault(
        id="same-code",
        title="an A/A pair: the same commit twice",
        injected="nothing",
        kind="compare",
        tier="recorded or synthetic",
        cells=(
            _quiet(_ENCODE, *_NOT_SLOWER),
            _quiet(_DECODE, *_NOT_SLOWER),
            _quiet("compare: sides", "the same"),
            _ROUNDS,
            _STANDS,
        ),
        settings={"change": "none"},
    ),
    Fault(
        id="slowdown",
        title="a slowdown of 5 %",
        injected="a commit whose encode_frame spins for 5 % of its time, built and run",
        kind="compare",
        tier="recorded or synthetic",
        control="same-code",
        cells=(
            _catch(_ENCODE, "REGRESSED", between=(1.02, 1.09)),
            _quiet(_DECODE, *_NOT_SLOWER),
            _ROUNDS,
            _STANDS,
        ),
        settings={"change": "slow"},
    ),
    Fault(
        id="renamed-benchmark",
        title="a renamed benchmark",
        injected="a commit in which the method of one benchmark has another name",
        kind="compare",
        tier="recorded or synthetic",
        control="same-code",
        cells=(
            _catch(_DECODE, "NOT COMPARABLE", because="HEAD does not have this benchmark"),
            _catch("compare: decision", "INCONCLUSIVE", because="NOT COMPARABLE"),
            _quiet(_ENCODE, *_NOT_SLOWER),
            _ROUNDS,
            _STANDS,
        ),
        settings={"change": "rename"},
    ),
)
