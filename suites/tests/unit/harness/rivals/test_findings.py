"""Risk: a table that says ahead where nothing was shown, or hides what was not measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fixtures.vectors import GENERATORS
from harness.rivals.catalogue import OURS, OURS_WITHOUT_SEARCH, STORES
from harness.rivals.claims import claims_of, exit_code_of
from harness.rivals.findings import Standing, table_of
from harness.rivals.inputs import mixtures
from harness.rivals.metrics import MEASURES, METRICS

Parts = dict[str, dict[str, Any]]


def document(parts: Parts, missing: Mapping[str, str] | None = None) -> dict[str, Any]:
    subjects = [OURS, OURS_WITHOUT_SEARCH, *(name for name in STORES if OURS not in name)]
    more = ("numpy-float32", "faiss-flat")
    gone = missing or {}
    told = {name: {"missing": gone.get(name, "")} for name in (*subjects, *more)}
    return {"subjects": told, "parts": parts}


def rounds(kind: str, metric: str, times: Mapping[str, list[float]]) -> Parts:
    return {
        f"{kind} {turn} {subject}": {"metrics": {metric: value}}
        for subject, values in times.items()
        for turn, value in enumerate(values)
    }


def test_five_rounds_on_one_side_decide_and_less_do_not() -> None:
    ours = [1.0, 1.1, 0.9, 1.0, 1.2]
    parts = rounds(
        "time",
        "put_s",
        {
            OURS: ours,
            "lmdb-raw": [2 * one for one in ours],
            "redis": [one / 2 for one in ours],
            "diskcache": [0.5, 2.0, 0.9, 1.1, 1.2],
            "lancedb": [9.0, 9.0, 9.0, 9.0],
        },
    )
    table = table_of(document(parts))
    standing = {name: table[name, "put_s"].standing for name in ("lmdb-raw", "redis", "diskcache")}
    assert standing == {
        "lmdb-raw": Standing.AHEAD,
        "redis": Standing.BEHIND,
        "diskcache": Standing.EVEN,
    }
    assert table["lmdb-raw", "put_s"].ratio == pytest.approx(2)
    assert table["lancedb", "put_s"].standing is Standing.EVEN  # four rounds have no bounds
    assert math.isinf(table["lancedb", "put_s"].high)
    assert table[OURS, "put_s"].ratio is None
    assert table[OURS, "put_s"].value == 1.0


def test_a_round_that_only_one_side_has_does_not_count() -> None:
    parts = rounds("time", "put_s", {OURS: [1.0, 1.0], "redis": [2.0, 2.0, 50.0]})
    assert table_of(document(parts))["redis", "put_s"].ratio == pytest.approx(2)


def test_what_was_not_measured_has_a_reason_and_no_number() -> None:
    parts: Parts = {"time 0 redis": {"failed": "it hung"}, "memory 0 redis": {"failed": "no room"}}
    table = table_of(document(parts, {"diskcache": "package diskcache is not installed"}))
    assert table["redis", "get_hot_s"].reason == "it hung"
    assert table["redis", "open_s"].reason == "no room"
    for metric in METRICS:
        cell = table["diskcache", metric]
        assert (cell.value, cell.standing) == (None, Standing.UNKNOWN)
        assert "not installed" in cell.reason
    assert ("lmdb-raw", "put_s") not in table  # nobody asked for it


def sizes(ours: float, without: float, rivals: float) -> Parts:
    found: Parts = {}
    for name in STORES:
        size = {OURS: ours, OURS_WITHOUT_SEARCH: without}.get(name, rivals)
        for group in ("v1_chunks", "v2_scaled_bf16"):
            found[f"size {group} {name}"] = {"metrics": {f"bytes_{group}": size}}
    return found


def test_bytes_decide_without_bounds() -> None:
    claims = claims_of(table_of(document(sizes(2_700, 2_200, 2_300))), ["size"])
    seen = [one.reached for one in claims]
    assert seen == [False, True, False, True, False, False]
    assert "0.85 times ours" in claims[0].why
    claims = claims_of(table_of(document(sizes(2_000, 1_900, 4_100))), ["size"])
    assert all(one.reached for one in claims)
    assert exit_code_of(claims) == 0


def test_a_rival_that_is_missing_leaves_a_claim_open_and_is_named() -> None:
    parts = sizes(2_000, 1_900, 4_100)
    del parts["size v1_chunks zarr-pcodec"]
    claims = claims_of(table_of(document(parts, {"zarr-pcodec": "not installed"})), ["size"])
    assert [one.reached for one in claims] == [None, None, True, True, True, True]
    assert "zarr-pcodec" in claims[0].why
    assert exit_code_of(claims) == 3
    refuted = sizes(5_000, 1_900, 4_100)
    del refuted["size v1_chunks zarr-pcodec"]
    assert claims_of(table_of(document(refuted)), ["size"])[0].reached is False


def test_no_slower_wants_a_bound_and_faster_wants_more() -> None:
    def seen(rivals: float) -> list[bool | None]:
        ours = [1.0, 1.01, 0.99, 1.0, 1.02]
        parts: Parts = {}
        for metric in ("search_2200_s", "search_10000_s"):
            times = {
                name: [rivals * one for one in ours] for name in ("numpy-float32", "faiss-flat")
            }
            parts |= rounds(f"search {metric}", metric, {OURS: ours, **times})
        return [one.reached for one in claims_of(table_of(document(parts)), ["search"])]

    assert seen(1.5) == [True, True]
    assert seen(1.0) == [True, None]
    assert seen(0.9) == [False, False]
    assert exit_code_of(claims_of({}, MEASURES)) == 3  # nothing known is nothing reached


def test_claims_of_other_measures_are_left_out() -> None:
    table = table_of(document(sizes(2_000, 1_900, 4_100)))
    assert len(claims_of(table, ["put"])) == 0
    assert len(claims_of(table, ["size", "warm"])) == 7


def test_mixtures_are_on_the_grid_and_all_different(rng: np.random.Generator) -> None:
    rows = GENERATORS["bfloat16"](rng, 20, 64)
    mixed = mixtures(rows, 60, rng)
    assert mixed.shape == (60, 64)
    assert np.array_equal(mixed[:20], rows)
    assert not (mixed.view(np.uint32) & 0xFFFF).any()
    assert len(np.unique(mixed, axis=0)) == 60
    assert np.array_equal(mixtures(rows, 5, rng), rows[:5])
