"""The fresh process of one side: runs benchmarks of the checkout with that side's titanstore.

The parent starts `python -P -m harness.compare.worker TIMINGS SOURCE` and sends one command a line,
as JSON; each gets one line of answer. The first line says that the worker itself is there, the
second which titanstore was imported, or why none was. What a benchmark prints goes to standard
error. The end of standard input is the end of the process.
"""

from __future__ import annotations

import functools
import gc
import importlib
import itertools
import json
import os
import pkgutil
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from asv_runner.discovery import disc_benchmarks, get_benchmark_from_name, update_sys_path

from harness.environment import instruments

__all__ = ["main"]

_Call = Callable[[], Any]
_SETTLE = 12  # calls until the interpreter has specialised a function


class _Benches:
    """At most one benchmark at a time, between its `setup` and its `teardown`."""

    def __init__(self, timings: Path) -> None:
        self._timings = timings
        self._benchmark: Any = None
        self._call: _Call | None = None
        self._timer: timeit.Timer | None = None

    def list(self) -> dict[str, Any]:
        """The core benchmarks with their parameters, and modules that cannot be imported."""
        package = self._timings.name
        failed = {}
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            try:
                importlib.import_module(module.name)
            except (Exception, SystemExit) as error:  # whatever a commit's API makes of it
                failed[module.name.removeprefix(f"{package}.")] = _words(error)
        found = []
        for benchmark in disc_benchmarks(str(self._timings), ignore_import_errors=bool(failed)):
            owner = getattr(benchmark.func, "__self__", None)
            if benchmark.type == "time" and getattr(owner, "core", False):
                found.append(_description(benchmark))
        return {"benchmarks": found, "failed": failed, "evidence": self._evidence(package)}

    def _evidence(self, package: str) -> dict[str, Any]:
        """What `prepared.evidence()` of the folder tells of the data, if there is such a thing."""
        try:
            prepared = importlib.import_module(f"{package}.prepared")
        except ImportError:
            return {}
        return dict(prepared.evidence()) if hasattr(prepared, "evidence") else {}

    def set_up(self, benchmark: str, place: int | None) -> dict[str, Any]:
        """Prepare a benchmark; `absent` says why this side has none of it."""
        name = benchmark if place is None else f"{benchmark}-{place}"
        self._benchmark = get_benchmark_from_name(str(self._timings), name)
        if self._benchmark.do_setup():
            self._benchmark = None
            return {"absent": "its setup skips it (NotImplementedError)"}
        gc.collect()
        self._call = _call_of(self._benchmark, place)
        self._timer = timeit.Timer(self._call, timer=time.perf_counter_ns)
        return {}

    def sample(self, number: int) -> dict[str, Any]:
        """Nanoseconds of `number` calls; the cyclic collector is off meanwhile."""
        assert self._timer is not None
        return {"ns": self._timer.timeit(number)}

    def count(self, number: int) -> dict[str, Any]:
        """Call it inside `exec`, and nothing inside another one before: see `callgrind`."""
        names = {"call": self._call, "repeat": _repeat}
        _repeat(self._call, _SETTLE)
        gc.disable()
        try:
            for calls in (0, number):
                exec(f"repeat(call, {calls})", names)  # noqa: S102  # text of our own
        finally:
            gc.enable()
        return {}

    def tear_down(self) -> dict[str, Any]:
        """Ends the benchmark; its own check of its last answer is part of that."""
        benchmark, self._benchmark, self._timer = self._benchmark, None, None
        if benchmark is not None:
            benchmark.do_teardown()
        return {}


def _repeat(call: Any, number: int) -> None:
    for _ in range(number):
        call()


def _call_of(benchmark: Any, place: int | None) -> _Call:
    values = () if place is None else list(_products(benchmark))[place]
    call: _Call = functools.partial(benchmark.func, *values) if values else benchmark.func
    return call


def _products(benchmark: Any) -> Iterator[tuple[Any, ...]]:
    """Values of its parameters in asv's order; asv allows one list for a single parameter."""
    params = list(getattr(benchmark.func.__self__, "params", ()))
    if params and not isinstance(params[0], list | tuple):
        params = [params]
    return itertools.product(*params)


def _description(benchmark: Any) -> dict[str, Any]:
    """asv's own fields, as it keeps them in benchmarks.json."""
    return {
        name: value
        for name, value in vars(benchmark).items()
        if isinstance(value, str | int | float | list | dict | bool) and not name.startswith("_")
    }


def _words(error: BaseException) -> str:
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[-1][:300]}"


def _titanstore(source: Path) -> dict[str, str]:
    """Import it and prove that it is the one below `source`; or why it cannot be imported."""
    try:
        titanstore = importlib.import_module("titanstore")
    except (Exception, SystemExit) as error:  # the commit's own fault, whatever it is
        return {"unusable": _words(error)}
    place = Path(str(titanstore.__file__)).resolve()
    if not place.is_relative_to(source.resolve()):
        return {"stranger": f"imported {place} instead of the titanstore below {source}"}
    return {"titanstore": str(place)}


def _answer(benches: _Benches, command: dict[str, Any]) -> dict[str, Any]:
    match command.pop("do"):
        case "list":
            return benches.list()
        case "set_up":
            return benches.set_up(**command)
        case "sample":
            return benches.sample(**command)
        case "count":
            return benches.count(**command)
        case "tear_down":
            return benches.tear_down()
    raise ValueError("no such command")


def main() -> None:
    """Answer commands until standard input ends."""
    timings, source = Path(sys.argv[1]), Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with redirect_stdout(sys.stderr):
        first = {"pid": os.getpid(), "instruments": instruments()}
        print(json.dumps(first), file=answers, flush=True)
        print(json.dumps(_titanstore(source)), file=answers, flush=True)
        update_sys_path(str(timings))
        benches = _Benches(timings)
        for line in sys.stdin:
            try:
                answer = _answer(benches, json.loads(line))
            except (Exception, SystemExit) as error:  # whatever a benchmark raises is the answer
                answer = {"error": _words(error)}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
