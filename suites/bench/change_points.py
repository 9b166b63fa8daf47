"""How often does a method see a step that is there, and one that is not? (reports/decisions/0012)

    python suites/bench/change_points.py [--series 200]

Synthetic histories: a level with 2 % noise from run to run, in the middle a step of 0, 5 or 10 %.
The noise is independent, or each run's resembles the last one's (correlation 0.5), or one run in
twenty is up to 25 % slower. Prints one JSON line a method and kind of history. Apache Otava is
measured too where it is installed; its pins do not allow that beside this project.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ruptures
from asv.step_detect import detect_steps
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.changepoints import find_steps

Values = NDArray[np.float64]
NOISE = 0.02
NEAR = 3  # runs beside the true place that still count as found
KINDS = {"independent": (0.0, False), "correlated": (0.5, False), "bad runs": (0.0, True)}


def history(rng: np.random.Generator, runs: int, kind: str, step: float) -> Values:
    """Seconds of `runs` runs, with a step before the one in the middle."""
    correlation, has_bad_runs = KINDS[kind]
    fresh = rng.standard_normal(runs)
    noise = np.empty(runs)
    noise[0] = fresh[0]
    for run in range(1, runs):
        noise[run] = correlation * noise[run - 1] + np.sqrt(1 - correlation**2) * fresh[run]
    logs = NOISE * noise
    logs[runs // 2 :] += np.log1p(step)
    if has_bad_runs:
        logs += np.where(rng.random(runs) < 0.05, 0.25 * rng.random(runs), 0.0)
    values: Values = 1e-3 * np.exp(logs)
    return values


def ours(values: Values) -> list[int]:
    return [step.place for step in find_steps(values.tolist())]


def squares(values: Values) -> list[int]:
    """PELT on squared deviations, with the usual penalty of 3 log n."""
    logs = np.log(values)
    noise = np.median(np.abs(np.diff(logs))) / 0.6745 / np.sqrt(2)
    search = ruptures.Pelt(model="l2", min_size=4, jump=1).fit(logs / noise)
    places: list[int] = search.predict(pen=3 * np.log(len(logs)))[:-1]
    return places


def of_asv(values: Values) -> list[int]:
    return [int(step[0]) for step in detect_steps(values.tolist())[1:]]


def otava() -> Callable[[Values], list[int]] | None:
    try:
        compute_change_points = importlib.import_module("otava.analysis").compute_change_points
    except ImportError:
        return None

    def found(values: Values) -> list[int]:
        points, _ = compute_change_points(values, max_pvalue=0.001)
        return [int(point.index) for point in points]

    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=200)
    count = parser.parse_args().series
    methods: dict[str, Callable[[Values], list[int]]] = {
        "ours: PELT, absolute": ours,
        "PELT, squares": squares,
        "asv": of_asv,
    }
    divisive = otava()
    if divisive is not None:
        methods["Otava: E-divisive"] = divisive
    for runs in (20, 40):
        for kind in KINDS:
            made = {
                step: [history(rng, runs, kind, step) for _ in range(count)]
                for step, rng in ((s, np.random.default_rng(int(100 * s))) for s in (0, 0.05, 0.1))
            }
            for name, method in methods.items():
                print(json.dumps(_rates(name, method, runs, kind, made)), flush=True)  # noqa: T201


def _rates(
    name: str,
    method: Callable[[Values], list[int]],
    runs: int,
    kind: str,
    made: dict[float, list[Values]],
) -> dict[str, object]:
    failed = 0
    seen: dict[float, list[list[int]]] = {}
    for step, several in made.items():
        seen[step] = []
        for values in several:
            try:
                seen[step].append(method(values))
            except ValueError:  # Otava's on some series
                failed += 1
                seen[step].append([])

    def share(step: float) -> float:
        hits = [any(abs(place - runs // 2) <= NEAR for place in places) for places in seen[step]]
        return round(float(np.mean(hits)), 3)

    return {
        "method": name,
        "runs": runs,
        "noise": kind,
        "false": round(float(np.mean([bool(places) for places in seen[0]])), 3),
        "found_5": share(0.05),
        "found_10": share(0.1),
        "failed": failed,
    }


if __name__ == "__main__":
    main()
