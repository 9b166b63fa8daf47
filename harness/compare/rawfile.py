"""Raw rounds on the disk, a line of JSON each, so that an interruption loses one at most."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.compare.decide import log_ratio
from harness.compare.rounds import Round
from harness.errors import EvidenceError

__all__ = ["append_line", "as_line", "log_ratios", "read_lines", "read_rounds", "round_of"]


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append one object as a line, in a single write; a torn line before it is ended first."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, (b"\n" if torn else b"") + text.encode())
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; one that an interruption tore is left out.

    Raises
    ------
    EvidenceError
        The file is missing or no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise EvidenceError(f"{path.name} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{path.name}: {error}") from error
    found = []
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict):
            found.append(content)
    return found


def round_of(content: Mapping[str, Any]) -> Round:
    """One line as a round; raises EvidenceError."""
    try:
        samples = {name: (list(b), list(h)) for name, (b, h) in content["samples"].items()}
        return Round(**{**content, "samples": samples})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EvidenceError(f"a line of raw rounds is damaged: {error!r}") from error


def read_rounds(path: Path) -> list[Round]:
    """All rounds of a file that has nothing else in it; raises EvidenceError."""
    return [round_of(line) for line in read_lines(path)]


def as_line(one: Round) -> dict[str, Any]:
    """A round as `round_of` reads it."""
    return asdict(one)


def log_ratios(rounds: Iterable[Round], name: str) -> Sequence[float]:
    """One log ratio a round that has this benchmark, in order.

    Raises
    ------
    EvidenceError
        Samples of which one is no time.
    """
    try:
        return [log_ratio(*one.samples[name]) for one in rounds if name in one.samples]
    except (ValueError, TypeError) as error:
        raise EvidenceError(f"{name}: {error}") from error
