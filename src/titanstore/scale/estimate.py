"""Arithmetic of a large job: bytes, partitions, hours, cost, out of figures that were measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

_HOUR_S = 3600.0
_MONTH_GB = 1e9
_IVF_ROW_ID_BYTES = 8
_TRAINED_A_PARTITION = 64  # vectors, as `titanstore shared index` samples them
_ROUNDS = 50  # of k-means, Lance's own most


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantities:
    """What a plan is made of. Put in what you measured, and your prices.

    Attributes
    ----------
    vectors, dimension
        How many, of how many values.
    frame_bytes
        Of a vector in its compressed exact frame: `titanstore shared verify` tells the bytes of a
        row, which are this, the search vector, and some 60 bytes of key, model and checksum.
    search_value_bytes
        2 for float16, 4 for float32.
    row_bytes
        Key, document, model, version, checksum.
    part_rows
        Vectors of an input file, which a worker writes whole.
    load_rate, verify_rate
        Vectors a second, of one worker.
    multiply_rate
        Floating-point operations a second, of one worker that compares vectors with centroids.
    workers
        Processes, a core each.
    tokens, token_price, calls_rate
        Tokens of a text; price of 1 000 tokens; calls a second that Bedrock lets an account make.
        Tokens 0: vectors are there, none is embedded.
    worker_price
        Of a worker for an hour.
    storage_price
        Of 10^9 bytes for a month.
    request_price
        Of 1 000 writing requests.
    """

    vectors: int = 10**9
    dimension: int = 1024
    frame_bytes: float = 3300.0
    search_value_bytes: int = 2
    row_bytes: float = 60.0
    part_rows: int = 100_000
    load_rate: float = 1000.0
    verify_rate: float = 1000.0
    multiply_rate: float = 2e10
    workers: int = 64
    tokens: float = 0.0
    token_price: float = 0.00002
    calls_rate: float = 100.0
    worker_price: float = 0.05
    storage_price: float = 0.023
    request_price: float = 0.005

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            least = 0 if name in ("tokens", "row_bytes") or name.endswith("price") else 1e-9
            if not least <= value < math.inf:
                raise ValueError(f"{name} is a number of at least {least:g}, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What follows from quantities. Bytes, hours, and money in the unit of the prices."""

    raw_bytes: float
    data_bytes: float
    index_bytes: float
    parts: int
    fragments: int
    index_partitions: int
    commit_bytes: float
    driver_bytes: float
    embed_hours: float
    load_hours: float
    verify_hours: float
    train_hours: float
    index_hours: float
    embed_cost: float
    compute_cost: float
    request_cost: float
    storage_cost_month: float


def plan(given: Quantities) -> Plan:
    """The plan; each line is one product or quotient of what was given."""
    row = given.frame_bytes + given.search_value_bytes * given.dimension + given.row_bytes
    data = given.vectors * row
    index = given.vectors * (given.dimension / 8 + _IVF_ROW_ID_BYTES)
    parts = math.ceil(given.vectors / given.part_rows)
    fragments = max(parts, math.ceil(given.vectors / 2**20))
    partitions = max(1, min(math.isqrt(given.vectors), given.vectors // 4096))
    compared = 2.0 * given.dimension * partitions / given.multiply_rate  # s, one with all centroids
    hours = [
        each * given.vectors / given.workers / _HOUR_S
        for each in (1 / given.load_rate, 1 / given.verify_rate, compared)
    ]
    train_hours = compared * _TRAINED_A_PARTITION * partitions * _ROUNDS / _HOUR_S
    embed_hours = given.vectors / given.calls_rate / _HOUR_S if given.tokens else 0.0
    # while Bedrock is waited for, workers are paid too; one process trains
    paid = max(embed_hours, hours[0]) + hours[1] + hours[2]
    return Plan(
        raw_bytes=4.0 * given.dimension * given.vectors,
        data_bytes=data,
        index_bytes=index,
        parts=parts,
        fragments=fragments,
        index_partitions=partitions,
        commit_bytes=150.0 * fragments,
        driver_bytes=16.0 * given.vectors,
        embed_hours=embed_hours,
        load_hours=hours[0],
        verify_hours=hours[1],
        train_hours=train_hours,
        index_hours=hours[2],
        embed_cost=given.vectors * given.tokens / 1000 * given.token_price,
        compute_cost=(paid * given.workers + train_hours) * given.worker_price,
        request_cost=(2 * parts + fragments) / 1000 * given.request_price,
        storage_cost_month=(data + index) / _MONTH_GB * given.storage_price,
    )


def lines(given: Quantities, found: Plan) -> list[str]:
    """The plan for people."""
    return [
        f"{_whole(given.vectors)} vectors of {given.dimension} values, {given.workers} workers",
        f"raw float32          {_bytes(found.raw_bytes)}",
        f"data files           {_bytes(found.data_bytes)}"
        f"  ({found.data_bytes / found.raw_bytes:.0%} of raw; search vectors are in it)",
        f"index                {_bytes(found.index_bytes)}  (1 byte for 8 values, and 8)",
        f"parts                {found.parts} input files of {given.part_rows} vectors",
        f"fragments            {found.fragments}; one commit of {_bytes(found.commit_bytes)}",
        f"index partitions     {found.index_partitions}",
        f"memory of the driver {_bytes(found.driver_bytes)}",
        f"embed                {_hours(found.embed_hours)}, cost {_whole(found.embed_cost)}",
        f"write and read back  {_hours(found.load_hours)}",
        f"verify once more     {_hours(found.verify_hours)}",
        f"index                {_hours(found.index_hours)}, after {_hours(found.train_hours)} of "
        "training in one process",
        f"cost                 workers {_whole(found.compute_cost)}, requests "
        f"{found.request_cost:.2f}, storage {_whole(found.storage_cost_month)} a month",
    ]


def _whole(number: float) -> str:
    return f"{number:,.0f}".replace(",", " ")


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count:.0f} B"


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
