"""Risk: what works here does not on Ray, or a worker killed there loses or doubles a vector.

Ray is not in requirements.lock: `make test-scale` installs it and runs these.
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
from suites.tests.scale.inputs import V2, is_whole, write_texts
from titanstore.scale import LocalRunner, Location, SharedTable, verify

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("lance_ray") is None,
    reason="ray and lance-ray are not installed: make test-scale",
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


def on_ray(place: Location, server: str) -> list[object]:
    return [place.uri, "--endpoint", server, "--ray", "--workers", 2]


def test_texts_are_embedded_on_ray(server: str, bucket: Location, tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    words = ["--model", V2, "--model-option", "dimensions=256"]
    words += ["--bedrock-endpoint", server, "--bedrock-region", "us-east-1"]
    with TitanResponder():
        out = shared("embed", *on_ray(bucket, server), tmp_path / "texts", *words)
    assert "12 vectors added, 2 there already" in out
    assert verify(bucket, LocalRunner()).is_clean


def test_vectors_are_loaded_and_verified_on_ray(
    server: str, bucket: Location, tmp_path: Path
) -> None:
    inputs, there = write_inputs(tmp_path / "inputs"), on_ray(bucket, server)
    assert f"{ROWS} vectors added" in shared("load", *there, inputs, "--dimension", DIMENSION)
    assert is_whole(bucket)
    assert f"{ROWS} vectors," in shared("verify", *there)


def test_a_table_is_compacted_and_indexed_on_ray(server: str, bucket: Location) -> None:
    rows = np.random.default_rng(3).standard_normal((400, DIMENSION), dtype=np.float32)
    table = SharedTable.create(bucket, DIMENSION)
    there = on_ray(bucket, server)
    for first in range(0, 400, 100):
        if first == 300:  # before the index: fragments of different parts of it stay apart
            assert "3 fragments became 1" in shared("compact", *there)
        keys = [f"key {number}" for number in range(first, first + 100)]
        table.put_many(keys, rows[first : first + 100])
    assert "400 vectors indexed" in shared("index", *there)
    table = SharedTable.open(bucket)
    assert {each.name for each in table.dataset.describe_indices()} == {"near", "by-key"}
    for number in (5, 399):
        assert table.search(rows[number], 1)[0].key == f"key {number}"
    found = np.stack(table.get_many([f"key {number}" for number in range(400)]))
    assert np.array_equal(found.view(np.uint32), rows.view(np.uint32))
    assert verify(bucket, LocalRunner()).is_clean
