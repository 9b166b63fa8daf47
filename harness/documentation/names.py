"""Public names, settings, errors and counters of the store beside the pages that tell them.

The store is looked at by name, as any package would be: what it exports is what is checked.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from harness.documentation.finding import Finding, same_names
from harness.documentation.pages import reference, table

__all__ = [
    "MODULES",
    "check_docstrings",
    "check_errors",
    "check_metrics",
    "check_names",
    "check_settings",
    "error_classes",
    "members",
    "public",
]

MODULES = (
    "titanstore",
    "titanstore.clients.bedrock",
    "titanstore.clients.langchain",
    "titanstore.clients.lancedb",
)
"""Modules whose public names are what a caller may rely on."""

_API = "api.rst"  # the page that the docstrings are put into


def public(module: str) -> dict[str, Any]:
    """What a module exports: `__all__`, else what it defines without an underscore before it."""
    found = importlib.import_module(module)
    own = [
        name
        for name, value in vars(found).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module
    ]
    return {name: getattr(found, name) for name in getattr(found, "__all__", own)}


def members(of: type) -> dict[str, Any]:
    """Public methods, properties and fields that a class itself adds, with those of its bases in
    the same package.
    """
    package = of.__module__.partition(".")[0]
    found: dict[str, Any] = {}
    for base in reversed(of.__mro__):
        if base.__module__.partition(".")[0] == package:
            found |= {name: value for name, value in vars(base).items() if name[0] != "_"}
    return found


def check_names(root: Path) -> Iterator[Finding]:
    """The index beside what the store exports; its methods beside those of `EmbeddingStore`."""
    page = root / "docs" / "index.md"
    names = public("titanstore")
    yield from same_names("name", page, table(page, "Public names").keys(), names.keys())
    listed = table(page, "What a store can do")
    yield from same_names("member", page, listed, members(names["EmbeddingStore"]))
    page = reference(root, "clients")
    there = {f"{module}.{name}" for module in MODULES[1:] for name in public(module)}
    yield from same_names("name", page, table(page, "Names").keys(), there)
    bedrock = public(MODULES[1])
    for name in ("Titan", "Embedder"):
        # what `__init__` sets is told too; the class does not show it, and a test of clients does
        rows = table(page, name)
        for finding in same_names("member", page, rows, {*members(bedrock[name]), *rows}):
            yield Finding(kind="member", what=f"{name}.{finding.what}", fault=finding.fault)


def check_docstrings(root: Path) -> Iterator[Finding]:
    """Every public name and member has a docstring, and the reference takes in its module."""
    page = root / "docs" / "reference" / _API
    taken = set(re.findall(r"^\.\. automodule:: (\S+)$", page.read_text("utf-8"), re.MULTILINE))
    yield from same_names("module", page, taken, MODULES)
    for module in MODULES:
        for name, value in public(module).items():
            where = f"{module}.{name}"
            yield Finding(kind="docstring", what=where, fault=_undocumented(value))
            if inspect.isclass(value):
                for member, inner in members(value).items():
                    if isinstance(inner, property | classmethod | staticmethod) or (
                        inspect.isfunction(inner)
                    ):
                        fault = _undocumented(getattr(value, member))
                        yield Finding(kind="docstring", what=f"{where}.{member}", fault=fault)


def _undocumented(value: Any) -> str:
    """Its docstring, or that of what it overrides, counts; the one a dataclass writes does not."""
    text = inspect.getdoc(value) or ""
    name = getattr(value, "__name__", "")
    made = inspect.isclass(value) and is_dataclass(value) and text.startswith(f"{name}(")
    return "no docstring" if not text or made else ""


def check_settings(root: Path) -> Iterator[Finding]:
    """Each setting with its default, range and what it costs."""
    page = reference(root, "settings")
    rows = table(page, "All settings")
    defaults = public("titanstore")["StoreConfig"]()
    code = {field.name: repr(getattr(defaults, field.name)) for field in fields(defaults)}
    for finding in same_names("setting", page, rows.keys(), code.keys()):
        fault = finding.fault
        if not fault:
            cells = rows[finding.what]
            told = cells[1].strip("`").replace('"', "'")
            if told != code[finding.what]:
                fault = f"its default is {code[finding.what]}, told is {told}"
            elif len(cells) != 4 or not cells[2] or not cells[3]:
                fault = "no range, or not what it does"
        yield Finding(kind="setting", what=finding.what, fault=fault)


def error_classes() -> dict[str, type[Any]]:
    """Every error that the store exports, by name."""
    names = public("titanstore")
    return {
        name: value
        for name, value in names.items()
        if isinstance(value, type) and issubclass(value, names["StoreError"])
    }


def check_errors(root: Path) -> Iterator[Finding]:
    """Each class with the builtin that it also is; each kind with its class and what to do."""
    page = reference(root, "errors")
    rows, classes = table(page, "Classes"), error_classes()
    for finding in same_names("error", page, rows.keys(), classes.keys()):
        fault = finding.fault
        if not fault and finding.what != "StoreError":
            bases = classes[finding.what].__bases__
            builtin = [base.__name__ for base in bases if base.__module__ == "builtins"]
            if re.findall(r"`(\w+)`", rows[finding.what][0]) != builtin:
                fault = f"it is also {builtin or 'nothing'}"
        yield Finding(kind="error", what=finding.what, fault=fault)
    kinds = table(page, "Kinds")
    named = {name for cells in kinds.values() for name in re.findall(r"`(\w+)`", cells[0])}
    for name in sorted(classes.keys() - {"StoreError"} - named):
        yield Finding(kind="error", what=name, fault="no kind is of it")
    there = {str(kind) for kind in public("titanstore")["ErrorKind"]}
    for finding in same_names("error kind", page, kinds.keys(), there):
        fault = finding.fault
        if not fault:
            cells = kinds[finding.what]
            of = set(re.findall(r"`(\w+)`", cells[0]))
            if len(cells) != 3 or not cells[1]:
                fault = "not what it means"
            elif of - classes.keys():
                fault = "it is of no such class"
        yield Finding(kind="error kind", what=finding.what, fault=fault)


def check_metrics(root: Path) -> Iterator[Finding]:
    """Counters and sizes of a store, counters of a client."""
    page = reference(root, "metrics")
    counters = importlib.import_module("titanstore.metrics").Counters
    there = {field.name for field in fields(counters)}
    yield from same_names("counter", page, table(page, "Counters").keys(), there)
    stats = public("titanstore")["StoreStats"]
    sizes = {field.name for field in fields(stats)} | _properties(stats)
    yield from same_names("size", page, table(page, "StoreStats").keys(), sizes)
    page = reference(root, "clients")
    of_client = public(MODULES[1])["ClientCounters"]
    there = {field.name for field in fields(of_client)} | _properties(of_client)
    yield from same_names("counter", page, table(page, "Counters").keys(), there)


def _properties(of: type) -> set[str]:
    return {name for name, value in vars(of).items() if isinstance(value, property)}
