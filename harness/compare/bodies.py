"""Digests of what benchmarks do, read from their source; nothing is imported or run.

Two commits may be compared by a benchmark only if both mean the same by its name. The digest covers
the method, its class with everything it inherits, and all names of the benchmark folder that these
use, however far away. Comments, docstrings, layout and other benchmarks of the class do not count.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["body_digests", "read_bodies"]

_BENCHMARK = re.compile(r"(time|timeraw|mem|peakmem|track)_")
_TIMED = re.compile(r"time_")
_HOOKS = ("setup", "teardown")  # asv runs a module's own around each of its benchmarks
_DefinedBy = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(slots=True)
class _Module:
    """What a module's top level binds: statements by name, and names of sibling modules."""

    bound: dict[str, list[ast.stmt]] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    borrowed: dict[str, tuple[str, str]] = field(default_factory=dict)


def read_bodies(folder: Path) -> dict[str, str]:
    """`body_digests` of the Python files below a folder; empty if there is no such folder.

    Raises
    ------
    ValueError
        A file is not Python or not UTF-8; the message names it.
    """
    sources = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            sources[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: {error}") from error
    return body_digests(sources)


def body_digests(sources: Mapping[str, str]) -> dict[str, str]:
    """Digest of each core benchmark by asv's name for it, such as "codec.Decode.time_decode".

    Core are the `time_*` methods of classes with `core = True`, of their own or inherited.

    Parameters
    ----------
    sources
        Text of each module by its dotted name below the benchmark folder, "" for the package.

    Raises
    ------
    ValueError
        A text that is not Python; the message names the module.
    """
    modules = {}
    for name, text in sources.items():
        try:
            modules[name] = _bindings(name, ast.parse(text), set(sources))
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"{name or '__init__'}: {error}") from error
    found: dict[str, str] = {}
    for name, module in modules.items():
        for bound, statements in module.bound.items():
            statement = statements[-1]
            if bound.startswith("_") or not isinstance(statement, ast.ClassDef):
                continue
            if _is_core(modules, name, statement):
                for method in sorted(_methods(modules, name, statement)):
                    found[f"{name}.{bound}.{method}"] = _digest(modules, name, bound, method)
    return found


def _bindings(name: str, tree: ast.Module, siblings: set[str]) -> _Module:
    module = _Module()
    for node in ast.walk(tree):  # in a function or a `try` too
        if isinstance(node, ast.ImportFrom) and node.level:
            _borrow(module, node, name, siblings)
    for statement in tree.body:
        for bound in _names_bound(statement):
            module.bound.setdefault(bound, []).append(statement)
    return module


def _borrow(module: _Module, statement: ast.ImportFrom, name: str, siblings: set[str]) -> None:
    """`from . import prepared` and `from .prepared import rows`: names of the same folder."""
    package = name.split(".")[: -statement.level]
    source = ".".join([*package, *filter(None, [statement.module])])
    for alias in statement.names:
        local = alias.asname or alias.name
        inner = ".".join(filter(None, [source, alias.name]))
        if inner in siblings:
            module.modules[local] = inner
        elif source in siblings:
            module.borrowed[local] = (source, alias.name)


def _names_bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, _DefinedBy):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in statement.names)
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _bases(
    modules: Mapping[str, _Module], name: str, class_: ast.ClassDef
) -> Iterator[tuple[str, ast.ClassDef]]:
    """Classes of the folder that it is derived from, in the order of its bases."""
    for base in class_.bases:
        place = _place_of(modules, name, base)
        for statement in modules[place[0]].bound.get(place[1], ()) if place else ():
            if isinstance(statement, ast.ClassDef) and statement is not class_:
                assert place is not None
                yield place[0], statement


def _is_core(modules: Mapping[str, _Module], name: str, class_: ast.ClassDef) -> bool:
    for statement in reversed(class_.body):
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "core" for target in targets):
            assert isinstance(statement, ast.Assign)
            return isinstance(statement.value, ast.Constant) and statement.value.value is True
    return any(_is_core(modules, *base) for base in _bases(modules, name, class_))


def _methods(modules: Mapping[str, _Module], name: str, class_: ast.ClassDef) -> set[str]:
    """Its `time_*` methods, inherited ones too."""
    found = {
        one.name
        for one in class_.body
        if isinstance(one, ast.FunctionDef) and _TIMED.match(one.name)
    }
    return found.union(*(_methods(modules, *base) for base in _bases(modules, name, class_)))


def _place_of(modules: Mapping[str, _Module], name: str, node: ast.expr) -> tuple[str, str] | None:
    """Where in the folder a name or `module.name` is bound; None if outside of it."""
    module = modules[name]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        inner = module.modules.get(node.value.id)
        return None if inner is None else (inner, node.attr)
    if isinstance(node, ast.Name):
        if node.id in module.borrowed:
            return module.borrowed[node.id]
        if node.id in module.bound and node.id not in module.modules:
            return name, node.id
    return None


def _digest(modules: Mapping[str, _Module], name: str, class_: str, method: str) -> str:
    """Over the class with this one benchmark, and all that it leads to."""
    seen: dict[tuple[str, str], str] = {}
    waiting = [(name, class_)]
    waiting += [(name, hook) for hook in _HOOKS if hook in modules[name].bound]
    while waiting:
        place = waiting.pop()
        if place in seen or place[0] not in modules:
            continue
        statements = [_stripped(one, method) for one in modules[place[0]].bound.get(place[1], ())]
        seen[place] = "\n".join(ast.dump(one) for one in statements)
        for statement in statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name | ast.Attribute):
                    inner = _place_of(modules, place[0], node)
                    if inner is not None:
                        waiting.append(inner)
    digest = hashlib.blake2b(digest_size=16)
    for place, text in sorted(seen.items()):
        digest.update(f"{place}\n{len(text)}\n{text}\n".encode())
    return digest.hexdigest()


def _stripped(statement: ast.stmt, method: str) -> ast.stmt:
    """A copy without docstrings, and of the benchmarks of a class only the one that is meant."""
    copy = ast.parse(ast.unparse(statement)).body[0]
    for node in ast.walk(copy):
        if not isinstance(node, _DefinedBy):
            continue
        if isinstance(node, ast.ClassDef):
            node.body = [
                one
                for one in node.body
                if not (
                    isinstance(one, ast.FunctionDef)
                    and _BENCHMARK.match(one.name)
                    and one.name != method
                )
            ]
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            node.body = node.body[1:]
    return copy
