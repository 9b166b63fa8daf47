"""Risk: a benchmark that one side does not have, or has otherwise, counts as compared."""

from __future__ import annotations

import dataclasses

from harness.compare.comparable import incomparable
from harness.compare.rounds import Listing
from harness.compare.sides import Bench

A, B = Bench(name="m.A.time_a", benchmark="m.A.time_a", place=None), Bench(
    name="m.B.time_b(1)", benchmark="m.B.time_b", place=0
)  # fmt: skip
BODIES = {"m.A.time_a": "1", "m.B.time_b": "2"}


def listing(*benches: Bench, **failed: str) -> Listing:
    return Listing(benches=benches, described={}, failed=failed, evidence={})


BOTH = listing(A, B)


def test_the_same_on_both_sides_is_comparable() -> None:
    assert incomparable(BOTH, BOTH, BODIES, BODIES) == {}


def test_a_changed_body() -> None:
    found = incomparable(BOTH, BOTH, BODIES, {**BODIES, "m.B.time_b": "3"})
    assert found == {"m.B.time_b(1)": "its body differs between BASE and HEAD"}


def test_other_data_on_one_side() -> None:
    other = dataclasses.replace(BOTH, evidence={"v1": {"digest": "2"}})
    found = incomparable(BOTH, other, BODIES, BODIES)
    assert found.keys() == {"m.A.time_a", "m.B.time_b(1)"}
    assert set(found.values()) == {
        "the data differ: the suite tells other evidence on BASE than on HEAD"
    }


def test_missing_from_one_tree() -> None:
    less = {"m.A.time_a": "1"}
    assert incomparable(BOTH, BOTH, BODIES, less) == {
        "m.B.time_b(1)": "HEAD does not have this benchmark"
    }
    assert incomparable(BOTH, BOTH, less, BODIES) == {
        "m.B.time_b(1)": "BASE does not have this benchmark"
    }


def test_a_renamed_benchmark_is_missing_under_both_names() -> None:
    renamed = {"m.A.time_a": "1", "m.B.time_c": "2"}
    fresh = Bench(name="m.B.time_c(1)", benchmark="m.B.time_c", place=0)
    found = incomparable(listing(A, fresh), listing(A, fresh), BODIES, renamed)
    assert found == {
        "m.B.time_c(1)": "BASE does not have this benchmark",
        "m.B.time_b": "HEAD does not have this benchmark",
    }


def test_all_benchmarks_deleted_from_head() -> None:
    found = incomparable(BOTH, BOTH, BODIES, {})
    assert found.keys() == {"m.A.time_a", "m.B.time_b(1)"}


def test_a_base_older_than_the_suite_can_be_run_with_the_checkouts_benchmarks() -> None:
    """That it is no comparison is for `Prepared.stand_in` to say."""
    assert incomparable(BOTH, BOTH, {}, BODIES) == {}


def test_a_side_that_cannot_be_imported_leaves_nothing_and_is_named() -> None:
    broken = Listing(benches=(), described={}, failed={}, evidence={}, unusable="KeyError: 'x'")
    found = incomparable(BOTH, broken, BODIES, BODIES)
    assert found == dict.fromkeys(("m.A.time_a", "m.B.time_b(1)"), "HEAD: KeyError: 'x'")
    found = incomparable(broken, broken, BODIES, BODIES)
    assert found == dict.fromkeys(BODIES, "BASE: KeyError: 'x'; HEAD: KeyError: 'x'")


def test_a_module_that_no_side_can_import_is_the_reason_of_its_benchmarks() -> None:
    found = incomparable(listing(m="OSError: a"), listing(m="OSError: b"), BODIES, BODIES)
    assert found.keys() == {"m", *BODIES}
    assert all("BASE's titanstore: OSError: a; " in why for why in found.values())
    assert all("HEAD's titanstore: OSError: b" in why for why in found.values())


def test_what_the_titanstore_of_a_side_cannot_run() -> None:
    found = incomparable(BOTH, listing(A), BODIES, BODIES)
    assert found == {"m.B.time_b(1)": "it is missing with HEAD's titanstore"}
    found = incomparable(listing(A, m="ImportError: no rows"), BOTH, BODIES, BODIES)
    assert found["m"] == (
        "the module cannot be imported with BASE's titanstore: ImportError: no rows"
    )


def test_a_benchmark_that_the_checkout_lacks_is_not_passed_over() -> None:
    found = incomparable(listing(A), listing(A), BODIES, BODIES)
    assert found == {"m.B.time_b": "the checkout, whose benchmarks are run, does not have it"}
