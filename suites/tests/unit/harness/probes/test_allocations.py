"""Risk: memory of a module is shown under another's name, or not at all."""

from __future__ import annotations

import tracemalloc

import numpy as np

from harness.probes.allocations import bytes_by_module

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
