"""Faults of the store, patched into the process under test when it imports what they are about.

A worker gets them by two environment variables (`environment`): PYTHONPATH names the folder hooks,
whose sitecustomize installs the fault that VARIABLE names. Nothing of this is in the store.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import mmap
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["INJECTIONS", "VARIABLE", "environment", "install"]

VARIABLE = "HARNESS_PROVE_INJECT"
_HOOKS = Path(__file__).with_name("hooks")
_HIT_RATIO = 0.94
_GETS_A_GROWTH, _GROWTH_BYTES = 1_000, 2**20


def lost_update(store: ModuleType) -> None:
    """A write is acknowledged at once and done with the next one; closing forgets the last.

    As a write-behind buffer without a flush does: exactly one update of a process is lost.
    """
    class_ = store.EmbeddingStore
    update, close = class_.update_document, class_.close

    def acknowledge(self: Any, document: str, chunks: Sequence[Any]) -> None:
        waiting = self.__dict__.get("_acknowledged")
        self.__dict__["_acknowledged"] = (document, list(chunks))
        if waiting is not None:
            update(self, *waiting)

    def forget(self: Any) -> None:
        self.__dict__.pop("_acknowledged", None)
        close(self)

    class_.update_document, class_.close = acknowledge, forget


def stale_search(results: ModuleType) -> None:
    """A kept result is taken for the present one whatever was written since."""
    results.ResultCache._is_unaltered = lambda *_: True  # noqa: SLF001


def low_hit_ratio(store: ModuleType) -> None:
    """Rows leave the hot tier just before they are read, so often that 94 % of reads are hits."""
    class_ = store.EmbeddingStore
    get = class_.get

    def evict_and_get(self: Any, key: str) -> Any:
        seen = self.__dict__.setdefault("_seen_reads", [0, 0])
        hits = self._counters.hot_hits
        if seen[0] and (hits - seen[1] + 1) / (seen[0] + 1) > _HIT_RATIO:
            self._cascade.invalidate([key])
        if not seen[0]:
            seen[1] = hits
        seen[0] += 1
        return get(self, key)

    class_.get = evict_and_get


def growing_mapping(store: ModuleType) -> None:
    """A file is mapped and read ever further while the store is used: clean pages, no heap."""
    class_ = store.EmbeddingStore
    get = class_.get

    def map_and_get(self: Any, key: str) -> Any:
        held = self.__dict__.get("_grown")
        if held is None:
            path = self._folder.path.with_name(f"{self._folder.path.name}.grows")
            file = path.open("w+b")
            file.truncate(mmap.PAGESIZE)
            held = self.__dict__["_grown"] = [mmap.mmap(file.fileno(), mmap.PAGESIZE), 0]
        held[1] += 1
        if held[1] % _GETS_A_GROWTH == 0:
            before = len(held[0])
            held[0].resize(before + _GROWTH_BYTES)
            for page in range(before, before + _GROWTH_BYTES, mmap.PAGESIZE):
                _ = held[0][page]
        return get(self, key)

    class_.get = map_and_get


def another_digit(calls: ModuleType) -> None:
    """A kept answer has another last digit in its body, which no checksum of the store covers."""
    make = calls.kept_response

    def make_another(envelope: Any, body: bytes, **given: Any) -> Any:
        place = body.index(b"]") - 1
        digit = b"1" if body[place : place + 1] != b"1" else b"2"
        return make(envelope, body[:place] + digit + body[place + 1 :], **given)

    calls.kept_response = make_another  # type: ignore[attr-defined]


INJECTIONS: Mapping[str, tuple[str, Callable[[ModuleType], None]]] = {
    "lost-update": ("titanstore.store", lost_update),
    "stale-search": ("titanstore.search.results", stale_search),
    "low-hit-ratio": ("titanstore.store", low_hit_ratio),
    "growing-mapping": ("titanstore.store", growing_mapping),
    "another-digit": ("titanstore.clients.bedrock.calls", another_digit),
}
"""By name: the module that a fault is put into, and what does it."""


def environment(name: str) -> dict[str, str]:
    """Variables that make every Python process started with them have this fault."""
    if name not in INJECTIONS:
        raise ValueError(f"no injection {name!r}; there are {', '.join(INJECTIONS)}")
    path = os.pathsep.join([str(_HOOKS), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {VARIABLE: name, "PYTHONPATH": path}


def install() -> None:
    """In the process under test: wait for the import of the module, then patch it."""
    name = os.environ.get(VARIABLE)
    if name:
        sys.meta_path.insert(0, _AfterImport(*INJECTIONS[name]))


class _AfterImport(importlib.abc.MetaPathFinder):
    """Lets the module be found and run as always, then calls `patch` with it."""

    def __init__(self, module: str, patch: Callable[[ModuleType], None]) -> None:
        self._module = module
        self._patch = patch

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_patch(module: ModuleType) -> None:
            run(module)
            self._patch(module)

        spec.loader.exec_module = run_and_patch  # type: ignore[method-assign]
        return spec
