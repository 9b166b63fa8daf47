"""Risk: a fault that is not really in the process, so that catching it would mean nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.environment import project_root
from harness.prove.injections import INJECTIONS, environment

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from harness.subjects.reference import ReferenceSubject

rows = np.random.default_rng(1).standard_normal((40, 64), dtype=np.float32)
path = Path(sys.argv[1]) / "store"
subject = ReferenceSubject(path, {"prefetch": False})
subject.put_document("a", [f"k{place}" for place in range(20)], rows[:20])
"""

LOST = """
subject.update_document("a", [("k0", rows[20])])
subject.update_document("a", [("k0", rows[21])])
subject.close()
seen = ReferenceSubject(path, {}, read_only=True).get("k0")
print(int((seen == rows[20]).all()), int((seen == rows[21]).all()))
"""

STALE = """
first = subject.search(rows[30], 1)[0][0]
subject.put_document("b", ["news"], rows[30:31])
print(first != "news", subject.search(rows[30], 1)[0][0] == "news")
"""

RATIO = """
for _ in range(200):
    for place in range(20):
        subject.get(f"k{place}")
counters = subject.counters()
reads = counters["hot_hits"] + counters["warm_hits"] + counters["cold_hits"]
print(round(counters["hot_hits"] / reads, 3))
"""

# resident pages, not the process's share of them: what others map at the moment must not count;
# the first gets are made before, since they load what every process loads once
MAPPING = """
import re
def resident(kind):
    return 1024 * int(re.search(rf"Rss{kind}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
def get_all(times):
    for _ in range(times):
        for place in range(20):
            subject.get(f"k{place}")
get_all(10)
before = resident("File"), resident("Anon")
get_all(400)
file, anonymous = (now - was for now, was in zip((resident("File"), resident("Anon")), before))
print(file > 7e6, anonymous < 1e6)
"""

DIGIT = """
import json
from fixtures.titan.answers import EmulatedTitan
from fixtures.titan.responder import bedrock_client
from fixtures.titan.wire import titan_server
with titan_server(EmulatedTitan()) as wire:
    client = subject.bedrock(bedrock_client(endpoint_url=wire.url))
    bodies = [
        client.invoke_model(modelId="amazon.titan-embed-text-v1", body='{"inputText": "a"}')
        for _ in range(2)
    ]
first, kept = (json.loads(one["body"].read())["embedding"] for one in bodies)
print(first[:-1] == kept[:-1], first[-1] == kept[-1])
"""

SEEN = {
    "lost-update": (LOST, "0 1", "1 0"),
    "stale-search": (STALE, "True True", "True False"),
    "low-hit-ratio": (RATIO, "1.0", "0.94"),
    "growing-mapping": (MAPPING, "False True", "True True"),
    "another-digit": (DIGIT, "True True", "True False"),
}


def said(program: str, folder: Path, variables: dict[str, str]) -> str:
    path = os.pathsep.join([str(project_root()), variables.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(folder)],
        env={**os.environ, **variables, "PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_injection_is_tried_here() -> None:
    assert SEEN.keys() == INJECTIONS.keys()


@pytest.mark.parametrize("name", SEEN)
def test_a_process_has_the_fault_only_if_it_was_given(name: str, tmp_path: Path) -> None:
    program, whole, broken = SEEN[name]
    for variables, wanted in (({}, whole), (environment(name), broken)):
        folder = tmp_path / wanted.replace(" ", "-")
        folder.mkdir()
        assert said(program, folder, variables) == wanted


def test_an_unknown_injection_is_refused() -> None:
    with pytest.raises(ValueError, match="no injection 'none'"):
        environment("none")
