"""Risk: what is seen before a session begins or after it has ended is taken for its memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.memory.session import ENDED, PROGRESS
from harness.memory.watch import Watch


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often any watch asked what was done, in the one place of a list."""
    looks, look = [0], Watch._operations

    def counted(self: Watch) -> int:
        looks[0] += 1
        return look(self)

    monkeypatch.setattr(Watch, "_operations", counted)
    return looks


def test_only_the_session_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = tmp_path / "done"
    looks = count_looks(monkeypatch)
    with Watch(progress, interval_s=0.005) as watch:
        watch.begin(os.getpid())
        wait_until(lambda: looks[0] > 3)
        assert not watch.samples  # nothing was said yet
        for operations in (0, 40):
            progress.write_bytes(PROGRESS.pack(operations))
            wait_until(lambda: [one.operations for one in watch.samples][-1:] == [operations])  # noqa: B023
        progress.write_bytes(PROGRESS.pack(ENDED))
        begun = looks[0]
        wait_until(lambda: looks[0] > begun + 1)  # the look that was under way then has ended
        seen, begun = len(watch.samples), looks[0]
        wait_until(lambda: looks[0] > begun + 3)
        assert len(watch.samples) == seen
    found = watch.as_json()
    assert [one["operations"] for one in found] == [0, 40]
    assert found[0]["by_type"]["anonymous"] > 1_000_000
    assert found[0]["resources"]["threads"] >= 2


def test_a_process_that_is_gone_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = tmp_path / "done"
    progress.write_bytes(PROGRESS.pack(3))
    looks = count_looks(monkeypatch)
    with Watch(progress, interval_s=0.005) as watch:
        watch.begin(2**22 + 1)  # above the kernel's largest process id
        wait_until(lambda: looks[0] > 3)
    assert watch.as_json() == []
