"""A `titanstore serve-metrics` process, and what it answers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from titanstore.exporter.collector import WatcherCollector
from titanstore.exporter.readiness import Readiness
from titanstore.exporter.watcher import Watcher

COMMAND = [sys.executable, "-c", "from titanstore.cli import main; main()"]
_PATIENCE_S = 60.0


class Answer(NamedTuple):
    status: int
    kind: str
    body: str


class Metrics(ABC):
    """Something whose metrics can be asked for."""

    @abstractmethod
    def text(self) -> str: ...

    def values(self) -> dict[tuple[str, ...], float]:
        """By name and then values of the labels but `store`, in the order of the labels' names."""
        found = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                labels = [sample.labels[name] for name in sorted(sample.labels) if name != "store"]
                found[sample.name, *labels] = sample.value
        return found

    def until(self, name: str, wanted: float) -> float:
        """Wait until a metric without labels has at least this value."""
        deadline = time.monotonic() + _PATIENCE_S
        while (value := self.values().get((name,), -1.0)) < wanted:
            assert time.monotonic() < deadline, f"{name} is {value}, wanted {wanted}"
            time.sleep(0.1)
        return value


class Exporter(Metrics):
    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.url = url
        self.process = process

    def text(self) -> str:
        return self.get("/metrics").body

    def get(self, route: str, **headers: str) -> Answer:
        request = urllib.request.Request(self.url + route, headers=headers)  # noqa: S310  # http, ours
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_S) as found:  # noqa: S310
                return Answer(found.status, found.headers["Content-Type"], found.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers["Content-Type"], error.read().decode())

    def ready(self) -> tuple[int, dict[str, object]]:
        found = self.get("/readyz")
        return found.status, json.loads(found.body)


class Watched(Metrics):
    """A watcher of this process: the same without HTTP."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self._registry = CollectorRegistry()
        self._registry.register(WatcherCollector(watcher))

    def text(self) -> str:
        return generate_latest(self._registry).decode()

    def ready(self) -> Readiness:
        return self.watcher.look()[1]


@contextmanager
def watched(path: Path, *, check_s: float = 0, free_bytes_min: int = 0) -> Iterator[Watched]:
    watcher = Watcher(path, free_bytes_min=free_bytes_min, check_s=check_s, sample_s=0.05)
    try:
        yield Watched(watcher)
    finally:
        watcher.close()


@contextmanager
def exporter(path: Path, *options: str) -> Iterator[Exporter]:
    command = [*COMMAND, "serve-metrics", str(path), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            found = re.match(r"serving (http://\S+)/metrics", line)
            assert found, line
            yield Exporter(found[1], process)
        finally:
            process.terminate()
            process.wait()
