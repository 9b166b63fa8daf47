"""Risk: memory of a module is shown under another's name, or not at all."""

from __future__ import annotations

import tracemalloc

import numpy as np

from harness.probes.allocations import Held, bytes_by_module, growth_of, held_by_site

SIZE = 1_000_000


def snapshot(program: str, path: str) -> tracemalloc.Snapshot:
    """Allocations of a program that says it lies at `path`."""
    was_on = tracemalloc.is_tracing()
    if not was_on:
        tracemalloc.start(8)
    try:
        names: dict[str, object] = {"np": np, "SIZE": SIZE}
        exec(compile(program, path, "exec"), names)  # noqa: S102
        return tracemalloc.take_snapshot()
    finally:
        if not was_on:
            tracemalloc.stop()


def test_bytes_belong_to_the_module_that_asked_for_them() -> None:
    taken = snapshot("held = bytearray(SIZE)", "/x/src/titanstore/tiers/hot.py")
    found = bytes_by_module(taken, ("titanstore",))
    assert SIZE <= found["titanstore.tiers.hot"] < SIZE + 10_000


def test_the_innermost_frame_of_the_packages_counts() -> None:
    helper = compile("def take(size): return bytearray(size)", "/y/lib/helper.py", "exec")
    names: dict[str, object] = {}
    exec(helper, names)  # noqa: S102
    inner = compile("def ask(take, size): return take(size)", "/x/titanstore/codec/grid.py", "exec")
    exec(inner, names)  # noqa: S102
    tracemalloc.start(8)
    try:
        outer = compile("held = ask(take, 1_000_000)", "/x/titanstore/store.py", "exec")
        exec(outer, names)  # noqa: S102
        taken = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    found = bytes_by_module(taken, ("titanstore",))
    assert found["titanstore.codec.grid"] >= SIZE
    assert found.get("titanstore.store", 0) < SIZE


def test_what_belongs_to_no_package_is_other_and_nothing_is_lost() -> None:
    taken = snapshot("held = bytearray(SIZE)", "/x/elsewhere.py")
    found = bytes_by_module(taken, ("titanstore",))
    assert found["other"] >= SIZE
    assert sum(found.values()) == sum(trace.size for trace in taken.traces)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_growth_is_by_line_and_the_largest_first() -> None:
    tracemalloc.start(8)
    try:
        kept: dict[str, object] = {}
        before = held_by_site(tracemalloc.take_snapshot(), ("titanstore",))
        program = "small = bytearray(10_000)\nlarge = [bytearray(50_000) for _ in range(4)]"
        exec(compile(program, "/x/titanstore/tiers/warm.py", "exec"), kept)  # noqa: S102
        after = held_by_site(tracemalloc.take_snapshot(), ("titanstore",))
    finally:
        tracemalloc.stop()
    grown = [one for one in growth_of(before, after) if one.site.startswith("titanstore")]
    assert [one.site for one in grown] == ["titanstore.tiers.warm:2", "titanstore.tiers.warm:1"]
    assert 200_000 <= grown[0].size < 205_000
    assert grown[0].blocks >= 4
    assert grown[0].held == grown[0].size


def test_what_is_given_back_has_negative_growth_and_what_stays_none() -> None:
    before = {"a:1": Held(size=100, blocks=2), "b:2": Held(size=7, blocks=1)}
    (gone,) = growth_of(before, {"b:2": Held(size=7, blocks=1)})
    assert (gone.site, gone.size, gone.blocks, gone.held) == ("a:1", -100, -2, 0)
