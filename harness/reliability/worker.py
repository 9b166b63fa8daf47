"""One part of the campaign on some scenarios, in a process of its own: it forks, so no threads.

python -m harness.reliability.worker PART SEED MOST SCENARIO... says lines of JSON: {"done", "of"},
then {"findings"} of each scenario. MOST is the number of points of each, 0 for all. Of the part
`input`, the scenarios are kinds of input.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness.reliability.damages import damage_each_byte
from harness.reliability.findings import Findings
from harness.reliability.inputs import try_inputs
from harness.reliability.kills import kill_at_each_call
from harness.reliability.powercuts import cut_at_each_event
from harness.reliability.rehearsal import Rehearsal, rehearse
from harness.reliability.scenarios import SCENARIOS
from harness.reliability.troubles import trouble_at_each_call

__all__ = ["PARTS", "main"]

_Told = Callable[[int, int], None]
_ON_STORES: dict[str, Callable[[Rehearsal, int, int | None, _Told], Findings]] = {
    "kill": kill_at_each_call,
    "power-cut": cut_at_each_event,
    "trouble": trouble_at_each_call,
    "damage": damage_each_byte,
}
_INPUT = "input"
PARTS = (*_ON_STORES, _INPUT)


def main(part: str, seed: int, most: int | None, scenarios: list[str]) -> None:
    """Try the points of each scenario, and say what was found."""
    for name in scenarios:
        if part == _INPUT:
            _say({"findings": try_inputs(name, seed, most, _say_progress).as_json()})
            continue
        with tempfile.TemporaryDirectory(prefix="reliability-") as work:
            # a path without links: strace writes down where a descriptor really leads
            rehearsal = rehearse(SCENARIOS[name], Path(work).resolve())
            found = _ON_STORES[part](rehearsal, seed, most, _say_progress)
        _say({"findings": found.as_json()})


def _say_progress(done: int, of: int) -> None:
    _say({"done": done, "of": of})


def _say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _, _part, _seed, _most, *_scenarios = sys.argv
    main(_part, int(_seed), int(_most) or None, _scenarios)
