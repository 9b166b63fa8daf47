"""Risk: an alert or a panel that names a metric which nobody exports, or that can never fire."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from click.testing import CliRunner

from titanstore.cli import main
from titanstore.exporter.families import FAMILIES, series_of

ROOT = Path(__file__).parents[3]
TESTS = Path(__file__).with_name("alerts.test.yaml")
OPERATIONS = ROOT / "docs" / "operations"
SERIES = {name: family for family in FAMILIES.values() for name in series_of(family)}
OF_PROMETHEUS = {"up"}
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed"
)


def printed(command: str) -> str:
    done = CliRunner().invoke(main, [command])
    assert done.exit_code == 0
    return done.output


RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(printed("alerts"))["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads(printed("dashboard"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]


def plain(expression: str) -> str:
    """With what Grafana puts in the place of its variables."""
    return expression.replace("$__rate_interval", "2m").replace("$store", ".*")


EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in RULES} | {
    f"{panel['title']} {target['refId']}": plain(target["expr"])
    for panel in PANELS
    for target in panel["targets"]
}


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """Every metric that an expression asks for, by the parser's own tree."""

    def below(node: object) -> Iterator[promql_parser.VectorSelector]:
        if isinstance(node, promql_parser.VectorSelector):
            yield node
        for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
            inner = getattr(node, name, None)
            if isinstance(inner, promql_parser.Expr):
                yield from below(inner)
        for argument in getattr(node, "args", None) or ():
            yield from below(argument)

    yield from below(promql_parser.parse(expression))


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_asks_only_for_what_is_exported(name: str) -> None:
    found = list(selectors(EXPRESSIONS[name]))
    assert {one.name for one in found} == set(
        re.findall(r"\b(?:titanstore_\w+|up)\b", EXPRESSIONS[name])
    )
    for one in found:
        assert one.name in SERIES.keys() | OF_PROMETHEUS
        if one.name in SERIES:
            labels = {matcher.name for matcher in one.matchers.matchers}
            assert labels <= {"store", "instance", "le", *SERIES[one.name].labels}


@pytest.mark.parametrize("expression", ["sum(", "titanstore_up ==", "rate(titanstore_up)"])
def test_the_parser_refuses_what_is_no_promql(expression: str) -> None:
    with pytest.raises(ValueError):
        promql_parser.parse(expression)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_rates_are_of_counters_only(name: str) -> None:
    for word, metric in re.findall(r"\b(rate|increase|predict_linear)\((\w+)", EXPRESSIONS[name]):
        is_gauge = metric in FAMILIES and not metric.endswith("_total")
        assert is_gauge == (word == "predict_linear")


def test_every_rule_says_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}
        page = OPERATIONS / rule["annotations"]["runbook"]
        assert rule["alert"] in page.read_text(encoding="utf-8")
    monitor = (OPERATIONS / "monitor.md").read_text(encoding="utf-8")
    assert all(rule["alert"] in monitor for rule in RULES)


def test_every_rule_has_a_test_that_fires_and_one_that_does_not() -> None:
    fires: dict[str, set[bool]] = {}
    for group in yaml.safe_load(TESTS.read_text())["tests"]:
        for case in group["alert_rule_test"]:
            fires.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert fires == {rule["alert"]: {True, False} for rule in RULES}


@needs_promtool
def test_promtool_agrees(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(printed("alerts"))
    shutil.copy(TESTS, tmp_path)
    panels = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(EXPRESSIONS.values())
    ]
    rules = {"groups": [{"name": "panels", "rules": panels}]}
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump(rules))
    for words in (
        ["check", "rules", "alerts.yaml", "panels.yaml"],
        ["test", "rules", TESTS.name],
    ):
        done = subprocess.run(
            ["promtool", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_panels_have_room_and_names_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24  # Grafana's columns
        taken |= cells
        assert panel["title"]
        assert panel["description"]
        assert panel["targets"]


# What a later Grafana writes beside the query of a variable, and 10.1 did not
_OF_LATER = {"/templating/list[1]/definition"}


def lost(given: Any, kept: Any, place: str = "") -> Iterator[str]:
    """Places of a document that another one does not have, or has otherwise."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            at = f"{place}/{name}"
            yield from lost(value, kept[name], at) if name in kept else [at]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from lost(one, other, f"{place}[{number}]")
    elif given != kept:
        yield place


def test_grafanas_own_types_lose_nothing_of_the_dashboard() -> None:
    """Of its schema for 10.1: a misspelt field, or an option that a panel has not, is gone."""
    plugins = pytest.importorskip("grafana_foundation_sdk.cog.plugins")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()

    def kept(given: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(JSONEncoder().encode(Dashboard.from_json(given)))
        return found

    assert set(lost(DASHBOARD, kept(DASHBOARD))) == _OF_LATER
    wrong = json.loads(json.dumps(DASHBOARD))
    wrong["panels"][0]["options"]["graphMod"] = "none"
    wrong["panels"][0]["targets"][0]["exprs"] = "up"
    assert set(lost(wrong, kept(wrong))) - _OF_LATER == {
        "/panels[0]/options/graphMod",
        "/panels[0]/targets[0]/exprs",
    }


def test_every_variable_of_the_dashboard_is_declared() -> None:
    declared = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}
    assert used == declared


def test_what_is_not_on_the_dashboard() -> None:
    shown = {one.name for expression in EXPRESSIONS.values() for one in selectors(expression)}
    hidden = {name for name, family in FAMILIES.items() if not shown & {*series_of(family)}}
    assert hidden == {
        "titanstore_info",
        "titanstore_documents",
        "titanstore_segments",
        "titanstore_hot_rows",
        "titanstore_warm_frames",
        "titanstore_latency_sampled",
        "titanstore_scrape_seconds",
        "titanstore_bloom_refusals_total",
        "titanstore_promotions_total",
        "titanstore_demotions_total",
        "titanstore_hot_evictions_total",
        "titanstore_warm_evictions_total",
        "titanstore_prefetches_total",
        "titanstore_prefetched_rows_total",
        "titanstore_prefetched_unread_total",
    }
