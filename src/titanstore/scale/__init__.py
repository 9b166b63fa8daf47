"""Vectors beyond one machine: a table in S3 that many share, and bulk jobs on Ray or without it.

Importing it loads no optional package; pylance (`titanstore[shared]`) comes with the first table,
Ray (`titanstore[scale]`) with `ray_runner`.
"""

from titanstore.scale.fetch import fetch
from titanstore.scale.job import JobReport, run_job
from titanstore.scale.location import Location
from titanstore.scale.parts import Embedding, Job, Part, parts_of
from titanstore.scale.runners import LocalRunner, RayRunner, Runner, ray_runner
from titanstore.scale.table import SharedTable
from titanstore.scale.upkeep import Compacted, Verified, compact, index, verify

__all__ = [
    "Compacted",
    "Embedding",
    "Job",
    "JobReport",
    "LocalRunner",
    "Location",
    "Part",
    "RayRunner",
    "Runner",
    "SharedTable",
    "Verified",
    "compact",
    "fetch",
    "index",
    "parts_of",
    "ray_runner",
    "run_job",
    "verify",
]
