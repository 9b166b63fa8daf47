"""In a fresh process: what a subject takes for its packages, for opening, and for reading.

Nothing of any subject is imported before the first look, the store of ours included.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.probes.looks import Looks
from harness.probes.memory import PAGE_TYPES, counted_bytes, page_types
from harness.rivals.catalogue import open_store
from harness.rivals.inputs import key_of

__all__ = ["sample"]


def sample(job: Mapping[str, Any]) -> dict[str, Any]:
    """Bytes by page type that the process and its server took, and seconds of opening."""
    keys = [key_of(number) for number in range(job["count"])]
    order = np.random.default_rng(job["seed"]).permutation(len(keys)).tolist()[: job["gets"]]
    name, store = job["subject"], Path(job["store"])
    looks = Looks("start", "opened", "read")
    gc.collect()
    looks.take("start")
    begin = time.perf_counter()
    subject = open_store(name, store)
    subject.get(keys[order[0]])
    import_s = time.perf_counter() - begin
    gc.collect()
    looks.take("opened")
    for place in order:
        subject.get(keys[place])
    gc.collect()
    looks.take("read")
    server = getattr(subject, "server_pid", None)
    served = dict.fromkeys(PAGE_TYPES, 0) if server is None else page_types(server)
    subject.close()
    begin = time.perf_counter()
    subject = open_store(name, store)
    subject.get(keys[order[0]])
    open_s = time.perf_counter() - begin
    subject.close()
    start, opened, read = (
        looks.read(look, store=str(store)).by_type for look in ("start", "opened", "read")
    )
    added = {kind: read[kind] - start[kind] + served[kind] for kind in PAGE_TYPES}
    return {
        "values": [],
        "facts": {
            "metrics": {
                "memory": float(max(0, counted_bytes(added))),
                "open_s": open_s,
                "import_s": import_s,
            },
            "by_type": added,
            "opening": counted_bytes(opened) - counted_bytes(start),
            "server": counted_bytes(served),
        },
    }
