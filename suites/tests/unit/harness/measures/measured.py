"""Measures by name, and what every measurement must have."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from harness.measurement import Measurement, Process
from harness.measures import disk, hits, hot, memory, quality, saving, sharing, startup
from harness.measures.base import Context
from harness.subjects.reference import effective_config
from harness.targets import load_targets

MEASURES: dict[str, Callable[[Context], list[Measurement]]] = {
    "hot": hot.measure,
    "disk": disk.measure,
    "hits": hits.measure,
    "memory": memory.measure,
    "quality": quality.measure,
    "saving": saving.measure,
    "sharing": sharing.measure,
    "startup": startup.measure,
}


def usual(context: Context) -> Context:
    """With a hot tier of the usual size, which holds this small corpus whole."""
    settings, digest = effective_config(None)
    return replace(context, settings=settings, config_digest=digest)


def by_id(measurements: list[Measurement]) -> dict[str, Measurement]:
    return {one.id: one for one in measurements}


def treated(measurement: Measurement) -> list[Process]:
    return [process for process in measurement.processes if not process.control]


def assert_whole(measurements: list[Measurement], context: Context) -> None:
    """They have samples, say what they belong to, and a row of the targets is about each."""
    wanted = {row.measurement: row for row in load_targets().rows().values()}
    assert measurements
    for one in measurements:
        assert one.failure == ""
        row = wanted[one.id.replace("-264", "-2200")]  # this corpus is a small one
        assert one.unit == row.unit
        for setting, value in row.settings.items():
            assert one.population[setting] == value
        assert (one.commit, one.content_digest) == ("c" * 40, "d" * 32)
        assert len(one.config_digest) == 16
        assert one.machine == context.machine_id
        assert one.started <= one.ended
        assert treated(one)
        for process in one.processes:
            assert process.values
            assert all(map(math.isfinite, process.values))
            assert not any(process.instruments.values())
            assert process.instruments
