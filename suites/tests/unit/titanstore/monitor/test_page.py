"""A page fits its terminal, and no number on it is cut, wrong or a lie."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from titanstore.figures.latencies import BUCKETS
from titanstore.figures.layout import Figures
from titanstore.monitor.page import View, count, duration, page, share, size
from titanstore.monitor.processes import PageTypes
from titanstore.monitor.reading import Process, Reading, Work, work_since
from titanstore.stats import StoreStats

VALUES = {
    "hot_hits": 9_710,
    "warm_hits": 40,
    "cold_hits": 200,
    "absent": 50,
    "written": 30,
    "unchanged": 660,
    "deleted": 10,
    "searches": 20,
    "is_writer": 1,
    "memory_bytes_max": 920_000,
    "hot_bytes_max": 860_000,
    "warm_bytes_max": 920_000,
    "hot_rows": 175,
    "hot_bytes": 857_000,
    "warm_frames": 30,
    "warm_bytes": 61_500,
}
OPERATIONS = {"get_hot": 128, "get_other": 1, "get_many": 1, "put": 1, "update": 1, "search": 1}


def one_at(bucket: int) -> tuple[int, ...]:
    return tuple(int(place == bucket) for place in range(BUCKETS))


def figures(values: dict[str, int] | None = None) -> Figures:
    return Figures(
        pid=1_234_567,
        namespace=1,
        opened_s=0.0,
        values=VALUES if values is None else values,
        latencies={name: one_at(5 + 8 * place) for place, name in enumerate(OPERATIONS)},
        sampled=OPERATIONS,
    )


def process(pid: int | None = 1_234_567, seen: Figures | None = None) -> Process:
    memory = PageTypes(
        anonymous=31_500_000, shared=8_192, files=12_300_000, swapped=0, peak=61_000_000
    )
    return Process(
        name=f"p{pid}",
        pid=pid,
        command="python",
        figures=figures() if seen is None else seen,
        memory=memory,
    )


STATS = StoreStats(
    vectors=2_200,
    documents=100,
    segments=3,
    segment_bytes=2_900_000,
    dead_bytes=34_800,
    plane_bytes=2_330_000,
    catalog_bytes=98_304,
    hot_rows=0,
    hot_bytes=0,
    pool_bytes=0,
    pool_trouble=None,
    warm_frames=0,
    warm_bytes=0,
    idle_row_bytes=0,
    result_bytes=0,
    marks_bytes=0,
    mapped_bytes=0,
    lance_bytes=0,
    lance_trouble=None,
    counters={},
)


def view(*processes: Process, seconds: float | None = 10.0, unreadable: int = 0) -> View:
    reading = Reading(
        taken_s=0.0,
        stats=STATS,
        versions=4,
        rows_behind=17,
        processes=processes,
        unreadable=unreadable,
    )
    work: dict[str, Work | None] = {
        each.name: None if each.figures is None else work_since(None, each.figures, seconds)
        for each in processes
    }
    return View(reading=reading, work=work, span="in the last 10 s")


def cells(lines: list[str], heading: str) -> dict[str, str]:
    """The first row below a heading, by column."""
    at = next(place for place, line in enumerate(lines) if line.startswith(heading))
    titles, row = (re.split(r" {2,}", line) for line in lines[at + 1 : at + 3])
    assert len(titles) == len(row)
    return dict(zip(titles, row, strict=True))


def test_every_figure_is_on_a_page_of_80_columns() -> None:
    lines = page(view(process()), "/data/embeddings  12:00:00", 80)
    shown = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 40
    for name, text in (
        ("vectors", "2 200"),
        ("disk", "5.33 MB"),
        ("dead", "34.8 kB 1.2%"),
        ("versions", "4"),
        ("not indexed", "17"),
        ("lance", "-"),
    ):
        assert re.search(rf"\b{name} +{re.escape(text)}( |$)", shown, re.MULTILINE), name
    work = cells(lines, "PROCESSES")
    assert work["PID"] == "1234567"
    assert (work["READS/S"], work["HOT"], work["COLD"]) == ("1 000", "97.1%", "2.0%")
    assert (work["WRITES/S"], work["QUERIES/S"]) == ("70", "2.0")
    tiers = cells(lines, "TIERS")
    assert (tiers["HOT"], tiers["FULL"], tiers["WARM"]) == ("857 kB", "99.7%", "61.5 kB")
    assert (tiers["BUDGET"], tiers["USED"]) == ("920 kB", "99.8%")
    latency = cells(lines, "LATENCY")
    assert latency["CALLS TIMED"] == "1 (1 in 128)"
    assert latency["P50"] == latency["P99"] == "0.38 us"
    memory = cells(lines, "MEMORY")
    assert (memory["ANONYMOUS"], memory["FILES"]) == ("31.5 MB", "12.3 MB")


@pytest.mark.parametrize("width", range(20, 130))
def test_a_narrow_page_leaves_columns_out_and_cuts_none(width: int) -> None:
    broad = " ".join(page(view(process(), process(7)), "/s", 500)).split()
    silent = replace(process(8), figures=None)
    lines = page(view(process(), process(7), silent, unreadable=2), "/s" * 60, width)
    assert all(len(line) <= max(40, width) for line in lines)
    words = " ".join(page(view(process(), process(7)), "/s", width)).split()
    assert set(words) <= set(broad)
    shown = cells(lines, "PROCESSES")
    assert {"PID", "READS/S", "HOT"} <= shown.keys()
    assert {"OPERATION", "P50", "P99"} <= cells(lines, "LATENCY").keys()


def test_nothing_done_is_no_ratio_and_no_latency() -> None:
    idle = replace(
        figures({**dict.fromkeys(VALUES, 0)}),
        latencies=dict.fromkeys(OPERATIONS, (0,) * BUCKETS),
    )
    lines = page(view(process(seen=idle)), "/s", 80)
    work = cells(lines, "PROCESSES")
    assert (work["READS/S"], work["HOT"]) == ("0.0", "-")
    assert lines[lines.index("LATENCY  in the last 10 s") + 1] == "no calls"


def test_who_publishes_nothing_is_marked() -> None:
    lines = page(view(replace(process(42), figures=None)), "/s", 80)
    assert cells(lines, "PROCESSES")["PID"] == cells(lines, "MEMORY")["PID"] == "42*"
    assert "TIERS" not in lines
    assert any(line.startswith("* publishes nothing") for line in lines)
    nobody = page(view(), "/s", 80)
    assert "none found that has the store open" in nobody
    assert "MEMORY" not in nobody


def test_a_process_of_another_container_has_no_number_here() -> None:
    lines = page(view(replace(process(None), memory=None, command="?")), "/s", 80)
    assert cells(lines, "PROCESSES")["PID"] == "elsewhere"
    assert cells(lines, "MEMORY")["ANONYMOUS"] == "not seen"


@given(
    st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 2**64 - 1)),
    st.lists(st.integers(0, 2**64 - 1), min_size=BUCKETS, max_size=BUCKETS),
    st.text(max_size=20),
    st.integers(1, 200),
)
def test_no_figures_whatever_break_a_page(
    values: dict[str, int], counts: list[int], command: str, width: int
) -> None:
    hostile = Figures(
        pid=2**32 - 1,
        namespace=0,
        opened_s=-1e300,
        values=values,
        latencies={"put": counts, "_" * 90: counts},
        sampled={"put": 2**63, "_" * 90: 1},
    )
    one = replace(process(seen=hostile), command=command)
    for seconds in (None, 1e-9, 1e300):
        lines = page(view(one, seconds=seconds), command, width)
        assert all(line.isprintable() and len(line) <= max(40, width) for line in lines)


def test_work_between_two_looks_is_never_negative() -> None:
    later = figures({**VALUES, "hot_hits": 9_800, "absent": 0})
    work = work_since(figures(), later, 2.0)
    assert work.counters["hot_hits"] == 90
    assert work.counters["absent"] == 0
    assert {latency.timed for latency in work.latencies.values()} == {0}
    assert (work.reads, work.rate(work.reads)) == (90, 45.0)


def test_numbers() -> None:
    sizes = [size(number) for number in (0, 999, 1_000, 9_994, 99_949, 999_499, 999_500, 2**64)]
    assert sizes == [
        "0 B",
        "999 B",
        "1.00 kB",
        "9.99 kB",
        "99.9 kB",
        "999 kB",
        "1.00 MB",
        "18.4 EB",
    ]
    assert [count(number) for number in (0, 1_234_567, 10**15)] == ["0", "1 234 567", "1.00e+15"]
    assert [share(part) for part in (None, 0.0, 0.9714, 1.0)] == ["-", "0.0%", "97.1%", "100.0%"]
    seconds = (None, 160e-9, 2.4e-6, 9.9e-3, 0.5, 1.5, math.inf)
    shown = ["-", "0.16 us", "2.40 us", "9.90 ms", "500 ms", "1.50 s", "> 1.88 s"]
    assert [duration(one) for one in seconds] == shown
