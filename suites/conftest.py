"""Options of all suites; the fixtures themselves are in fixtures/plugin.py."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("fixtures.plugin",)

# Beginnings of what `make test-long` runs and `make test` leaves out, so that this one stays below
# a quarter of an hour. Gates and `harness prove` carry out the same where the note says so
LONG = (
    "suites/bench/test_bench_lance.py",
    "suites/tests/browser/",
    "suites/tests/client/test_interruptions.py",
    # five other deeds are killed at each line in `make test` too
    "suites/tests/concurrency/test_pool.py::test_killed_between_any_two_lines[publish_until_a_slab",
    "suites/tests/concurrency/test_threads.py::test_the_catalog_grows",
    "suites/tests/concurrency/test_versions.py::test_threads_read_versions",
    "suites/tests/contract/test_rivals.py::test_it_keeps_every_bit",
    "suites/tests/corruption/test_versions.py::test_every_byte_of_a_page",
    "suites/tests/crash/test_planes.py::test_killed_between_any_two_steps",  # harness reliability
    "suites/tests/docs/test_docs.py::test_examples_run",  # docs.complete
    "suites/tests/memory/test_limits_can_fail.py",
    "suites/tests/migration/test_bounded.py",
    "suites/tests/migration/test_interrupted.py",
    "suites/tests/operations/test_runbooks.py",  # ops.ready
    # harness prove has a comparison of equal code and one of slowed code
    "suites/tests/proofs/test_compare.py::test_a_calibration_begun_anew",
    "suites/tests/proofs/test_compare.py::test_a_comparison_by_time",
    "suites/tests/proofs/test_compare.py::test_a_function_slowed_by_30",
    "suites/tests/proofs/test_compare.py::test_a_real_comparison_of_equal_code",
    "suites/tests/proofs/test_compare.py::test_an_interruption",
    "suites/tests/proofs/test_compare.py::test_the_same_commit_twice_is_no_regression",
    "suites/tests/proofs/test_compare.py::test_uncommitted_changes_are_compared_as_head",
    # and most of these
    "suites/tests/proofs/test_faulty_runs.py",
    "suites/tests/proofs/test_gates.py::test_one_flipped_bit",
    # and one of renamed benchmarks
    "suites/tests/proofs/test_not_comparable.py::test_a_base_older_than_its_benchmarks",
    "suites/tests/proofs/test_not_comparable.py::test_a_benchmark_edited_meanwhile",
    "suites/tests/proofs/test_not_comparable.py::test_a_benchmark_that_kills_its_process",
    "suites/tests/proofs/test_not_comparable.py::test_rounds_of_a_benchmark_edited",
    "suites/tests/proofs/test_not_comparable.py::test_times_of_a_base_older_than_its_benchmarks",
    "suites/tests/proofs/test_not_comparable.py::test_what_cannot_be_compared_is_never_a_pass",
    "suites/tests/proofs/test_prove.py",  # harness prove
    "suites/tests/scale/test_bulk.py::test_a_job_in_two_places",
    "suites/tests/scale/test_bulk.py::test_a_killed_job_goes_on",
    "suites/tests/scale/test_bulk.py::test_a_killed_workers_part",
    "suites/tests/scale/test_bulk.py::test_killed_at_every_moment",
    "suites/tests/scale/test_bulk.py::test_the_command_embed",
    "suites/tests/scale/test_bulk.py::test_workers_that_always_die",
    "suites/tests/scale/test_embedding.py::test_a_model_that_throttles",
    "suites/tests/scale/test_embedding.py::test_texts_are_embedded_once",
    "suites/tests/scale/test_on_ray.py",
    "suites/tests/scale/test_shared_table.py::test_an_unreachable_endpoint",
    "suites/tests/scale/test_shared_writers.py::test_a_reader_in_s3",
    "suites/tests/scale/test_shared_writers.py::test_many_commits",
    "suites/tests/soak/test_driver.py::test_a_killed_driver",
    "suites/tests/soak/test_simulated.py::test_a_leak_of_40_kb",  # harness prove
    "suites/tests/soak/test_simulated.py::test_one_seed",
    "suites/tests/stateful/test_mixed.py::test_threads_and_processes_mixed_and_killed",
    "suites/tests/stateful/test_attribution.py::test_the_store_s_account",  # harness memory
    "suites/tests/stateful/test_resources.py::test_memory_does_not_grow",  # harness memory
    "suites/tests/stateful/test_settings_together.py",
    "suites/tests/stateful/test_versions.py::TestCollisions",
    "suites/tests/unit/fixtures/test_plugin.py::test_options_reach_the_fixtures",
    "suites/tests/unit/harness/compare/test_callgrind.py",
    "suites/tests/unit/harness/compare/test_timing.py::test_each_benchmark_gets",
    "suites/tests/unit/harness/hotpaths/test_profile.py",
    "suites/tests/unit/harness/measures/test_client_measure.py",  # make gate
    "suites/tests/unit/harness/measures/test_search_measures.py",  # make gate
    "suites/tests/unit/harness/memory/test_profile.py",
    "suites/tests/unit/harness/prove/test_prover.py::test_a_kept_row_that_does_not_stand",
    "suites/tests/unit/harness/scale/test_smoke.py",
    "suites/tests/unit/harness/rivals/test_campaign.py::test_a_comparison_is_kept",
    "suites/tests/unit/harness/rivals/test_campaign.py::test_ctrl_c_keeps",
)


# How long an example takes is no property of what is tested: unless told otherwise, 200 ms fail it
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("titanstore")
    group.addoption(
        "--size",
        choices=("smoke", "full"),
        default="smoke",
        help="smoke: small, with a fresh seed; full: as measured, with a fixed seed",
    )
    group.addoption(
        "--titan",
        choices=("emulated", "recorded", "live"),
        default="emulated",
        help="where the mocked Bedrock's answers come from",
    )
    group.addoption(
        "--recorded",
        metavar="DIR",
        default=None,
        help="folder of recorded Titan vectors and bodies (default: ../shared/data/titan if there)",
    )


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is long."""
    for item in items:
        if item.nodeid.startswith(LONG):
            item.add_marker("long")


def pytest_configure() -> None:
    """Ctrl-C works in what the tests start, also where a shell has them in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
