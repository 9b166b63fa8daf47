"""What a store adds to the memory of its process.

No `peakmem_` benchmark is here, since asv's method (`ru_maxrss`) is not valid for what this store
promises. It is inherited from the process that started the benchmark, so that asv's own size is
the least it can show; it counts clean pages of mapped files, which belong to the page cache; and it
includes `setup`. A store's 3 MB disappear in each of the three (reports/decisions/0012). What is
tracked instead is what the gate `memory.steady` counts, in a process that does nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from . import prepared

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = """
import gc, hashlib, importlib, json, sys
sys.path.insert(0, sys.argv[1])
from harness.probes.memory import counted_bytes, page_types
from harness.subjects.reference import LOADED_ON_USE
import titanstore
for name in LOADED_ON_USE:  # code is not what a store holds
    importlib.import_module(name)
def counted():
    gc.collect()
    return counted_bytes(page_types())
path, keys = sys.argv[2], json.load(sys.stdin)
before = counted()
store = titanstore.EmbeddingStore.open(path, titanstore.StoreConfig(), read_only=True)
digest = hashlib.sha256()
for key in keys:
    digest.update(store.get(key).tobytes())
for key in keys[::100]:
    store.search(store.get(key))
store.wait_for_prefetch()
print(json.dumps([counted() - before, digest.hexdigest()]))
store.close()
"""


class Memory:
    """Bytes after every vector was read and one in a hundred searched for, less those before."""

    version = prepared.version(1)
    unit = "bytes"

    def setup(self) -> None:
        self.path = prepared.read_path()
        for file in self.path.rglob("*"):  # unwritten pages would count as the reader's own
            if file.is_file():
                with file.open("rb") as opened:
                    os.fsync(opened)

    def track_added(self) -> int:
        added, digest = json.loads(
            subprocess.run(
                [sys.executable, "-c", _PROGRAM, str(_ROOT), str(self.path)],
                input=json.dumps(prepared.document_keys()),
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        if digest != prepared.digest_of_rows():
            raise AssertionError("other vectors were read than were stored")
        return int(added)
