"""How many vectors a second bulk jobs write, verify and index, with one worker and with several.

    python suites/bench/bulk_throughput.py [--vectors 20000] [--workers 1 2] [--ray] [--s3]

Vectors of 1 024 values as two servings of Titan have them, in files of 1 000: `grid` (bfloat16
divided by a norm: small frames) and `noise` (means of tokens: frames near the raw size). The table
lies in a folder of TMPDIR, or with --s3 in moto's server in a process of its own, which is the
slower part by far. Prints Markdown: vectors a second by the clock, and processor seconds of this
process and its workers for 1 000 vectors, which other load on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from fixtures import vectors
from titanstore.migration import SourceOptions
from titanstore.scale import (
    Job,
    LocalRunner,
    Location,
    Runner,
    index,
    parts_of,
    ray_runner,
    run_job,
    verify,
)

_DIMENSION, _PART = 1024, 1_000
_KINDS = {"grid": vectors.bfloat16_divided, "noise": vectors.token_mean}


def write_inputs(folder: Path, kind: str, count: int) -> Path:
    """Files of vectors, the same each time."""
    folder.mkdir(parents=True)
    for first in range(0, count, _PART):
        rows = _KINDS[kind](np.random.default_rng(first), _PART, _DIMENSION)
        keys = np.array([f"{number:032x}" for number in range(first, first + _PART)])
        np.savez(folder / f"{first:09}.npz", keys=keys, vectors=rows)
    return folder


@contextmanager
def bucket() -> Iterator[str]:
    """The endpoint of moto's server, with a bucket `bulk`."""
    import boto3

    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    server = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            if server.poll() is not None or time.monotonic() > until:
                raise SystemExit("moto's server did not start")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bulk")
        yield endpoint
    finally:
        server.terminate()
        server.wait()


def processor_s() -> float:
    """Of this process and all below it, dead ones too, moto's server not."""
    ours = os.times()
    total = ours.user + ours.system + ours.children_user + ours.children_system
    for child in psutil.Process().children(recursive=True):
        try:
            if "moto.server" not in " ".join(child.cmdline()):
                spent = child.cpu_times()
                total += spent.user + spent.system
        except psutil.Error:
            continue
    return total


def timed(work: Callable[[], Any], count: int) -> tuple[Any, str]:
    """What work returns, and cells of the table."""
    spent, started = processor_s(), time.perf_counter()
    found = work()
    seconds, cost = time.perf_counter() - started, processor_s() - spent
    return found, f"{count / seconds:.0f} | {1000 * cost / count:.2f}"


def measure(place: Location, inputs: Path, runner: Runner, count: int) -> Iterator[tuple[str, str]]:
    """Each kind of work with its cells."""
    job = Job(table=place, parts=parts_of([inputs]), dimension=_DIMENSION, vectors=SourceOptions())
    # workers' start is not what is asked: a cluster is up already, and hours last longer
    list(runner.run(os.path.exists, [str(inputs)] * 2 * runner.workers))
    done, cells = timed(lambda: run_job(job, runner), count)
    assert done.added == count
    yield f"load, {done.file_bytes / count:.0f} bytes each", cells
    report, cells = timed(lambda: verify(place, runner), count)
    assert report.is_clean
    assert report.rows == count
    yield "verify", cells
    _, cells = timed(lambda: index(place, runner, "ivf_flat"), count)
    yield "index (ivf_flat)", cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--s3", action="store_true")
    given = parser.parse_args()
    where = "s3" if given.s3 else "folder"
    print("| vectors | table | workers | work | vectors/s | processor s for 1 000 |")  # noqa: T201
    print("| --- | --- | --- | --- | --- | --- |")  # noqa: T201
    with tempfile.TemporaryDirectory() as name, bucket() if given.s3 else nullcontext("") as at:
        for kind in _KINDS:
            inputs = write_inputs(Path(name) / kind, kind, given.vectors)
            for workers in given.workers:
                uri = f"s3://bulk/{kind}-{workers}" if at else f"{name}/{kind}-{workers}.lance"
                place = Location(uri=uri, endpoint=at or None)
                runner: Any = (
                    ray_runner(workers) if given.ray else nullcontext(LocalRunner(workers))
                )
                with runner as found:
                    for work, cells in measure(place, inputs, found, given.vectors):
                        on = f"{workers} on Ray" if given.ray else f"{workers}"
                        line = f"| {kind} | {where} | {on} | {work} | {cells} |"
                        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
