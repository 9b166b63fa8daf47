"""What a store adds to the memory of a process that does nothing else; prints bytes as JSON.

    python suites/bench/memory_child.py STORE read|search|save

As the gate `memory.steady` counts: anonymous, shared and swapped pages, and dirty pages of files.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness.probes.memory import counted_bytes, page_types
from harness.subjects.reference import LOADED_ON_USE
from titanstore import EmbeddingStore, StoreConfig

_SAVES = 200


def _counted() -> int:
    gc.collect()
    return counted_bytes(page_types())


def main(path: str, what: str) -> None:
    for name in LOADED_ON_USE:
        importlib.import_module(name)
    before = _counted()
    store = EmbeddingStore.open(path, StoreConfig(), read_only=what != "save")
    done = 0
    for document in store.documents():
        keys = store.document_keys(document)
        if what == "save" and done >= _SAVES:
            break
        if what == "save":
            chunks = [(key, store.get(key)) for key in keys]
            store.update_document(document, [(f"again {done}", chunks[0][1]), *chunks[1:]])
            done += 1
            continue
        for key in keys:
            store.get(key)
        if what == "search":
            store.search(store.get(keys[0]))
        done += 1
    store.wait_for_prefetch()
    print(json.dumps({"added": _counted() - before, "documents": done}))  # noqa: T201
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
