"""Faults put into the life of a worker: real memory of a real process, an injected clock."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from harness import environment
from harness.errors import EvidenceError
from harness.evidence import read_json, write_json
from harness.gates import Setting, judge_gate
from harness.progress import Progress
from harness.prove.fault import Fault
from harness.prove.seen import CannotRunError, Seen
from harness.soak.decide import as_measurement, judge_growth
from harness.soak.evidence import read_soak
from harness.subjects.reference import effective_settings
from harness.targets import load_targets

__all__ = ["inject", "look"]

_HOURS = 24
_TIMEOUT_S = 600.0
# Its thread is at work at moments of its own, and each run's memory then differs by as much as the
# leak that must stay quiet makes in a day.
_QUIETER = {"prefetch": False}


def inject(fault: Fault, folder: Path, _: Progress) -> None:
    """Let a worker live with this fault and keep its evidence in `folder`.

    Raises
    ------
    CannotRunError
        The worker failed or hung.
    """
    code = environment.code_of(environment.project_root())
    machine = environment.machine_id(environment.machine())
    settings, config_digest = effective_settings({}, **_QUIETER)
    facts: dict[str, Any] = {
        "commit": code.commit,
        "content_digest": code.content_digest,
        "config_digest": config_digest,
        "machine": machine,
        "started": time.time(),
    }
    chain = {"content_digest": code.content_digest, "machine": machine}
    work = folder / "work"
    work.mkdir()
    job = {
        "folder": str(work),
        "settings": settings,
        "seed": 20_261_124,
        "hours": fault.settings.get("hours", _HOURS),
        "tier": fault.tier,
        "parent": os.getpid(),
        "heap_bytes_an_hour": fault.settings.get("heap_bytes_an_hour", 0),
        "mapped_bytes_an_hour": fault.settings.get("mapped_bytes_an_hour", 0),
        **chain,
    }
    _live(json.dumps(job).encode())
    (work / "soak").rename(folder / "soak")
    facts["kept"] = read_json(work / "kept.json")
    shutil.rmtree(work, ignore_errors=True)
    write_json(folder / "soak.json", {**facts, "ended": time.time()})


def _live(job: bytes) -> None:
    root = str(environment.project_root())
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    worker = subprocess.Popen(
        [sys.executable, "-m", "harness.prove.soaker"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )
    try:
        _, words = worker.communicate(job, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise CannotRunError(f"the worker took longer than {_TIMEOUT_S:.0f} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        worker.wait()
    if worker.returncode:
        last = (words.decode(errors="replace").strip() or "it said nothing").splitlines()[-1]
        raise CannotRunError(f"the worker ended with status {worker.returncode}: {last}")


def look(fault: Fault, folder: Path) -> Seen:
    """Growth of each resource, the gate `soak.day`, and what the worker held at its end.

    Raises EvidenceError.
    """
    soak = read_soak(folder / "soak")
    facts = read_json(folder / "soak.json")
    seen = Seen(tier=soak.headers[0].tier if soak.headers else "")
    for name, growth in judge_growth(soak).items():
        slope = growth.slope
        shown = (
            f"{slope.estimate:.4g} an hour ({slope.low:.4g} to {slope.high:.4g}), "
            f"at most {growth.budget:.4g}"
            if slope
            else growth.reason
        )
        estimate = slope.estimate if slope else None
        seen.add(f"soak: {name}", str(growth.verdict), shown, estimate)
    try:
        seen.started = float(facts["started"])
        seen.origin = {name: str(facts[name]) for name in ("commit", "content_digest", "machine")}
        for name, kept in facts["kept"].items():
            seen.add(f"kept by the worker: {name}", "some" if kept else "none", "", kept)
        measurement = as_measurement(
            soak,
            commit=facts["commit"],
            config_digest=facts["config_digest"],
            started=facts["started"],
            ended=facts["ended"],
        )
        setting = Setting(
            profile="release",
            commit=facts["commit"],
            content_digest=facts["content_digest"],
            config_digest=facts["config_digest"],
            machine=facts["machine"],
            now=facts["ended"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EvidenceError(f"soak.json is damaged: {error!r}") from error
    (gate,) = (gate for gate in load_targets().gates if gate.id == "soak.day")
    judged = judge_gate(gate, {measurement.id: measurement}, setting)
    seen.add("soak.day", str(judged.verdict), judged.reason)
    return seen
