"""Risk: a soak in real time that a kill of everything, or of its driver alone, does not survive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from harness.soak.decide import judge_soak
from harness.soak.driver import Driver, worker_environment
from harness.soak.evidence import read_soak
from harness.soak.facts import read_facts
from harness.soak.ledger import Header, Ledger
from harness.soak.progress import SoakProgress
from suites.tests.soak.small_soak import SEED, SMALL, begin

_DRIVER = """
import sys
from pathlib import Path
from harness.soak.driver import Driver
from harness.soak.facts import read_facts
from harness.soak.progress import SoakProgress
folder = Path(sys.argv[1])
Driver(folder, read_facts(folder), SoakProgress()).run(600.0)
"""


def operations(folder: Path) -> int:
    path = folder / "killed" / "expected"
    if not path.exists():
        return 0
    with Ledger(path, keys=len(SMALL), seed=SEED) as ledger:
        return ledger.word(Header.OPERATION)


def test_a_killed_driver_leaves_nobody_behind_and_the_soak_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    begin(folder, tier="real-time", hours=24.0, rate_share=20.0, kills_every_s=2.0, sample_s=2.0)
    with subprocess.Popen(
        [sys.executable, "-c", _DRIVER, str(folder)], env=worker_environment()
    ) as driver:
        deadline = time.monotonic() + 60
        while operations(folder) < 40 and time.monotonic() < deadline:
            time.sleep(0.2)
        children = psutil.Process(driver.pid).children(recursive=True)
        driver.kill()  # and with it, by the kernel, the writer in the middle of its work
    _, alive = psutil.wait_procs(children, timeout=60)
    assert children
    assert alive == []
    before = operations(folder)
    Driver(folder, read_facts(folder), SoakProgress()).run(9.0)
    soak = read_soak(folder / "segments")
    judged = judge_soak(soak)
    assert soak.faults == ()
    assert len(soak.segments) == 2
    assert judged.mismatches == 0, judged.wrong
    assert operations(folder) > before
    assert judged.hours > 0
    starts = [one.process for _, one in soak.timeline() if one.resources]
    assert starts[-1] == 2  # counted by the ledger: a slope never crosses it
    facts = json.loads((folder / "soak.json").read_text())
    assert facts["tier"] == "real-time"


def test_ctrl_c_ends_a_segment_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "harness",
        "soak",
        "--seed",
        "1",
        "--folder",
        str(tmp_path / "b"),
    ]
    with subprocess.Popen(
        words, env=worker_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as driver:
        deadline = time.monotonic() + 60
        segment = tmp_path / "b" / "segments" / "segment-0000.jsonl"
        while time.monotonic() < deadline and not (
            segment.exists() and segment.read_text().count("\n") > 2
        ):
            time.sleep(0.2)
        children = psutil.Process(driver.pid).children(recursive=True)
        os.kill(driver.pid, signal.SIGINT)
        _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "go on: harness soak resume" in said
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert read_soak(tmp_path / "b" / "segments").faults == ()
