"""What ours is to reach against its rivals, and whether it does; pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from harness.rivals.catalogue import OURS, OURS_WITHOUT_SEARCH, STORES
from harness.rivals.findings import Cell, Standing, Table
from harness.rivals.metrics import METRICS, SETS

__all__ = ["Claim", "claims_of", "exit_code_of"]

_TOLERANCE = 1.05  # "no slower": a slowdown from here on is excluded (SPEC section 6)
_HALF = 2.0
_RIVALS = tuple(name for name in STORES if name not in (OURS, OURS_WITHOUT_SEARCH))
_BY_DISK = ("lmdb-zstd", "sqlite-blob")
_EXACT = ("numpy-float32", "faiss-flat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sentence; `reached` None: not known. `why` names who stands in the way, or what lacks."""

    text: str
    reached: bool | None
    why: str


def claims_of(table: Table, measures: Collection[str]) -> list[Claim]:
    """Each claim whose measure was asked for.

    A rival that was not measured leaves a claim open unless another one refutes it.
    """
    return [claim for measure, claim in _all(table) if measure in measures]


def _all(table: Table) -> Iterator[tuple[str, Claim]]:
    for name in ("v1_chunks", "v2_scaled_bf16"):
        for ours, which in (
            (OURS, ", our search index counted"),
            (OURS_WITHOUT_SEARCH, ", our search switched off"),
        ):
            text = f"fewer bytes a vector than every rival, {SETS[name]}{which}"
            yield "size", _smaller(text, table, f"bytes_{name}", ours, _RIVALS, 1.0)
    text = f"under half of the bytes of {' and '.join(_BY_DISK)}, v1"
    for ours, which in ((OURS, ""), (OURS_WITHOUT_SEARCH, ", our search switched off")):
        yield "size", _smaller(text + which, table, "bytes_v1_chunks", ours, _BY_DISK, _HALF)
    yield "hot", _faster("hot get faster than every durable rival's", table, "get_hot_s", _RIVALS)
    text = f"warm get no slower than {' and '.join(_BY_DISK)}"
    yield "warm", _no_slower(text, table, "get_warm_s", _BY_DISK)
    text = f"exact search no slower than {' and '.join(_EXACT)}, 2 200 vectors"
    yield "search", _no_slower(text, table, "search_2200_s", _EXACT)
    text = f"exact search faster than {' and '.join(_EXACT)}, 10 000 vectors"
    yield "search", _faster(text, table, "search_10000_s", _EXACT)


def _smaller(
    text: str, table: Table, metric: str, ours: str, rivals: Sequence[str], factor: float
) -> Claim:
    """Bytes are counts: no bounds."""
    own = table.get((ours, metric))
    if own is None or own.value is None:
        return Claim(text=text, reached=None, why="ours was not measured")
    against, open_ones = [], []
    for rival in rivals:
        cell = table.get((rival, metric))
        if cell is None or cell.value is None:
            open_ones.append(rival)
        elif cell.value <= factor * own.value:
            against.append(f"{rival} has {cell.value / own.value:.2f} times ours")
    return _claim(text, against, open_ones)


def _faster(text: str, table: Table, metric: str, rivals: Sequence[str]) -> Claim:
    against, open_ones = [], []
    for rival, cell in _cells(table, metric, rivals):
        if cell is None or cell.ratio is None or cell.standing is Standing.EVEN:
            open_ones.append(rival)
        elif cell.standing is Standing.BEHIND:
            against.append(f"{rival} takes {cell.ratio:.2f} times ours")
    return _claim(text, against, open_ones)


def _no_slower(text: str, table: Table, metric: str, rivals: Sequence[str]) -> Claim:
    against, open_ones = [], []
    for rival, cell in _cells(table, metric, rivals):
        if cell is None or cell.ratio is None:
            open_ones.append(rival)
        elif cell.high < 1:
            against.append(f"{rival} takes {cell.ratio:.2f} times ours")
        elif cell.low < 1 / _TOLERANCE:
            open_ones.append(rival)
    return _claim(text, against, open_ones)


def _cells(table: Table, metric: str, rivals: Sequence[str]) -> Iterator[tuple[str, Cell | None]]:
    assert metric in METRICS
    for rival in rivals:
        yield rival, table.get((rival, metric))


def _claim(text: str, against: Sequence[str], open_ones: Sequence[str]) -> Claim:
    if against:
        return Claim(text=text, reached=False, why="; ".join(against))
    if open_ones:
        return Claim(text=text, reached=None, why=f"not known of {', '.join(open_ones)}")
    return Claim(text=text, reached=True, why="")


def exit_code_of(claims: Sequence[Claim]) -> int:
    """0 all reached, 1 one is not, 3 one is not known."""
    if any(one.reached is False for one in claims):
        return 1
    return 3 if any(one.reached is None for one in claims) else 0
