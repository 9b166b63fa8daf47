"""Texts to embed, and whether the rows of a job's inputs are all in its table."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from suites.tests.scale.children import ROWS, vectors_of
from titanstore.scale import LocalRunner, Location, SharedTable, verify

V2 = "amazon.titan-embed-text-v2:0"


def is_whole(place: Location) -> bool:
    """Are the rows of the inputs in the table, each once and bit for bit?"""
    found = {row.key: row.vector() for row in SharedTable.open(place).rows()}
    wanted = vectors_of(ROWS)
    assert sorted(found) == sorted(f"key {number}" for number in range(ROWS))
    rows = np.stack([found[f"key {number}"] for number in range(ROWS)])
    assert np.array_equal(rows.view(np.uint32), wanted.view(np.uint32))
    report = verify(place, LocalRunner())
    return report.is_clean and report.rows == ROWS


def write_texts(folder: Path) -> list[str]:
    """JSON lines, plain and compressed, and files that are a text each; some texts are twice."""
    texts = [f"def f{number}(): return {number}" for number in range(12)]
    folder.mkdir()
    lines = [json.dumps({"text": text, "document": "a.py"}) for text in texts[:6]]
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n\n")
    with gzip.open(folder / "b.jsonl.gz", "wt") as file:
        file.write("\n".join(json.dumps({"text": text}) for text in texts[4:9]))
    for number in (9, 10, 11):
        (folder / f"{number}.txt").write_text(texts[number])
    return texts
