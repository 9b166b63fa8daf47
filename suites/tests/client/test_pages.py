"""Risk: the page about clients promises what they have not, or hides what they have."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

from harness.documentation.pages import reference, table
from harness.environment import project_root
from titanstore.clients.bedrock import ClientCounters, Embedder, Titan, wrap
from titanstore.clients.bedrock.requests import MODELS

PAGE = reference(project_root(), "clients")


def members(of: type, made: Any) -> set[str]:
    """Public methods and properties, and attributes of an instance."""
    return {name for name in {*dir(of), *vars(made)} if not name.startswith("_")}


def test_counters() -> None:
    names = {field.name for field in fields(ClientCounters)}
    assert table(PAGE, "Counters").keys() == names | {"calls_saved"}


def test_members(client: Any) -> None:
    embedder = client.titan.embedder(MODELS[0])
    assert table(PAGE, "Titan").keys() == members(Titan, client.titan)
    assert table(PAGE, "Embedder").keys() == members(Embedder, embedder)


def test_arguments_of_wrap() -> None:
    rows = table(PAGE, "Arguments of wrap")
    wanted = inspect.signature(wrap).parameters
    assert list(rows) == list(wanted)
    assert rows["by_region"][0] == f"`{wanted['by_region'].default}`"


def test_models() -> None:
    rows = table(PAGE, "Models")
    assert tuple(rows) == MODELS
