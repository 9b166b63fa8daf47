"""What memray recorded: live allocations by module and call site, flamegraph, leak report."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.memory.session import PACKAGES
from harness.probes.allocations import module_of

__all__ = ["FLAMEGRAPH", "LEAKS", "summary_of", "write_reports"]

FLAMEGRAPH, LEAKS = "flamegraph.html", "leaks.html"
_TIMEOUT_S = 300.0
_SITES = 40
_RESERVED_FROM = 128 * 1024  # mallopt(3), M_MMAP_THRESHOLD


def summary_of(recording: Path) -> dict[str, Any]:
    """What was live when the recording ended, and the peak before.

    Returns
    -------
    dict
        "peak" in bytes, address space of mapped files included; "held": bytes live on the heap;
        "reserved": bytes of blocks of 128 KiB and more by call site, which malloc takes from the
        kernel one by one, so that pages never written take no memory (LMDB's lists of pages);
        "mapped": bytes live by mmap, which is the row pool, and address space of files, whether in
        memory or not; "by_module" and "sites" of the heap, the 40 that hold most, each with site,
        size, blocks. A block is its innermost frame's that lies in the packages; what is allocated
        beneath none of them is "other".

    Raises
    ------
    HarnessError
        The recording cannot be read.
    """
    from memray import FileReader

    try:
        with FileReader(recording) as reader:
            peak = reader.metadata.peak_memory
            live, mapped = _live(reader)
            records = [(_site(one.stack_trace()), one.size) for one in live]
    except (OSError, RuntimeError) as error:
        raise HarnessError(f"{recording.name} is no recording of memray: {error}") from error
    modules: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    blocks: Counter[str] = Counter()
    reserved: Counter[str] = Counter()
    for site, size in records:
        if size >= _RESERVED_FROM:
            reserved[site] += size
            continue
        modules[site.partition(":")[0]] += size
        sizes[site] += size
        blocks[site] += 1
    return {
        "peak": peak,
        "held": sum(sizes.values()),
        "reserved": dict(reserved.most_common()),
        "mapped": mapped,
        "by_module": dict(modules.most_common()),
        "sites": [
            {"site": site, "size": size, "blocks": blocks[site]}
            for site, size in sizes.most_common(_SITES)
        ],
    }


def _live(reader: Any) -> tuple[list[Any], int]:
    """Records of blocks on the heap that nothing freed, and bytes mapped less bytes unmapped.

    memray's own sums by call site put a mapped file and the small objects of the same line into
    one: LMDB's map of 1 GiB of address space would hide all else.
    """
    from memray import AllocatorType

    frees = {AllocatorType.FREE, AllocatorType.PYMALLOC_FREE}
    live: dict[int, Any] = {}
    mapped = 0
    for record in reader.get_allocation_records():
        kind = record.allocator
        if kind == AllocatorType.MMAP:
            mapped += record.size
        elif kind == AllocatorType.MUNMAP:
            mapped -= record.size
        elif kind in frees:
            live.pop(record.address, None)
        else:
            live[record.address] = record
    return list(live.values()), mapped


def _site(stack: Iterable[tuple[str, str, int]]) -> str:
    for _, filename, line in stack:  # the most recent call first
        name = module_of(filename, PACKAGES)
        if name:
            return f"{name}:{line}"
    return "other"


def write_reports(recording: Path, folder: Path) -> list[Path]:
    """memray's own pages beside the recording; they need nothing from the network.

    Raises
    ------
    HarnessError
        memray could not write them.
    """
    written = []
    for name, options in ((FLAMEGRAPH, []), (LEAKS, ["--leaks"])):
        path = folder / name
        command = [sys.executable, "-m", "memray", "flamegraph", "--no-web", "--force", *options]
        try:
            subprocess.run(
                [*command, "--output", str(path), str(recording)],
                capture_output=True,
                check=True,
                timeout=_TIMEOUT_S,
            )
        except subprocess.CalledProcessError as error:
            words = error.stderr.decode(errors="replace").strip()[-300:]
            raise HarnessError(f"memray flamegraph: {words}") from error
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"memray flamegraph: no end after {_TIMEOUT_S:.0f} s") from error
        written.append(path)
    return written
