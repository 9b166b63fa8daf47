"""Figures and pools in shared memory as nobody wrote them: who reads them is not misled."""

from __future__ import annotations

import fcntl
import importlib
import json
import mmap
import os
import random
import shutil
from pathlib import Path

from crc32c import crc32c

from harness.reliability.hostile_store import (
    SETTINGS,
    Feed,
    Prepare,
    prepare_store,
    read_all,
    resealed,
)
from harness.reliability.mutations import mutated_binary
from harness.subjects.reference import ReferenceSubject

__all__ = ["MEMORY"]


def _feed_figures(base: Path, folder: Path, rng: random.Random) -> str:
    """Put files into the folder of figures, and look at the store as `titanstore top` does."""
    figures = importlib.import_module("titanstore.figures.folder")
    live = importlib.import_module("titanstore.monitor.live")
    config = importlib.import_module("titanstore").StoreConfig()
    figures.__dict__["SHARED_MEMORY"] = folder
    shutil.copytree(base / "store", folder / "store")
    store_id = json.loads((base / "store" / "STORE").read_text())["store_id"]
    held = []
    with ReferenceSubject(folder / "store", {"prefetch": False}).store:
        own = folder / f"titanstore-{os.geteuid()}"
        whole = next(own.iterdir()).read_bytes()
        for place in range(3):
            path = own / f"{store_id}-{place:016x}"
            if rng.random() < 0.1:
                rng.choice((path.mkdir, lambda path=path: os.mkfifo(path)))()
                continue
            content = mutated_binary(whole, rng)
            path.write_bytes(_resealed_figures(content) if rng.random() < 0.7 else content)
            held.append(os.open(path, os.O_RDONLY))
            fcntl.flock(held[-1], fcntl.LOCK_EX)  # or it would be removed as a dead process's
        shown = json.loads(live.snapshot_json(folder / "store", config))
        live.snapshot_lines(folder / "store", config, 80)
    for descriptor in held:
        os.close(descriptor)
    return "shown" if len(shown["processes"]) > 1 else "passed over"


def _resealed_figures(content: bytes) -> bytes:
    """FORMAT.md, "Figures, version 1": the checksum covers the header, then the names."""
    length = int.from_bytes(content[6:8], "little")
    check = crc32c(content[64 : 64 + length], crc32c(content[:44]))
    return content[:44] + check.to_bytes(4, "little") + content[48:]


def _feed_pool(base: Path, folder: Path, rng: random.Random) -> str:
    """Change the shared pool's memory and its door; who comes then reads right vectors."""
    store = folder / "store"
    shutil.copytree(base / "store", store)
    settings = {"shared_pool": True, "hot_bytes_max": 400_000}
    first = ReferenceSubject(store, {**SETTINGS, **settings}, read_only=True)
    held = json.loads((base / "held.json").read_text())
    for key in "abdefgh":
        first.get(key)
    for link in Path("/proc/self/fd").iterdir():
        if link.exists() and "titanstore-pool" in os.readlink(link):  # noqa: PTH115
            with link.open("r+b", buffering=0) as file:
                memory = mmap.mmap(file.fileno(), 0)
            for _ in range(rng.randrange(40)):
                at = rng.randrange(rng.choice((200, 8_192, len(memory))))
                size = min(rng.choice((1, 8, 64)), len(memory) - at)
                memory[at : at + size] = rng.choice(
                    (bytes(size), b"\xff" * size, rng.randbytes(size))
                )
            memory.close()
    if rng.random() < 0.5:
        door = store / "POOL"
        content = mutated_binary(door.read_bytes(), rng)
        door.write_bytes(resealed(content))
    second = ReferenceSubject(store, {**SETTINGS, **settings}, read_only=True)
    read_all(second, held)
    second.close()
    first.close()
    return "read"


MEMORY: dict[str, tuple[Prepare, Feed]] = {
    "figures": (prepare_store, _feed_figures),
    "pool": (prepare_store, _feed_pool),
}
