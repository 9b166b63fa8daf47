"""Risk: what works here does not on Ray, or a worker killed there loses or doubles a vector.

Ray is not in requirements.lock: `pip install -r requirements-scale.lock`, then `make test-long`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fixtures.titan.responder import TitanResponder
from suites.tests.scale.children import DIMENSION, PARTS, ROWS, write_inputs
from suites.tests.scale.test_bulk import V2, is_whole, write_texts
from titanstore.scale import LocalRunner, Location, SharedTable, verify

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("lance_ray") is None,
    reason="ray and lance-ray are not installed: pip install -r requirements-scale.lock",
)
ROOT = Path(__file__).resolve().parents[3]
DYING = """
import sys
from functools import partial
from pathlib import Path
from suites.tests.scale.children import die_once, job_of, place_of
from titanstore.scale import job, ray_runner, run_job
uri, endpoint, inputs, mark = sys.argv[1:]
job.write_part = partial(die_once, mark)
with ray_runner(2) as runner:
    done = run_job(job_of(place_of(uri, endpoint), Path(inputs)), runner)
print(done.added, done.parts_now)
"""


def ran(*words: object) -> str:
    """What a command prints, in a process of its own: Ray is started for it alone."""
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": path,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shared(*words: object) -> str:
    return ran("-c", "from titanstore.cli import main; main()", "shared", *words)


def test_a_worker_of_ray_is_killed_in_mid_job(
    server: str, bucket: Location, tmp_path: Path
) -> None:
    inputs, mark = write_inputs(tmp_path / "inputs"), tmp_path / "mark"
    assert ran("-c", DYING, bucket.uri, server, inputs, mark).split()[-2:] == [
        str(ROWS),
        str(PARTS),
    ]
    assert mark.read_text() == "killed"
    assert is_whole(bucket)


def test_the_commands_do_it_all_on_ray(server: str, bucket: Location, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path / "inputs")
    there = [bucket.uri, "--endpoint", server, "--ray", "--workers", 2]
    assert f"{ROWS} vectors added" in shared("load", *there, inputs, "--dimension", DIMENSION)
    with TitanResponder():
        write_texts(tmp_path / "texts")
        uri, words = bucket.uri + "2", ["--model", V2, "--model-option", "dimensions=256"]
        bedrock = ["--bedrock-endpoint", server, "--bedrock-region", "us-east-1"]
        texts = tmp_path / "texts"
        assert "12 vectors added" in shared("embed", uri, *there[1:], texts, *words, *bedrock)
    rows = np.random.default_rng(3).standard_normal((300, DIMENSION), dtype=np.float32)
    table = SharedTable.open(bucket)
    table.put_many([f"more {number}" for number in range(300)], rows)
    assert f"{ROWS + 300} vectors," in shared("verify", *there)
    assert f"{ROWS + 300} vectors indexed" in shared("index", *there)
    assert "fragments became 1" in shared("compact", *there)
    table = SharedTable.open(bucket)
    assert {each.name for each in table.dataset.describe_indices()} == {"near", "by-key"}
    assert table.search(rows[5], 1)[0].key == "more 5"
    assert np.array_equal(table.get_many(["more 5"])[0].view(np.uint32), rows[5].view(np.uint32))
    assert verify(bucket, LocalRunner()).is_clean
