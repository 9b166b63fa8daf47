"""Risk: a slip in targets.toml takes a promise away, and nobody notices."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.targets import PROFILES, load_targets, parse_targets, targets_path

# SPEC section 2, and in which profiles each blocks
CI, NIGHTLY = PROFILES, PROFILES[1:]
PROMISES: dict[str, tuple[tuple[str, ...], str, float]] = {
    "quality.bits": (CI, "==", 0),
    "quality.search": (CI, "==", 0),
    "quality.api": (CI, "==", 0),
    "compression.saving": (NIGHTLY, ">=", 0.5),
    "memory.steady": (CI, "<=", 2_500_000),
    "latency.hot": (CI, "<", 1e-6),
    "latency.disk": (CI, "<", 1e-4),
    "hit_ratio.hot": (CI, ">=", 0.95),
    "query.latency": (CI, "<", 5e-3),
    "query.throughput": (CI, ">=", 100),
    "update.latency": (CI, "<", 1e-2),
    "startup.time": (CI, "<", 1.0),
    "sharing.zero_copy": (CI, "==", 0),
    "soak.day": (NIGHTLY, ">=", 24),
    "rollback.exact": (CI, "==", 0),
    "docs.complete": (CI, "==", 0),
    "ops.ready": (CI, "==", 0),
}


@pytest.fixture
def document() -> dict[str, Any]:
    return tomllib.loads(targets_path().read_text(encoding="utf-8"))


def refusal(document: dict[str, Any]) -> str:
    with pytest.raises(UsageError) as caught:
        parse_targets(document, name="mine.toml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def gate_named(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(gate for gate in document["gate"] if gate["id"] == name)
    return found


# beside the rate: "none dropped"; beside the time: "0 % loss"
ALSO = {"query.throughput": {("==", 0)}, "update.latency": {("==", 0)}}


@pytest.mark.parametrize("promise", PROMISES)
def test_every_promise_of_the_specification_is_there(promise: str) -> None:
    blocking, comparator, limit = PROMISES[promise]
    gate = next(gate for gate in load_targets().gates if gate.id == promise)
    for profile in PROFILES:
        deciding = [row for row in gate.rows if profile in row.blocking]
        assert bool(deciding) is (profile in blocking)
        allowed = {(comparator, limit)} | ALSO.get(promise, set())
        assert {(row.comparator, row.limit) for row in deciding} <= allowed
        if deciding:
            assert (comparator, limit) in {(row.comparator, row.limit) for row in deciding}


def test_queries_are_judged_at_every_size_and_debt_of_the_specification() -> None:
    rows = load_targets().rows().values()
    judged = {
        (row.population["vectors"], row.population["updates"])
        for row in rows
        if row.gate == "query.latency" and set(row.blocking) == set(PROFILES)
    }
    assert judged == {(size, debt) for size in (2200, 10000) for debt in (0, 100, 600)}


def test_a_row_with_settings_of_its_own_never_decides(document: dict[str, Any]) -> None:
    own = [row for row in load_targets().rows().values() if row.settings]
    assert own
    assert all(row.blocking == () for row in own)
    gate_named(document, "quality.bits")["row"][0]["settings"] = {"compression": False}
    assert "has settings of its own, and decides" in refusal(document)


def test_a_percentile_that_decides_has_a_thousand_samples_and_five_processes() -> None:
    for row in load_targets().rows().values():
        if row.statistic == "p99" and row.blocking:
            assert row.samples_min >= 1000, row.id
        if row.resample == "process" and row.blocking:
            assert row.processes_min >= 5, row.id


def test_every_row_wants_every_instrument_off() -> None:
    from harness.environment import instruments

    for row in load_targets().rows().values():
        assert dict(row.instruments) == dict.fromkeys(instruments(), False), row.id


def test_bits_and_saving_are_never_judged_on_made_up_vectors_where_real_ones_are_meant() -> None:
    rows = load_targets().rows()
    assert set(rows["quality.bits.recorded"].accepts) == {"live", "recorded"}
    for row in rows.values():
        if row.gate == "compression.saving":
            assert set(row.accepts) == {"live", "recorded"}, row.id
    assert rows["soak.day.hours"].accepts == ("real-time",)


def test_the_present_serving_of_v2_is_shown_but_does_not_decide() -> None:
    rows = load_targets().rows()
    assert rows["compression.saving.v2"].blocking == ()
    assert rows["compression.saving.v1"].blocking == NIGHTLY
    assert rows["compression.saving.v2_2024"].blocking == NIGHTLY


BREAKAGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown field": (lambda d: d["gate"][0].update(weight=3), "weight"),
    "no claim": (lambda d: d["gate"][0].pop("claim"), "claim"),
    "no rows": (lambda d: d["gate"][0].update(row=[]), "row"),
    "unknown comparator": (lambda d: d["gate"][0]["rule"].update(comparator="~"), "~"),
    "unknown statistic": (lambda d: d["gate"][0]["rule"].update(statistic="best"), "best"),
    "unknown tier": (lambda d: d["defaults"].update(accepts=["guessed"]), "guessed"),
    "limit is text": (lambda d: d["gate"][0]["rule"].update(limit="0"), "limit"),
    "endless limit": (lambda d: d["gate"][0]["rule"].update(limit=float("inf")), "limit is inf"),
    "no limit": (lambda d: d["gate"][0]["rule"].update(limit=float("nan")), "limit is nan"),
    "evidence of any age": (lambda d: d["defaults"].update(age_max_s=float("inf")), "age_max_s"),
    "no confidence": (lambda d: d["defaults"].update(confidence=float("nan")), "confidence"),
    "a rule is missing": (lambda d: d["defaults"].pop("confidence"), "has no confidence"),
    "gate twice": (lambda d: d["gate"].append(copy.deepcopy(d["gate"][0])), "there twice"),
    "row twice": (
        lambda d: d["gate"][0]["row"].append(copy.deepcopy(d["gate"][0]["row"][0])),
        "there twice",
    ),
    "zero processes": (lambda d: d["defaults"].update(processes_min=0), "processes_min"),
    "unknown profile": (lambda d: d["gate"][0].update(blocking=["weekly"]), "weekly"),
    "misspelt model": (
        lambda d: d["release"].update(models=["titan-embed-text-v1", "titan-embed-text-v3"]),
        "titan-embed-text-v3",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_document_is_refused_by_name(document: dict[str, Any], name: str) -> None:
    breakage, word = BREAKAGES[name]
    breakage(document)
    message = refusal(document)
    assert message.startswith("mine.toml: ")
    assert word in message


@pytest.mark.parametrize("made", ["advisory", "optional"])
def test_a_gate_cannot_stop_deciding_through_its_rows(document: dict[str, Any], made: str) -> None:
    for row in gate_named(document, "memory.steady")["row"]:
        row[made] = True
    assert "memory.steady blocks in ci, but none of its rows does" in refusal(document)


def test_a_gate_cannot_stop_deciding_in_one_profile(document: dict[str, Any]) -> None:
    for row in gate_named(document, "startup.time")["row"]:
        row["shown_in"] = ["ci"]
    assert "startup.time blocks in ci" in refusal(document)


def test_a_row_overrides_its_gate_and_a_gate_the_defaults(document: dict[str, Any]) -> None:
    rows = parse_targets(document).rows()
    assert rows["latency.hot.files-1024.p50"].statistic == "p50"
    assert rows["latency.hot.files-1024.p99"].statistic == "p99"
    assert rows["latency.hot.files-1024.p50"].limit == 1e-6
    assert rows["latency.hot.files-1024.p50"].confidence == document["defaults"]["confidence"]


@pytest.mark.parametrize("content", [b"gate = [", b"\xff", b""])
def test_a_file_that_is_no_document_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "targets.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"targets\.toml"):
        load_targets(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml"):
        load_targets(tmp_path / "none.toml")
