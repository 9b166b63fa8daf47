"""Risk: a soak that is too short, slower, stalled or wrong is let through, or a good one is not."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.compare.decide import Verdict as Decided
from harness.environment import Code
from harness.gates import Setting, Verdict, judge_gate
from harness.measurement import read_measurement, write_measurement
from harness.soak.collect import collect_soak, copied_segments, verify_collected
from harness.soak.configurations import CHOICES, FIXED, draw_configuration
from harness.soak.decide import Judgement, as_measurement, judge_soak, stalled_s
from harness.soak.evidence import Header, Observation, SegmentWriter, Soak, read_soak
from harness.soak.facts import facts_digest, read_facts
from harness.soak.figure import growth_text, soak_in_words
from harness.soak.latency import DISK, PROCESSOR, drift_of
from harness.soak.layout import KILLED_LANE, RESIDENT_LANE, Lane
from harness.soak.ledger import Ledger
from harness.soak.slopes import BUDGETS
from harness.targets import load_targets
from suites.tests.soak.small_soak import SMALL, begin
from titanstore import StoreConfig

CHAIN = {"content_digest": "d" * 32, "machine": "f" * 8}
Change = Callable[[float, Observation], Observation]


def day(hours: float = 24.0, change: Change = lambda _, one: one, tier: str = "real-time") -> Soak:
    """Evidence of hours without fault, a look at the resources each 5 minutes; then changed."""
    rng = np.random.default_rng(5)
    lines = [change(10.0 * step, _line(step, rng)) for step in range(round(hours * 360) + 1)]
    # segments of 30 minutes; each begins at the moment at which the one before ended
    segments = [tuple(lines[first : first + 181]) for first in range(0, len(lines) - 1, 180)]
    headers = [
        Header(number=number, previous="ab" if number else "", tier=tier, **CHAIN)
        for number in range(len(segments))
    ]
    return Soak(headers=tuple(headers), segments=tuple(segments), faults=())


def _line(step: int, rng: np.random.Generator) -> Observation:
    killed, recovered = int(step % 60 == 7), int(step % 60 == 8)
    plain = Observation(
        time_s=10.0 * step, operations=20, process=1, kills=killed, recovered=recovered
    )
    if step % 30:
        return plain
    sizes = {
        "anonymous": 30e6 + 4096 * int(rng.integers(4)),
        "shared memory": 0.0,
        "clean file pages": 9e6,
        "descriptors": 20.0,
        "threads": 3.0,
        "files": 12.0 + int(rng.integers(3)),
        "versions": 60.0 + int(rng.integers(9)),
    }
    times = {
        "get": 1e-4 * rng.uniform(1, 1.02),
        "search": 1e-3 * rng.uniform(1, 1.02),
        "write": 5e-3 * rng.uniform(1, 1.02),
        PROCESSOR: 1e-5,
        DISK: 2e-3,
    }
    return dataclasses.replace(plain, resources=sizes, latencies=times)


def judged(hours: float = 24.0, change: Change = lambda _, one: one) -> Judgement:
    return judge_soak(day(hours, change))


def test_a_day_without_fault_passes() -> None:
    found = judged()
    assert (found.verdict, found.reason) == (Verdict.PASS, "")
    assert found.hours == pytest.approx(24)
    assert found.recovered >= 100


def test_less_than_a_day_is_never_a_pass() -> None:
    found = judged(23.9)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "23.9 of 24 h counted" in found.reason


def test_growth_is_told_in_units() -> None:
    assert list(BUDGETS) == [*judged().growth]
    assert [growth_text(name, budget) for name, budget in BUDGETS.items()] == [
        *("10.0 kB", "10.0 kB", "1.00 MB"),
        *("0.50", "0.50", "0.50", "2"),
    ]
    assert (
        growth_text("anonymous", 10_001.0) == "10.001 kB"
    )  # never rounded to the budget's good side
    leaky = soak_in_words(judged(change=grows("anonymous", 40_000)))
    assert re.search(r"anonymous (39|40)\.\d kB an hour, FAIL", leaky)


def grows(name: str, an_hour: float) -> Change:
    def change(time_s: float, one: Observation) -> Observation:
        if name not in one.resources:
            return one
        more = {**one.resources, name: one.resources[name] + an_hour * time_s / 3600}
        return dataclasses.replace(one, resources=more)

    return change


def scaled(*names: str) -> Change:
    """These take a tenth longer in the last quarter."""

    def change(time_s: float, one: Observation) -> Observation:
        if time_s < 18 * 3600:
            return one
        slower = {k: v * (1.1 if k in names else 1) for k, v in one.latencies.items()}
        return dataclasses.replace(one, latencies=slower)

    return change


def wrong_once(time_s: float, one: Observation) -> Observation:
    return dataclasses.replace(one, mismatches=1, note="this is it") if time_s == 5_000 else one


def stands_still(time_s: float, one: Observation) -> Observation:
    return dataclasses.replace(one, operations=0) if 5_000 <= time_s < 5_200 else one


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (wrong_once, "1 wrong answers: this is it"),
        (stands_still, "no operation ended for 200 s"),
        (grows("anonymous", 40_000), "anonymous grows by"),
        (grows("files", 1.0), "files grows by"),
        (grows("versions", 5.0), "versions grows by"),
        (scaled("get"), "latency of get: 1."),
        (scaled("write"), "latency of write: 1."),
    ],
)
def test_each_fault_fails_a_day(change: Change, words: str) -> None:
    found = judged(change=change)
    assert found.verdict is Verdict.FAIL
    assert words in found.wrong


def test_a_machine_that_became_slower_is_no_slower_store() -> None:
    soak = day(change=scaled("get", "search", PROCESSOR))
    for kind in ("get", "search"):
        drift = drift_of(soak, kind)
        assert drift.verdict is Decided.NO_REGRESSION
        assert drift.ratio == pytest.approx(1, abs=0.01)


def test_too_few_kills_or_samples_do_not_pass() -> None:
    none = judged(change=lambda _, one: dataclasses.replace(one, recovered=0))
    assert "0 of 100 kills recovered" in none.reason
    blind = judged(
        change=lambda at, one: one if at < 9e3 else dataclasses.replace(one, resources={}),
    )
    assert {none.verdict, blind.verdict} == {Verdict.INCONCLUSIVE}
    assert "288 expected" in blind.reason


def test_a_slope_never_crosses_a_restart() -> None:
    """Two processes of 12 h, the second one 5 MB larger from the start: no growth in either."""

    def change(time_s: float, one: Observation) -> Observation:
        if time_s < 12 * 3600:
            return one
        sizes = {k: v + 5e6 * (k == "anonymous") for k, v in one.resources.items()}
        return dataclasses.replace(one, resources=sizes, process=2)

    assert judged(change=change).growth["anonymous"].verdict is Verdict.PASS


def test_time_that_nobody_saw_is_a_gap_and_no_stall(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path, tier="real-time", **CHAIN) as segment:
        for time_s in (0.0, 5.0, 1_005.0, 1_010.0):
            segment.append(Observation(time_s=time_s, operations=int(time_s != 1_005.0)))
    soak = read_soak(tmp_path)
    assert stalled_s(soak) == 0
    assert judge_soak(soak).hours == pytest.approx(10 / 3600)


def gate_says(soak: Soak) -> tuple[str, str]:
    measured = as_measurement(
        soak,
        commit="c",
        config_digest="e",
        started=0.0,
        ended=1.0,
        instruments=dict.fromkeys(
            ("tracemalloc", "tracing", "devmode", "debug_malloc", "slow_blas"), False
        ),
    )
    setting = Setting(
        profile="release",
        commit="c",
        config_digest="e",
        now=2.0,
        content_digest=CHAIN["content_digest"],
        machine=CHAIN["machine"],
    )
    (gate,) = (one for one in load_targets().gates if one.id == "soak.day")
    found = judge_gate(gate, {measured.id: measured}, setting)
    return str(found.verdict), found.reason


def test_the_gate_says_what_the_soak_says() -> None:
    assert gate_says(day()) == ("PASS", "")
    verdict, reason = gate_says(day(1.0))
    assert verdict == "INCONCLUSIVE"
    assert reason.startswith("1.0 of 24 h counted")
    verdict, reason = gate_says(day(2.0, wrong_once))
    assert (verdict, reason[:15]) == ("FAIL", "1 wrong answers")
    verdict, reason = gate_says(day(tier="simulated"))
    assert (verdict, reason[:14]) == ("INVALID", "simulated data")


def test_a_run_takes_the_soak_of_its_own_code_and_keeps_its_segments(tmp_path: Path) -> None:
    reports, run = tmp_path / "reports", tmp_path / "run"
    folder = reports / "soaks" / "one"
    begin(folder, tier="real-time")
    facts = read_facts(folder)
    chain = {
        "content_digest": facts.content_digest,
        "machine": facts.machine,
        "facts": facts_digest(folder),
    }
    for lane in (KILLED_LANE, RESIDENT_LANE):
        Ledger(Lane(folder, lane).expected, keys=len(SMALL), seed=facts.seed).close()
    with SegmentWriter(folder / "segments", tier="real-time", **chain) as segment:
        segment.append(Observation(time_s=0.0, operations=1))
        segment.append(Observation(time_s=9.0, operations=1))
    code = Code(commit="c" * 40, content_digest=facts.content_digest, dirty=False)
    run.mkdir()
    found, reason = collect_soak(
        reports, run, code=code, machine=facts.machine, config_digest="another"
    )
    assert (found, "no soak of this code" in reason) == ([], True)
    (found_one,), reason = collect_soak(
        reports, run, code=code, machine=facts.machine, config_digest=facts.config_digest
    )
    assert reason == ""
    assert "0.0 of 24 h counted" in found_one.unfinished
    path = write_measurement(run, found_one)
    assert read_measurement(path).unfinished == found_one.unfinished
    copied = run / "soak" / "segment-0000.jsonl"
    assert copied_segments(run) == ["soak/segment-0000.jsonl", "soak/soak.json"]
    sealed = {
        name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in copied_segments(run)
    }
    assert verify_collected(run, {"sealed": sealed}) == []
    copied.write_bytes(copied.read_bytes().replace(b'"time_s": 9.0', b'"time_s": 9.9'))
    faults = verify_collected(run, {"sealed": sealed})
    assert any("was changed after the run" in fault for fault in faults)
    assert any("does not follow" in fault for fault in faults)
    (run / "soak" / "soak.json").unlink()
    assert any("soak.json is missing" in fault for fault in verify_collected(run, {}))


def test_every_setting_of_the_store_is_drawn_or_fixed() -> None:
    known = {field.name for field in dataclasses.fields(StoreConfig)}
    assert known == CHOICES.keys() | FIXED.keys()
    drawn = [
        draw_configuration(np.random.default_rng(seed), searches=seed % 2 == 0)
        for seed in range(300)
    ]
    for settings in drawn:
        StoreConfig(**settings)  # type: ignore[arg-type]  # checked there
    assert {settings["search_index"] for settings in drawn} == {"auto", "flat", "lance"}
    assert all(settings["search"] for settings in drawn[::2])
    for name, values in CHOICES.items():
        assert {settings[name] for settings in drawn} >= set(values), name
