"""Recordings in the form that `fixtures.titan.recorded` reads; how equal repeated answers are."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fixtures.titan.digits import check_answer
from fixtures.titan.emulator import Serving
from harness.bounds import Grid, find_grid
from harness.record.journal import Entry, Journal

__all__ = ["Repeats", "compare_repeats", "write_sets"]

_NAMES = {  # as the targets name what is measured on them
    Serving.TEXT_V1: "v1_chunks",
    Serving.G1_TEXT_02: "g1_chunks",
    Serving.TEXT_V2_2024: "v2_scaled_bf16",
    Serving.TEXT_V2: "v2_token_mean",
}
_BEDROCK = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")  # VPC endpoints end so too
_USUAL_FIELDS = {"inputText"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Answers to a text that was asked before.

    Attributes
    ----------
    ulps_max
        Largest distance of two values in units of the last place; 0 if all bits are equal.
    """

    asked: int
    same_bytes: int
    same_bits: int
    ulps_max: int


def compare_repeats(journal: Journal) -> Repeats:
    """Compare each repeated answer with the first one to the same request."""
    first = {entry.digest: entry for entry in journal.entries if entry.file and not entry.turn}
    asked = same_bytes = same_bits = ulps = 0
    for entry in journal.entries:
        if not entry.file or not entry.turn or entry.digest not in first:
            continue
        one, other = journal.body(first[entry.digest]), journal.body(entry)
        a, b = (_vector(body).view(np.uint32) for body in (one, other))
        asked += 1
        same_bytes += one == other
        same_bits += bool(np.array_equal(a, b))
        if a.shape == b.shape:
            ulps = max(ulps, int(np.abs(_ordered(a) - _ordered(b)).max()))
    return Repeats(asked=asked, same_bytes=same_bytes, same_bits=same_bits, ulps_max=ulps)


def _ordered(words: Any) -> Any:
    """Float32 words as whole numbers in the order of their values: neighbours differ by 1."""
    wide = words.astype(np.int64)
    return np.where(wide < 2**31, wide, 2**31 - wide)


def _vector(body: bytes) -> Any:
    return check_answer(body, len(json.loads(body)["embedding"]))


def write_sets(journal: Journal) -> list[dict[str, Any]]:
    """Write bodies/index.json, the .npz files and provenance.json, the last of all; returns it.

    Only requests with a text alone make a set of vectors; bodies are listed all. A set is of one
    serving: text-v2's is told by the number grid of most of its vectors.
    """
    answers = [entry for entry in journal.entries if entry.file and not entry.turn]
    index = [
        {
            "file": entry.file,
            "model": entry.model,
            "request": dict(entry.request),
            "body_bytes_as_sent": True,
            "content_length": [str(len(journal.body(entry)))],
            "source": _source(entry),
            "recorded_s": entry.at_s,
            "machine": entry.machine,
            "tier": _tier([entry]),
        }
        for entry in answers
    ]
    _replace(journal.bodies / "index.json", json.dumps(index, indent=1).encode())
    by_model: dict[str, list[Entry]] = defaultdict(list)
    for entry in answers:
        if entry.request.keys() == _USUAL_FIELDS:
            by_model[entry.model].append(entry)
    sets = [_write_set(journal, model, entries) for model, entries in by_model.items()]
    _replace(journal.folder / "provenance.json", json.dumps(sets, indent=1).encode())
    return sets


def _write_set(journal: Journal, model: str, entries: Sequence[Entry]) -> dict[str, Any]:
    vectors = np.stack([_vector(journal.body(entry)) for entry in entries])
    on_grid = sum(find_grid(vector).grid is not Grid.FLOAT32 for vector in vectors)
    serving = _serving(model, 2 * on_grid > len(vectors))
    path = journal.folder / f"{_NAMES[serving]}.npz"
    partial = path.with_suffix(".new.npz")
    counts = np.array([entry.tokens for entry in entries], np.int32)
    np.savez(partial, vectors=vectors, token_count=counts)
    partial.replace(path)
    return {
        "file": path.name,
        "model": model,
        "serving": str(serving),
        "count": len(vectors),
        "dimension": vectors.shape[1],
        "rows_on_bf16_grid": round(on_grid / len(vectors), 4),
        "sources": sorted({_source(entry) for entry in entries}),
        "tier": _tier(entries),
        "recorded_s": [min(entry.at_s for entry in entries), max(entry.at_s for entry in entries)],
        "machine": sorted({entry.machine for entry in entries}),
        "note": "by harness record --live",
    }


def _serving(model: str, is_on_grid: bool) -> Serving:
    if model == Serving.TEXT_V2.model_id:
        return Serving.TEXT_V2_2024 if is_on_grid else Serving.TEXT_V2
    return next(serving for serving in _NAMES if serving.model_id == model)


def _tier(entries: Sequence[Entry]) -> str:
    """ "live" if Bedrock itself gave all of them; a test's server or a proxy is "elsewhere"."""
    is_bedrock = all(entry.host.endswith(_BEDROCK) for entry in entries)
    return "live" if is_bedrock else "elsewhere"


def _source(entry: Entry) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime(entry.at_s))
    return f"{entry.host}, {entry.region}, {day}, on machine {entry.machine}"


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
