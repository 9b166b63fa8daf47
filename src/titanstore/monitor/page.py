"""A reading as lines of text for a terminal of some width. Pure."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from titanstore.monitor.reading import Latency, Process, Reading, Work

WIDTH_MIN = 40
NOTHING = "-"
_OPERATIONS = {
    "get_hot": "get, hot",
    "get_other": "get, other",
    "get_many": "get_many",
    "put": "put",
    "update": "update",
    "search": "search",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, flush right unless it is words.

    When a table is too wide, columns are left out whole, those of the highest `rank` first: half a
    number would be another number.
    """

    title: str
    rank: int = 0
    is_words: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A reading, and what its processes did up to it, by their names; None: they publish nothing.

    `span` says in words since when.
    """

    reading: Reading
    work: dict[str, Work | None]
    span: str


def page(view: View, title: str, width: int) -> list[str]:
    """Lines of at most `width` characters (at least 40)."""
    width = max(WIDTH_MIN, width)
    reading = view.reading
    processes = reading.processes
    publishing = [each for each in processes if each.figures is not None]
    lines = [_cut(title if title.isprintable() else repr(title), width), ""]
    lines += _store(reading, width)
    lines += ["", _cut(f"PROCESSES  {view.span}", width)]
    if not processes:
        lines.append(_cut("none found that has the store open", width))
    else:
        lines += _table(_WORK, [_work_row(each, view.work[each.name]) for each in processes], width)
    if publishing:
        lines += ["", "TIERS"]
        lines += _table(_TIERS, [_tier_row(each) for each in publishing], width)
        rows = [
            row
            for each in publishing
            for row in _latency_rows(each, view.work[each.name], is_only=len(publishing) == 1)
        ]
        lines += ["", _cut(f"LATENCY  {view.span}", width)]
        lines += _table(_LATENCY, rows, width) if rows else ["no calls"]
    if processes:
        lines += ["", "MEMORY"]
        lines += _table(_MEMORY, [_memory_row(each) for each in processes], width)
    if any(each.figures is None for each in processes):
        lines += ["", *_wrapped(_SILENT, width)]
    if reading.unreadable:
        lines += ["", *_wrapped(f"{reading.unreadable} {_UNREADABLE}", width)]
    return lines


_SILENT = (
    "* publishes nothing to this user: setting publish off, another user's, or an older release."
)
_UNREADABLE = "file(s) of figures are damaged, or of another release of titanstore."


# ---------------------------------------------------------------- the store itself


def _store(reading: Reading, width: int) -> list[str]:
    stats = reading.stats
    pairs = [
        ("vectors", count(stats.vectors)),
        ("documents", count(stats.documents)),
        ("disk", size(stats.disk_bytes)),
        ("segments", size(stats.segment_bytes)),
        ("planes", size(stats.plane_bytes)),
        ("catalog", size(stats.catalog_bytes)),
        ("lance", size(stats.lance_bytes) if stats.lance_bytes else NOTHING),
        ("dead", f"{size(stats.dead_bytes)} {share(_part(stats.dead_bytes, stats.segment_bytes))}"),
        ("versions", count(reading.versions)),
    ]
    if reading.rows_behind is not None:
        pairs.append(("not indexed", count(reading.rows_behind)))
    lines = ["STORE"]
    cell = 26
    across = max(1, width // cell)
    for first in range(0, len(pairs), across):
        cells = [f"{name:<12}{text:>12}" for name, text in pairs[first : first + across]]
        lines.append("  ".join(cells).rstrip())
    return lines


def _part(part: int, whole: int) -> float | None:
    return part / whole if whole else None


# ---------------------------------------------------------------- its processes

_WORK = (
    Column("PID", is_words=True),
    Column("COMMAND", 3, is_words=True),
    Column("MODE", 2, is_words=True),
    Column("READS/S"),
    Column("HOT"),
    Column("WARM", 1),
    Column("COLD", 1),
    Column("ABSENT", 4),
    Column("WRITES/S"),
    Column("QUERIES/S"),
)


def _work_row(process: Process, work: Work | None) -> list[str]:
    head = [_pid(process), _printable(process.command)]
    if process.figures is None or work is None:
        return [*head, *[NOTHING] * 8]
    reads = work.reads
    hits = [work.share(name, reads) for name in ("hot_hits", "warm_hits", "cold_hits", "absent")]
    return [
        *head,
        "writes" if process.figures.values.get("is_writer") else "reads",
        _each_second(work, reads),
        *[share(hit) for hit in hits],
        _each_second(work, work.writes),
        _each_second(work, work.counters.get("searches", 0)),
    ]


def _each_second(work: Work, done: int) -> str:
    rate = work.rate(done)
    return NOTHING if rate is None else (count(round(rate)) if rate >= 10 else f"{rate:.1f}")


_TIERS = (
    Column("PID", is_words=True),
    Column("HOT"),
    Column("OF", 1),
    Column("FULL"),
    Column("ROWS", 2),
    Column("WARM"),
    Column("OF ", 1),
    Column("FRAMES", 2),
    Column("BUDGET"),
    Column("USED"),
)


def _tier_row(process: Process) -> list[str]:
    assert process.figures is not None
    values = process.figures.values
    hot, warm = values.get("hot_bytes", 0), values.get("warm_bytes", 0)
    hot_max, total = values.get("hot_bytes_max", 0), values.get("memory_bytes_max", 0)
    # what the hot tier leaves of the total, as the warm tier itself counts
    warm_max = max(0, min(values.get("warm_bytes_max", 0), total - hot))
    return [
        _pid(process),
        size(hot),
        size(hot_max),
        share(_part(hot, hot_max)),
        count(values.get("hot_rows", 0)),
        size(warm),
        size(warm_max),
        count(values.get("warm_frames", 0)),
        size(total),
        share(_part(hot + warm, total)),
    ]


_LATENCY = (
    Column("PID", 2, is_words=True),
    Column("OPERATION", is_words=True),
    Column("CALLS TIMED", 1),
    Column("P50"),
    Column("P99"),
)


def _latency_rows(process: Process, work: Work | None, *, is_only: bool) -> list[list[str]]:
    if work is None:
        return []
    rows = []
    for name, latency in work.latencies.items():
        if latency.timed:
            rows.append([_pid(process), *_latency_cells(name, latency)])
    return rows if rows or is_only else [[_pid(process), NOTHING, NOTHING, NOTHING, NOTHING]]


def _latency_cells(name: str, latency: Latency) -> list[str]:
    timed = count(latency.timed)
    if latency.sampled > 1:
        timed = f"{timed} (1 in {latency.sampled})"
    return [
        _OPERATIONS.get(name, _printable(name)),
        timed,
        duration(latency.p50_s),
        duration(latency.p99_s),
    ]


_MEMORY = (
    Column("PID", is_words=True),
    Column("COMMAND", 3, is_words=True),
    Column("ANONYMOUS"),
    Column("SHARED", 1),
    Column("FILES"),
    Column("SWAPPED", 1),
    Column("PEAK RSS", 2),
)


def _memory_row(process: Process) -> list[str]:
    head = [_pid(process), _printable(process.command)]
    memory = process.memory
    if memory is None:
        return [*head, *["not seen"] * 5]
    sizes = (memory.anonymous, memory.shared, memory.files, memory.swapped, memory.peak)
    return [*head, *map(size, sizes)]


def _pid(process: Process) -> str:
    number = "elsewhere" if process.pid is None else str(process.pid)
    return number if process.figures is not None else f"{number}*"


# ---------------------------------------------------------------- numbers and tables


def count(number: int) -> str:
    """12 345; from a million million on in powers of ten."""
    return f"{number:,}".replace(",", " ") if number < 10**12 else f"{number:.2e}"


def size(number: int) -> str:
    """Bytes in units of 1 000, three figures: 12.3 MB."""
    if number < 1_000:
        return f"{number} B"
    units = iter(("kB", "MB", "GB", "TB", "PB", "EB"))
    value, unit = number / 1_000, next(units)
    while value >= 999.5:  # a u64 has 18.4 EB at most
        value, unit = value / 1_000, next(units)
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{decimals}f} {unit}"


def share(part: float | None) -> str:
    """97.1%."""
    return NOTHING if part is None else f"{100 * min(part, 9.999):.1f}%"


def duration(seconds: float | None) -> str:
    """A latency's upper bound with its unit."""
    if seconds is None:
        return NOTHING
    if math.isinf(seconds):
        return "> 1.88 s"
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 999.5:
            value = seconds * scale
            return f"{value:.2f} {unit}" if value < 9.995 else f"{value:.0f} {unit}"
    return f"{seconds:.2f} s"


def clock_time(unix_s: float) -> str:
    """Hour, minute, second here."""
    return time.strftime("%H:%M:%S", time.localtime(unix_s))


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"...{text[3 - width :]}"


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    cells = [[column.title.strip() for column in columns], *rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    kept = list(range(len(columns)))
    while sum(widths[place] for place in kept) + 2 * (len(kept) - 1) > width and len(kept) > 1:
        # the last of those of the highest rank
        kept.remove(max(kept, key=lambda place: (columns[place].rank, place)))
    lines = []
    for row in cells:
        texts = [
            (str.ljust if columns[place].is_words else str.rjust)(row[place], widths[place])
            for place in kept
        ]
        lines.append("  ".join(texts).rstrip())
    return [line if len(line) <= width else line[:width] for line in lines]
