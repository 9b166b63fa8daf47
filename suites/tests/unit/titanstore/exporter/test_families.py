"""The catalogue of metrics: whole, well named, and the same as the page that tells of it."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from titanstore.exporter.families import COUNTERS, FAMILIES, Type, counter_name, series_of
from titanstore.metrics import Counters

ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")


def rows_below(heading: str) -> dict[str, list[str]]:
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {re.sub(r"`", "", row[0]): row[1:] for row in cells}


def test_every_counter_of_a_store_is_exported() -> None:
    assert set(COUNTERS) == {field.name for field in fields(Counters)}


def test_the_page_has_every_metric_with_its_type_unit_labels_and_meaning() -> None:
    told = rows_below("Exported to Prometheus")
    wanted = {
        family.name: [
            str(family.type),
            family.unit,
            ", ".join(f"`{label}`" for label in family.labels),
            family.meaning,
        ]
        for family in FAMILIES.values()
    }
    assert told == wanted


def test_names_follow_the_rules_of_prometheus() -> None:
    for family in FAMILIES.values():
        assert re.fullmatch(r"titanstore_[a-z][a-z0-9_]*", family.name)
        assert (family.type is Type.COUNTER) == family.name.endswith("_total")
        assert family.meaning.endswith(".")
        text = f"# TYPE {family.name} {family.type}\n"
        (parsed,) = text_string_to_metric_families(text)
        assert parsed.type == family.type


def test_series_of_a_histogram_are_those_that_promql_asks_for() -> None:
    names = {name for family in FAMILIES.values() for name in series_of(family)}
    assert "titanstore_latency_seconds_bucket" in names
    assert "titanstore_latency_seconds" not in names
    assert counter_name("written") in names
