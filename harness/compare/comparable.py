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
        the benchmark folder, and the checkout's benchmarks stand for it.
    """
    listed = {bench.name: bench.benchmark for bench in (*base.benches, *head.benches)}
    found = {}
    for name, benchmark in listed.items():
        reason = (
            _reason(benchmark, base_bodies, head_bodies)
            or _missing(name, base, head)
            or _other_data(base, head)
        )
        if reason:
            found[name] = reason
    known = set(listed.values())
    for benchmark in sorted({*base_bodies, *head_bodies} - known):
        reason = _reason(benchmark, base_bodies, head_bodies)
        found[benchmark] = reason or "the checkout, whose benchmarks are run, does not have it"
    for side, listing in (("BASE", base), ("HEAD", head)):
        for module, why in listing.failed.items():
            found[module] = f"the module cannot be imported with {side}'s titanstore: {why}"
    return found


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


def _missing(name: str, base: Listing, head: Listing) -> str:
    for side, listing in (("BASE", base), ("HEAD", head)):
        if name not in {bench.name for bench in listing.benches}:
            return f"it is missing with {side}'s titanstore"
    return ""
