"""Risk: a bar that shows a miss on the good side of its limit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.report.bullet import Bullet, bullet_of
from harness.report.model import Row, read_report
from suites.tests.unit.harness.report.synthetic_rows import gate, row
from suites.tests.unit.harness.report.synthetic_run import build_run, passing


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Row:
    return one(tmp_path_factory.mktemp("template"), limit=1.0)


def one(folder: Path, **fields: object) -> Row:
    verdicts = passing()
    verdicts["gates"] = [gate("g", "PASS", "", row("r", "PASS", **fields))]
    return read_report(build_run(folder, verdicts)).gates[0].rows[0]


def bar(template: Row, **fields: object) -> Bullet:
    found = bullet_of(replace(template, **fields))  # type: ignore[arg-type]
    assert found is not None
    return found


@settings(deadline=None)
@given(
    value=st.floats(0, 1e9),
    limit=st.one_of(st.just(0.0), st.floats(1e-9, 1e9)),
    sign=st.sampled_from(["<", "<=", ">", ">=", "=="]),
    unit=st.sampled_from(["s", "1", "count", "B"]),
)
def test_a_mark_stands_on_the_side_of_the_limit_it_belongs_to(
    template: Row, value: float, limit: float, sign: str, unit: str
) -> None:
    assume(abs(value - limit) > 1e-9 * max(value, limit))
    found = bar(template, estimate=value, limit=limit, comparator=sign, unit=unit)
    assert 0 <= found.limit <= 1
    assert 0 <= found.good_from <= found.good_to <= 1 + 1e-9
    assert found.estimate is not None
    assert 0 <= found.estimate <= 1
    assert (found.estimate < found.limit) == (value < limit) or found.estimate == found.limit


def test_at_most_is_good_on_the_left_and_at_least_on_the_right(template: Row) -> None:
    most = bar(template, comparator="<", estimate=0.5)
    least = bar(template, comparator=">=", estimate=0.97, limit=0.95, unit="1")
    assert (most.good_from, most.good_to) == (0.0, most.limit)
    assert (least.good_from, least.good_to) == (least.limit, 1.0)


def test_one_defect_is_visibly_beside_zero(template: Row) -> None:
    found = bar(template, comparator="==", unit="count", limit=0.0, estimate=1.0)
    assert found.estimate is not None
    assert found.estimate - found.limit > 0.1


def test_a_bound_just_below_everything_is_visible(template: Row) -> None:
    found = bar(template, comparator=">=", unit="1", limit=1.0, bound=0.998)
    assert found.bound is not None
    assert found.limit - found.bound > 0.1
    assert found.text == "not measured, best possible 99.8 %; limit ≥ 100 %"


def test_what_lies_beyond_the_bar_is_marked(template: Row) -> None:
    assert bar(template, comparator="<", limit=1.0, estimate=50.0).beyond_right
    assert not bar(template, comparator="<", limit=1.0, estimate=1.2).beyond_right


def test_no_limit_no_bar(tmp_path: Path) -> None:
    assert bullet_of(one(tmp_path, limit=None)) is None
