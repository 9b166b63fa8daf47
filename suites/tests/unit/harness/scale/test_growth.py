"""Risk: what grows passes as flat, what is flat as growing, or what nobody measured as either."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.gates import Verdict
from harness.scale.growth import QUANTITIES, Growth, Quantity, exit_code_of, judge, judge_all

SIZES = (1_000, 3_200, 10_000, 32_000, 100_000, 320_000, 1_000_000)
FLAT = QUANTITIES[0]
(LINEAR,) = (one for one in QUANTITIES if one.name == "check")


def growth(exponent: float, quantity: Quantity = FLAT, *, noise: float = 0.02) -> Growth:
    rng = np.random.default_rng(4)
    values = [n**exponent * float(np.exp(rng.normal(0, noise))) for n in SIZES]
    return judge(quantity, list(zip(SIZES, values, strict=True)))


@pytest.mark.parametrize("exponent", [-0.2, 0.0, 0.05])
def test_what_is_no_faster_than_a_logarithm_passes(exponent: float) -> None:
    found = growth(exponent)
    assert found.verdict is Verdict.PASS
    assert found.line is not None
    assert found.line.low <= found.line.slope <= found.line.high
    assert found.line.slope == pytest.approx(exponent, abs=0.02)


@pytest.mark.parametrize(("quantity", "exponent"), [(FLAT, 0.2), (FLAT, 1.0), (LINEAR, 1.3)])
def test_what_grows_faster_than_promised_fails(quantity: Quantity, exponent: float) -> None:
    found = growth(exponent, quantity)
    assert found.verdict is Verdict.FAIL
    assert found.words == f"grows like N^{found.line.slope:.2f}"  # type: ignore[union-attr]


def test_what_looks_at_every_vector_may_grow_like_n() -> None:
    assert growth(1.0, LINEAR).verdict is Verdict.PASS
    assert growth(1.0, LINEAR).words.startswith("grows like N^")
    assert growth(0.7, LINEAR).verdict is Verdict.PASS


def test_a_flat_quantity_is_said_to_be_flat_and_a_slow_one_is_not() -> None:
    assert growth(0.0).words == "does not grow"
    assert "no faster than a logarithm" in growth(0.06, noise=0.005).words


def test_noise_is_no_verdict() -> None:
    assert growth(0.05, noise=0.8).verdict is Verdict.INCONCLUSIVE


def test_a_constant_does_not_hide_what_grows_at_the_end() -> None:
    """2 MB and half a byte a vector: N^0.03 over all sizes."""
    values = [2e6 * (1 + 1e-4 * place) + 0.9 * n for place, n in enumerate(SIZES)]
    found = judge(FLAT, list(zip(SIZES, values, strict=True)))
    assert found.line is not None
    assert found.line.high < 0.1
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "in the last decade" in found.words


def test_what_grows_up_to_a_bound_is_not_said_to_grow_for_ever() -> None:
    values = [min(100e6, 3e3 * n) for n in SIZES]
    found = judge(FLAT, list(zip(SIZES, values, strict=True)))
    assert found.last == 0
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "N^0.00 in the last decade" in found.words


@pytest.mark.parametrize("points", [[], [(1_000, 1.0)], [(1_000, 1.0), (9_000, 1.0)]])
def test_two_sizes_are_no_law(points: list[tuple[int, float]]) -> None:
    assert judge(FLAT, points).verdict is Verdict.NOT_RUN


def test_what_has_no_logarithm_is_not_judged() -> None:
    assert judge(FLAT, [(n, 0.0) for n in SIZES]).verdict is Verdict.NOT_RUN


def process(**samples: list[float]) -> dict[str, Any]:
    return {"actions": [], "instruments": [], **samples}


def test_the_median_of_the_processes_counts_and_the_tail_is_each_ones_own() -> None:
    sizes = [
        {
            "vectors": n,
            "processes": [
                process(get_s=[1.0] * 98 + [7.0, 7.0]),
                process(get_s=[2.0] * 98 + [8.0, 8.0]),
                process(get_s=[3.0] * 98 + [99.0, 99.0]),
                process(check_s=[5.0 * n]),
            ],
        }
        for n in SIZES
    ]
    found = {one.quantity.name: one for one in judge_all(sizes)}
    assert {value for _, value in found["get_p50"].points} == {2.0}
    assert {value for _, value in found["get_p99"].points} == {8.0}
    assert found["get_p99"].verdict is Verdict.PASS
    assert found["check"].line is not None
    assert found["check"].line.slope == pytest.approx(1)
    assert found["open"].verdict is Verdict.NOT_RUN
    assert exit_code_of(list(found.values())) == 3


def test_the_worst_decides_the_exit_status() -> None:
    flat, grown, noisy = growth(0.0), growth(0.5), growth(0.05, noise=0.8)
    assert exit_code_of([flat, flat]) == 0
    assert exit_code_of([flat, grown, noisy]) == 1
    assert exit_code_of([flat, noisy]) == 3
    assert exit_code_of([]) == 3
