"""Risk: a session that slows down looks steady, or a steady one is said to slow down."""

from __future__ import annotations

import numpy as np
import pytest

from harness.trend import trend


@pytest.mark.parametrize(("step", "is_upward"), [(1e-6, True), (0.0, False), (-1e-6, False)])
def test_an_upward_trend_is_seen(step: float, is_upward: bool) -> None:
    rng = np.random.default_rng(1)
    sessions = [
        (2e-3 + step * np.arange(1_000) + rng.exponential(2e-4, 1_000)).tolist() for _ in range(5)
    ]
    found = trend(sessions)
    assert found["is_upward_trend"] is is_upward
    assert found["added_by_1000_updates_s"] == pytest.approx(1_000 * step, abs=1e-4)


def test_too_few_updates_have_no_trend() -> None:
    assert trend([[1.0, 2.0]]) == {}
    assert "added_by_1000_updates_s" in trend([[1.0, 2.0, 3.0]])


def test_the_shortest_session_sets_the_length() -> None:
    assert trend([[1.0] * 100, [1.0] * 60 + [9.0]])["added_by_1000_updates_s"] == 0.0
