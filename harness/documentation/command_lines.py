"""Commands and options beside the page that tells them, and command lines in every page."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import click

from harness.documentation.finding import Finding, same_names
from harness.documentation.pages import blocks, guides, headings, reference, spans, table

__all__ = ["PROGRAMS", "all_commands", "check_command_lines", "check_commands", "names_of"]

PROGRAMS = ("titanstore", "harness")


@cache
def all_commands() -> Mapping[str, click.Command]:
    """Every command of both programs, by what one types."""
    found: dict[str, click.Command] = {}
    for program in PROGRAMS:
        # by name: harness.cli itself imports what imports this module
        found.update(_below(program, importlib.import_module(f"{program}.cli").main))
    return found


def _below(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from _below(f"{name} {word}", inner)


def names_of(command: click.Command) -> set[str]:
    """Options by their long names, arguments in capitals."""
    return {_name(param) for param in command.params}


def _name(param: click.Parameter) -> str:
    return param.opts[0] if isinstance(param, click.Option) else str(param.name).upper()


def check_commands(root: Path) -> Iterator[Finding]:
    """Each command has a section and a help text, each option and argument a row and a help."""
    page = reference(root, "commands")
    there = all_commands()
    told = {
        text for level, text in headings(page) if level == 2 and text.partition(" ")[0] in PROGRAMS
    }
    # a group's own section is wanted where it has options of its own
    groups = {
        name
        for name, found in there.items()
        if isinstance(found, click.Group) and not found.params and name not in told
    }
    for finding in same_names("command", page, told, there.keys() - groups):
        command = there.get(finding.what)
        silent = "" if command is None or command.help else "no help text"
        yield Finding(kind="command", what=finding.what, fault=finding.fault or silent)
        if command is not None and not finding.fault:
            yield from _options(page, finding.what, command)


def _options(page: Path, name: str, command: click.Command) -> Iterator[Finding]:
    rows = table(page, name)
    by_name = {_name(param): param for param in command.params}
    for finding in same_names("option", page, rows.keys(), by_name.keys()):
        param, fault = by_name.get(finding.what), finding.fault
        if not fault and param is not None:
            if isinstance(param.type, click.Choice):
                told = re.findall(r"`([^`]+)`", rows[finding.what][0])
                if told != list(param.type.choices):
                    fault = f"its values are {', '.join(param.type.choices)}"
            if isinstance(param, click.Option) and not (param.help or param.hidden):
                fault = fault or "no help text"
            if not all(rows[finding.what][-1:]):
                fault = fault or "nothing is said of it"
        yield Finding(kind="option", what=f"{name} {finding.what}", fault=fault)


def check_command_lines(root: Path) -> Iterator[Finding]:
    """Every line that calls one of the programs, in blocks and in text, has a command and options
    that there are.
    """
    for page in guides(root):
        lines = [line for block in blocks(page, "sh") for line in block.text.splitlines()]
        for line in dict.fromkeys([*lines, *spans(page)]):
            words = line.partition(" # ")[0].removeprefix(".venv/bin/").split()
            if words and words[0] in PROGRAMS and re.fullmatch(r"[\w.-]+", words[0]):
                where = f"{page.relative_to(root)}: {line.strip()}"
                yield Finding(kind="command line", what=where, fault=_fault(words))


def _fault(words: list[str]) -> str:
    there = all_commands()
    name, *rest = words
    while rest and isinstance(there[name], click.Group):
        if rest[0] in _valued(there[name]):  # `titanstore --log-format json info PATH`
            rest = rest[2:]
            continue
        if rest[0].startswith("-"):
            break
        name = f"{name} {rest.pop(0)}"
        if name not in there:
            return f"no command {name}"
    unknown = {word for word in rest if word.startswith("--")} - names_of(there[name])
    return f"no option {', '.join(sorted(unknown))}" if unknown else ""


def _valued(command: click.Command) -> set[str]:
    options = [param for param in command.params if isinstance(param, click.Option)]
    return {name for param in options if not param.is_flag for name in param.opts}
