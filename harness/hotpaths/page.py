"""`hotpaths.html`: for each path its time, its functions by own time, and its flamegraph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.errors import EvidenceError
from harness.evidence import read_json
from harness.hotpaths.flame import draw_flame
from harness.hotpaths.stacks import Function, functions_of, read_stacks
from harness.report.quantity import format_quantity

__all__ = ["Followed", "is_hotpaths", "read_paths", "write_hotpaths_page"]

_FOLDER = Path(__file__).parent
_STYLE = _FOLDER.parent / "report" / "style.css"
_FUNCTIONS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """One path: what it is, seconds of a plain call, and where they go."""

    name: str
    what: str
    call_s: float
    calls: int
    samples: int
    functions: tuple[Function, ...]
    flame: str

    @property
    def call_text(self) -> str:
        """Time of one call, of the plain process."""
        return format_quantity(self.call_s, "s")


def is_hotpaths(folder: Path) -> bool:
    """Is this the folder of such a profile?"""
    return (folder / "hotpaths.json").is_file()


def read_paths(folder: Path) -> tuple[dict[str, Any], list[Followed]]:
    """The document, and its paths with functions and graphs made from the stacks that are kept.

    Raises
    ------
    EvidenceError
        A file is missing or damaged.
    """
    document = read_json(folder / "hotpaths.json")
    found = []
    for name, path in document["paths"].items():
        try:
            stacks = read_stacks((folder / path["stacks"]).read_text(encoding="utf-8"))
            flame = draw_flame(stacks, f"Flamegraph of {name}; the table beside it says the same.")
        except (OSError, ValueError) as error:
            raise EvidenceError(f"{path['stacks']}: {error}") from error
        found.append(
            Followed(
                name=name,
                what=path["what"],
                call_s=path["call_s"],
                calls=path["calls"],
                samples=sum(stacks.values()),
                functions=tuple(functions_of(stacks)[:_FUNCTIONS]),
                flame=flame,
            )
        )
    return document, found


def write_hotpaths_page(folder: Path) -> Path:
    """Write hotpaths.html from the files of a profile; raises EvidenceError."""
    document, paths = read_paths(folder)
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        document=document,
        paths=paths,
        stylesheet=Markup(_STYLE.read_text(encoding="utf-8")),  # noqa: S704 - ours
        markup=Markup,
        quantity=format_quantity,
    )
    fresh = folder / "hotpaths.html.new"
    fresh.write_text(page, encoding="utf-8")
    fresh.replace(folder / "hotpaths.html")
    return folder / "hotpaths.html"
