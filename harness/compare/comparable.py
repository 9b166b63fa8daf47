"""Which benchmarks can be compared at all, and why the others cannot; pure."""

from __future__ import annotations

from collections.abc import Mapping

from harness.compare.rounds import Listing

__all__ = ["incomparable"]


def incomparable(
    base: Listing,
    head: Listing,
    base_bodies: Mapping[str, str],
    head_bodies: Mapping[str, str],
) -> dict[str, str]:
    """Why a benchmark is NOT COMPARABLE, by its name; all others ran the same body on both sides.

    Parameters
    ----------
    base, head
        What the checkout's benchmarks offer with each side's titanstore.
    base_bodies, head_bodies
        Digests of the benchmarks that each side's own tree has. Empty for BASE: it is older than
        the benchmark folder. Then its own benchmarks are no reason here: the checkout's can be
        run in their place, which the caller has to tell from a comparison (`Prepared.stand_in`).
    """
    listed = {bench.name: bench.benchmark for bench in (*base.benches, *head.benches)}
    sides = (("BASE", base), ("HEAD", head))
    found = {}
    for name, benchmark in listed.items():
        reason = (
            _unusable(sides)
            or _reason(benchmark, base_bodies, head_bodies)
            or _missing(name, sides)
            or _other_data(base, head)
        )
        if reason:
            found[name] = reason
    known = set(listed.values())
    for benchmark in sorted({*base_bodies, *head_bodies} - known):
        found[benchmark] = (
            _unusable(sides)
            or _reason(benchmark, base_bodies, head_bodies)
            or _not_imported(benchmark.partition(".")[0], sides)
            or "the checkout, whose benchmarks are run, does not have it"
        )
    for module in sorted({*base.failed, *head.failed}):
        found[module] = _not_imported(module, sides)
    return found


_Sides = tuple[tuple[str, Listing], ...]


def _unusable(sides: _Sides) -> str:
    return "; ".join(f"{side}: {one.unusable}" for side, one in sides if one.unusable)


def _not_imported(module: str, sides: _Sides) -> str:
    return "; ".join(
        f"the module cannot be imported with {side}'s titanstore: {one.failed[module]}"
        for side, one in sides
        if module in one.failed
    )


def _reason(benchmark: str, base: Mapping[str, str], head: Mapping[str, str]) -> str:
    if not base:
        return ""
    if (benchmark in base) is not (benchmark in head):
        return f"{'HEAD' if benchmark in base else 'BASE'} does not have this benchmark"
    if benchmark in base and base[benchmark] != head[benchmark]:
        return "its body differs between BASE and HEAD"
    return ""


def _other_data(base: Listing, head: Listing) -> str:
    same = base.evidence == head.evidence
    return "" if same else "the data differ: the suite tells other evidence on BASE than on HEAD"


def _missing(name: str, sides: _Sides) -> str:
    for side, listing in sides:
        if name not in {bench.name for bench in listing.benches}:
            return f"it is missing with {side}'s titanstore"
    return ""
