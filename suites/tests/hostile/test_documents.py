"""Risk: a document from elsewhere ends a command by another exception, or fills the memory.

Each of these did once. The rest is found by chance: test_inputs.py.
"""

from __future__ import annotations

import datetime
import gzip
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fixtures.titan.recorded import load_bodies, load_recorded
from harness.anchors import check_anchor, read_anchor
from harness.errors import EvidenceError, UsageError
from harness.evidence import read_json
from harness.measurement import read_measurement
from harness.reliability.hostile_documents import _ANCHOR, _ROW
from harness.report.model import read_report
from harness.targets import load_targets, targets_path
from harness.waivers import load_waivers
from titanstore import CorruptionError, EmbeddingStore, InvalidInputError, load_config

DEEP = "[" * 100_000
TODAY = datetime.date(2027, 1, 31)  # the waiver's last one
WAIVER = """[[waiver]]
gate = "latency.disk"
reason = "slow"
owner = "release manager"
expires = 2027-01-31
commits = {commits}
"""


def waivers(path: Path) -> object:
    return load_waivers(
        path, gates=["latency.disk"], commit="c" * 40, root=path.parent, today=TODAY
    )


READERS: dict[str, tuple[str, Callable[[Path], object], type[Exception]]] = {
    "targets": ("t.toml", load_targets, UsageError),
    "waivers": ("w.toml", waivers, UsageError),
    "settings": ("s.toml", lambda path: load_config(file=path), InvalidInputError),
    "anchor": ("anchor.json", read_anchor, UsageError),
    "evidence": ("manifest.json", read_json, EvidenceError),
    "verdicts": ("verdicts.json", lambda path: read_report(path.parent), ValueError),
    "recorded": ("provenance.json", lambda path: load_recorded(path.parent), ValueError),
    "store": (
        "STORE",
        lambda path: EmbeddingStore.open(path.parent, read_only=True),
        CorruptionError,
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_document_as_deep_as_no_parser_goes(tmp_path: Path, name: str) -> None:
    file, read, error = READERS[name]
    (tmp_path / file).write_text(f"x = {DEEP}" if file.endswith(".toml") else DEEP)
    with pytest.raises(error):
        read(tmp_path / file)


@pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400, "nan", "inf"])
def test_a_limit_that_no_float_holds(tmp_path: Path, number: str) -> None:
    text = targets_path().read_text(encoding="utf-8")
    changed = text.replace("confidence = 0.95", f"confidence = {number}", 1)
    assert changed != text
    path = tmp_path / "targets.toml"
    path.write_text(changed, encoding="utf-8")
    with pytest.raises(UsageError):
        load_targets(path)


@pytest.mark.parametrize("number", [10**400, float("nan"), float("inf")])
def test_an_anchor_of_no_finite_value(number: float) -> None:
    assert check_anchor(_ANCHOR) == ""
    for name in ("estimate", "low", "high"):
        assert name in check_anchor({**_ANCHOR, "rows": [{**_ROW, name: number}]})


def test_a_sample_that_no_float_holds(tmp_path: Path) -> None:
    process = {"control": False, "values": [10**400], "block": 1, "instruments": {}, "facts": {}}
    content = {"schema_version": 1, "processes": [process], "beside": [], "bound": None}
    path = tmp_path / "some.json.gz"
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(EvidenceError):
        read_measurement(path)


@pytest.mark.parametrize("commits", ['"a\\u0000..b"', '"--output=x..b"', '"..\\u0000"'])
def test_commits_that_git_must_not_be_given(tmp_path: Path, commits: str) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(WAIVER.format(commits=commits))
    assert [waiver.state for waiver in waivers(path)] == ["other commits"]  # type: ignore[attr-defined]


# -- recorded answers -----------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    folder = tmp_path / "recorded"
    (folder / "bodies").mkdir(parents=True)
    vectors = np.ones((20, 16), np.float32)
    counts = np.arange(20, dtype=np.int32)
    np.savez_compressed(folder / "v1_chunks.npz", vectors=vectors, token_count=counts)
    note(folder)
    return folder


def note(folder: Path, **changed: object) -> None:
    entry = {"file": "v1_chunks.npz", "model": "m", "count": 20, "dimension": 16, "sources": []}
    (folder / "provenance.json").write_text(json.dumps([{**entry, **changed}]))


def repack(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        arrays = {one: archive.read(one) for one in archive.namelist()}
    arrays[name] = content
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for one, each in arrays.items():
            archive.writestr(one, each)


def refused_in_little_memory(folder: Path) -> str:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as caught:
            load_recorded(folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    return str(caught.value)


def test_a_recorded_set_is_read_as_numpy_reads_it(recorded: Path) -> None:
    (found,) = load_recorded(recorded)
    assert (found.vectors == 1).all()
    assert found.vectors.shape == (20, 16)
    assert found.token_count.tolist() == list(range(20))


@pytest.mark.parametrize(
    "name",
    [
        "../v1_chunks.npz",
        "/etc/hostname",
        "",
        ".",
        "..",
        "a/../../v1_chunks.npz",
        "a//b",
        "a\0b",
        "\ud800",
        7,
        None,
        [],
    ],
)
def test_no_file_outside_the_folder_is_read(recorded: Path, tmp_path: Path, name: object) -> None:
    (tmp_path / "v1_chunks.npz").write_bytes((recorded / "v1_chunks.npz").read_bytes())
    note(recorded, file=name)
    with pytest.raises(ValueError, match="no name of a file"):
        load_recorded(recorded)
    body = {"file": name, "content_length": ["1"], "model": "m", "request": {}}
    (recorded / "bodies" / "index.json").write_text(json.dumps([body]))
    with pytest.raises(ValueError, match="no name of a file"):
        load_bodies(recorded)


@pytest.mark.parametrize("missing", ["file", "model", "count", "dimension", "sources"])
def test_an_entry_that_says_too_little(recorded: Path, missing: str) -> None:
    entry = json.loads((recorded / "provenance.json").read_text())[0]
    entry.pop(missing)
    (recorded / "provenance.json").write_text(json.dumps([entry, 7]))
    with pytest.raises(ValueError, match=missing):
        load_recorded(recorded)


def head(kind: str, shape: str) -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "start",
    [
        head("<f4", f"({10**12}, 16)"),
        head("<f4", "(-1, 16)"),
        head("|O", "(20, 16)"),
        head("|S1000000000", "(20, 16)"),
        head(">f4", "(20, 16)"),
        b"\x93NUMPY\x03\x00" + (2**32 - 1).to_bytes(4, "little"),
        b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65_535,
        b"",
    ],
)
def test_an_array_whose_head_promises_too_much(recorded: Path, start: bytes) -> None:
    repack(recorded / "v1_chunks.npz", "vectors.npy", start + bytes(20 * 16 * 4))
    refused_in_little_memory(recorded)


def test_a_bomb_is_not_unfolded(recorded: Path) -> None:
    content = head("<f4", "(20, 16)") + bytes(20 * 16 * 4) + bytes(60_000_000)
    repack(recorded / "v1_chunks.npz", "vectors.npy", content)
    assert (recorded / "v1_chunks.npz").stat().st_size < 1_000_000
    refused_in_little_memory(recorded)


def test_a_provenance_that_promises_too_much(recorded: Path) -> None:
    note(recorded, count=10**12)
    refused_in_little_memory(recorded)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04N.", b"\x93NUMPY"])
def test_what_is_no_archive(recorded: Path, content: bytes) -> None:
    (recorded / "v1_chunks.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"v1_chunks\.npz"):
        load_recorded(recorded)
