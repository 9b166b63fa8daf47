"""Risk: time is shown under a function that did not take it, or a graph that shows none of it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.errors import UsageError
from harness.hotpaths.flame import draw_flame
from harness.hotpaths.profile import HotOptions
from harness.hotpaths.stacks import functions_of, narrow, read_stacks

TEXT = """\
<module> (paths.py);main (paths.py);follow (harness/hotpaths/paths.py);get (store.py) 6
<module> (paths.py);main (paths.py);follow (harness/hotpaths/paths.py);get (store.py);load (c.py) 3
<module> (paths.py);main (paths.py);open (titanstore/store.py) 50
run (threading.py);_work (titanstore/tiers/prefetch.py);decode (codec.py) 1
run (threading.py);poll (elsewhere.py) 9
"""


def test_only_the_path_and_its_threads_are_kept() -> None:
    stacks = narrow(read_stacks(TEXT), "follow (", ("titanstore",))
    assert sum(stacks.values()) == 10
    assert stacks["get (store.py)",] == 6
    assert not any("open" in frame for stack in stacks for frame in stack)


def test_own_time_is_of_the_innermost_function() -> None:
    found = functions_of(narrow(read_stacks(TEXT), "follow (", ("titanstore",)))
    by_name = {one.name: one for one in found}
    assert found[0].name == "get (store.py)"
    assert (found[0].own, found[0].total, found[0].samples) == (0.6, 0.9, 6)
    assert by_name["load (c.py)"].own == by_name["load (c.py)"].total == 0.3
    assert sum(one.own for one in found) == pytest.approx(1)


def test_a_recursion_counts_once() -> None:
    (found,) = functions_of({("f", "f", "f"): 4})
    assert (found.own, found.total) == (1, 1)


def test_nothing_seen_is_nothing_shown() -> None:
    assert functions_of({}) == []
    with pytest.raises(ValueError, match="no stacks"):
        draw_flame({}, "x")


@pytest.mark.parametrize("text", ["get (store.py)", "get (store.py) many", "a;b -3"])
def test_what_is_no_stack_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no stack"):
        read_stacks(text)


def test_widths_are_shares_and_names_are_escaped() -> None:
    svg = ElementTree.fromstring(  # noqa: S314
        draw_flame({("a",): 3, ("a", "<lambda> (x)"): 1, ("b",): 4}, 'of "a" & b')
    )
    assert svg.get("aria-label") == 'of "a" & b'
    widths = {
        box.find("title").text: float(box.find("rect").get("width", 0))  # type: ignore[union-attr]
        for box in svg.iter("g")
    }
    assert set(widths) == {"a: 50.0 %", "<lambda> (x): 12.5 %", "b: 50.0 %"}
    assert widths["a: 50.0 %"] == widths["b: 50.0 %"]
    assert widths["<lambda> (x): 12.5 %"] == pytest.approx(widths["b: 50.0 %"] / 4, abs=1)


def test_an_unknown_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no path rename"):
        HotOptions(reports=tmp_path, recorded=None, only=("rename",))
