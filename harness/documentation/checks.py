"""All checks of the documentation that execute nothing, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from harness.documentation import command_lines, links, names
from harness.documentation.finding import Finding, guarded

__all__ = ["CHECKS", "check_all"]

CHECKS: Mapping[str, Callable[[Path], Iterable[Finding]]] = {
    "names": names.check_names,
    "docstrings": names.check_docstrings,
    "settings": names.check_settings,
    "errors": names.check_errors,
    "metrics": names.check_metrics,
    "commands": command_lines.check_commands,
    "command lines": command_lines.check_command_lines,
    "links": links.check_links,
    "paths": links.check_paths,
}


def check_all(root: Path) -> list[Finding]:
    """The findings of every check, in order."""
    return [one for name in CHECKS for one in check(name, root)]


def check(name: str, root: Path) -> list[Finding]:
    """The findings of one check; raises KeyError if there is none of that name."""
    one = CHECKS[name]
    return guarded(name, lambda: one(root))
