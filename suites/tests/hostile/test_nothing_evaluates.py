"""Risk: a file is run as a program. Nothing of ours unpickles or evaluates anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
MODULES |= {"jsonpickle", "xmlrpc", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"literal_eval", "runcode", "run_path", "read_pickle", "from_pickle"}
KEYWORDS = {"allow_pickle", "shell"}
# `repeat(call, <a number>)`, made where it is run: what callgrind wants counted lies inside it
OUR_OWN_TEXT = {"harness/compare/worker.py: calls exec"}
# examples of the project's own pages, which docs.complete runs
OUR_OWN_TEXT |= {f"harness/documentation/examples.py: calls {name}" for name in ("compile", "exec")}


def breaches(source: str) -> Iterator[str]:
    """Each place of a program that could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call):
            yield from _of_call(node)
            continue
        else:
            continue
        for name in names:
            if name.partition(".")[0] in MODULES:
                yield f"line {node.lineno}: imports {name}"


def _of_call(node: ast.Call) -> Iterator[str]:
    called = node.func
    if isinstance(called, ast.Name) and called.id in CALLS:
        yield f"line {node.lineno}: calls {called.id}"
    if isinstance(called, ast.Attribute) and called.attr in ATTRIBUTES:
        yield f"line {node.lineno}: calls {called.attr}"
    for keyword in node.keywords:
        is_false = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        if keyword.arg in KEYWORDS and not is_false:
            yield f"line {node.lineno}: {keyword.arg}"


def programs() -> list[Path]:
    return sorted(
        path for folder in ("src", "harness", "fixtures") for path in (ROOT / folder).rglob("*.py")
    )


def test_no_program_of_ours_evaluates_what_it_reads() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {breach.partition(': ')[2]}"
        for path in programs()
        for breach in breaches(path.read_text(encoding="utf-8"))
    }
    assert len(programs()) > 150
    assert found == OUR_OWN_TEXT


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "import yaml",
        "eval('1')",
        "import ast\nast.literal_eval('1')",
        "exec(text)",
        "numpy.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=wanted)",
        "subprocess.run(words, shell=True)",
        "def f():\n    import shelve",
    ],
)
def test_each_way_to_do_it_is_seen(source: str) -> None:
    assert list(breaches(source))


def test_what_is_harmless_is_let_be() -> None:
    assert not list(breaches("import json\njson.loads(x)\nnumpy.load(p, allow_pickle=False)"))
