"""Risk: a key changes sides between processes, releases or steps, or a step is not its share."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from titanstore import embedding_key
from titanstore.rollout import is_rolled_out

PERCENTS = (0, 0.1, 1, 5, 10, 25, 50, 75, 90, 99, 99.9, 100)
DIGESTS = [embedding_key("amazon.titan-embed-text-v2:0", f"chunk {n}") for n in range(5_000)]
NAMES = [f"src/module_{n // 100}.py#{n % 100}" for n in range(5_000)]


def chosen(keys: list[str], percent: float) -> list[str]:
    return [key for key in keys if is_rolled_out(key, percent)]


@pytest.mark.parametrize("keys", [DIGESTS, NAMES], ids=["digests", "names"])
@pytest.mark.parametrize("percent", PERCENTS)
def test_a_step_is_its_share(keys: list[str], percent: float) -> None:
    share = percent / 100
    # 5 standard deviations: the hash is fixed, so this is true for ever or never
    room = 5 * math.sqrt(len(keys) * share * (1 - share))
    assert abs(len(chosen(keys, percent)) - len(keys) * share) <= room


@pytest.mark.parametrize("keys", [DIGESTS, NAMES], ids=["digests", "names"])
def test_steps_only_add(keys: list[str]) -> None:
    steps = [set(chosen(keys, percent)) for percent in PERCENTS]
    assert all(before <= after for before, after in pairwise(steps))
    assert (steps[0], steps[-1]) == (set(), set(keys))


def test_another_process_chooses_the_same_keys() -> None:
    code = (
        "import json, sys; from titanstore.rollout import is_rolled_out\n"
        "print(json.dumps([key for key in json.load(sys.stdin) if is_rolled_out(key, 30)]))"
    )
    for seed in ("0", "12345"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(NAMES),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == chosen(NAMES, 30)


@pytest.mark.parametrize(
    ("key", "percent"),
    [("a", 38.5114), ("src/x.py#3", 83.3579), ("0" * 32, 8.2378), ("é", 57.6382)],
)
def test_a_release_does_not_move_a_key(key: str, percent: float) -> None:
    """`percent` is where the key came in when this was written, by `b2sum`'s algorithm."""
    assert not is_rolled_out(key, percent - 0.01)
    assert is_rolled_out(key, percent + 0.01)


@pytest.mark.parametrize("key", ["\ud800", "\0", "é" * 240])
def test_any_text_has_its_place(key: str) -> None:
    assert is_rolled_out(key, 100)
    assert not is_rolled_out(key, 0)
    assert is_rolled_out(key, 50) is is_rolled_out(key, 50)
