"""Risk: a file or name that somebody else made ends in anything but an error of our tree.

Here a few inputs of each kind with a fresh seed; `harness reliability --full --part input` feeds
a thousand of each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.reliability.inputs import INPUTS

ROOT = Path(__file__).resolve().parents[3]
EACH = 4


def ran(words: list[str]) -> list[dict[str, Any]]:
    """What a process of its own says: it forks, which one of pytest's had better not."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_few_of_each_kind(seed: int) -> None:
    said = ran(["-m", "harness.reliability.worker", "input", str(seed), str(EACH), *INPUTS])
    found = [line["findings"] for line in said if "findings" in line]
    assert [one["scenario"] for one in found] == list(INPUTS)
    assert [fault for one in found for fault in one["faults"]] == []
    assert all(sum(one["tried"].values()) == EACH for one in found)
    assert any(word.startswith("refused") for one in found for word in one["outcomes"])


_TRY = """
import json, os, signal, time
from harness.reliability import inputs

def feed(base, folder, rng):
    number = int((base / "count").read_text())
    (base / "count").write_text(str(number + 1))
    timers = signal.ITIMER_PROF, signal.ITIMER_REAL
    assert all(signal.getitimer(timer)[0] > 0 for timer in timers)
    # only sooner: on a busy machine, which of them comes first is not for a test to say
    if number == 0:
        raise KeyError("not of our tree")
    if number == 1:
        bytearray(2 * inputs._MEMORY_BYTES_MAX)
    if number == 2:
        signal.setitimer(timers[0], 0.1)
        while True:
            pass
    if number == 3:
        signal.setitimer(timers[1], 0.1)
        time.sleep(60)
    if number == 4:
        os.abort()
    return "taken"

prepare = lambda base: (base / "count").write_text("0") and None
inputs.INPUTS["bad"] = inputs.Input(id="bad", prepare=prepare, feed=feed)
found = inputs.try_inputs("bad", 1, 7, lambda *_: None)
print(json.dumps(found.as_json()))
"""


def test_what_must_not_happen_is_seen() -> None:
    """Or the campaign would find nothing whatever a reader did."""
    found = ran(["-c", _TRY])[0]
    assert found["outcomes"] == {"fault": 5, "taken": 2}
    assert [fault["point"] for fault in found["faults"]] == [f"input {n}" for n in range(5)]
    seen = [fault["what"][0] for fault in found["faults"]]
    assert "KeyError" in seen[0]
    assert "MemoryError" in seen[1]
    assert seen[2:] == [
        "it never came to an end",
        "it waits for ever",
        "the process ended with -6",
    ]


def test_a_seed_finds_the_same_inputs_again() -> None:
    words = ["-m", "harness.reliability.worker", "input", "7", "4", "waivers", "waivers"]
    first, second = (line["findings"] for line in ran(words) if "findings" in line)
    assert first == second
