"""Documents that the harness is given, as nobody sane would write them.

Targets, waivers, anchors, settings, traces, raw samples, and folders of recorded answers come from
other people; a reader of one raises what its contract says and nothing else.
"""

from __future__ import annotations

import datetime
import gzip
import json
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fixtures.titan.recorded import load_bodies, load_recorded
from harness.anchors import beside_anchor, beside_earlier, find_anchors, read_anchor
from harness.errors import EvidenceError, UsageError
from harness.measurement import Measurement, Process, read_measurement, write_measurement
from harness.reliability.mutations import mutated_binary, mutated_text
from harness.reliability.scenarios import rows
from harness.subjects.reference import ReferenceSubject, effective_config
from harness.targets import load_targets, targets_path
from harness.waivers import load_waivers
from harness.workload.editing import EditingSession, editing_session
from harness.workload.trace import load_trace, save_trace

__all__ = ["DOCUMENTS"]

Prepare = Callable[[Path], None]
Feed = Callable[[Path, Path, random.Random], str]


def _told(read: Callable[[], object], *allowed: type[Exception]) -> str:
    """How a reader ended: it took the document, or raised what it may."""
    try:
        read()
    except allowed as error:
        if not str(error):
            raise AssertionError("an error that says nothing") from error
        return f"refused: {type(error).__name__}"
    return "taken"


def _no_file(_: Path) -> None:
    """Nothing to be prepared."""


# -- targets, waivers, settings -------------------------------------------------------------------

_WAIVER = """
[[waiver]]
gate = "latency.disk"
reason = "the disk is slow"
owner = "release manager"
expires = 2027-01-31
commits = "0123456789..89abcdef01"
"""
_SETTINGS = """
[titanstore]
memory_bytes_max = 1300000
hot_bytes_max = 1240000
policy = "probation"
shared_pool = false
durability = "full"
dimension = 1024
segment_bytes_max = 268435456
search_index = "auto"
lance_index = "ivf_rq"
versions_max = 64
"""


def _feed_targets(_: Path, folder: Path, rng: random.Random) -> str:
    path = folder / "targets.toml"
    path.write_bytes(mutated_text(targets_path().read_text(encoding="utf-8"), rng))
    return _told(lambda: load_targets(path), UsageError)


def _feed_waivers(_: Path, folder: Path, rng: random.Random) -> str:
    path = folder / "waivers.toml"
    path.write_bytes(mutated_text(_WAIVER, rng))
    return _told(
        lambda: load_waivers(
            path,
            gates=["latency.disk"],
            commit="0" * 40,
            root=folder,
            today=datetime.date(2026, 11, 28),
        ),
        UsageError,
    )


def _feed_settings(_: Path, folder: Path, rng: random.Random) -> str:
    path = folder / "settings.toml"
    path.write_bytes(mutated_text(_SETTINGS, rng))
    return _told(lambda: effective_config(path), ReferenceSubject.errors)


# -- anchors --------------------------------------------------------------------------------------

_ROW = {
    "id": "latency.disk.p50",
    "metric": "time",
    "statistic": "p50",
    "unit": "s",
    "evidence": "emulated",
    "population": {"vectors": 20_000},
    "comparator": "<",
    "estimate": 3e-5,
    "low": 2.9e-5,
    "high": 3.1e-5,
}
_RUN = {
    "id": "a run",
    "profile": "ci",
    "commit": "c" * 40,
    "content_digest": "d" * 32,
    "config_digest": "e" * 16,
    "machine": {"id": "m"},
    "ended": "2026-11-28T00:00:00+00:00",
}
_ANCHOR = {
    "schema_version": 1,
    "label": "v0.1",
    "run": "a run",
    **{name: _RUN[name] for name in ("profile", "commit", "content_digest", "config_digest")},
    "machine": "m",
    "ended": _RUN["ended"],
    "rows": [_ROW],
}
_GATES = [{"rows": [{**_ROW, "blocking": True, "limit": 1e-4, "label": "p50"}]}]


def _feed_anchors(_: Path, folder: Path, rng: random.Random) -> str:
    """An anchor that is named, one that is found with its run, and what is put beside a run."""
    kept = folder / "anchors" / "v0.1-m"
    (kept / "run").mkdir(parents=True)
    documents = {
        kept / "anchor.json": _ANCHOR,
        kept / "run" / "manifest.json": _RUN,
        kept / "run" / "verdicts.json": {"gates": _GATES},
    }
    for path, content in documents.items():
        text = json.dumps(content)
        is_hostile = path.name == "anchor.json" or rng.random() < 0.3
        path.write_bytes(mutated_text(text, rng) if is_hostile else text.encode())

    def read() -> None:
        find_anchors(folder, "m")
        anchor = read_anchor(kept)
        shown = beside_anchor(anchor, _RUN, _GATES)
        json.dumps({**shown, **beside_earlier([anchor], _RUN, _GATES)}, allow_nan=False)

    return _told(read, UsageError)


# -- traces, samples ------------------------------------------------------------------------------


def _prepare_trace(base: Path) -> None:
    session = EditingSession(reads=60, documents=12)
    save_trace(editing_session(1, session), base / "trace.jsonl.gz")


def _prepare_samples(base: Path) -> None:
    write_measurement(
        base,
        Measurement(
            id="some",
            unit="s",
            evidence="emulated",
            population={"vectors": 5},
            commit="c" * 40,
            content_digest="d" * 32,
            config_digest="e" * 16,
            machine="m",
            started=1.0,
            ended=2.0,
            processes=[Process(values=[1e-6, 2e-6, float("nan")], block=2, facts={"pid": 7})],
        ),
    )


def _feed_zipped(name: str, read: Callable[[Path], object], *allowed: type[Exception]) -> Feed:
    """A gzip file: its text is changed, or itself, or it unfolds to far more than it is."""

    def feed(base: Path, folder: Path, rng: random.Random) -> str:
        packed = (base / name).read_bytes()
        path = folder / Path(name).name
        kind = rng.random()
        if kind < 0.6:
            text = gzip.decompress(packed).decode()
            path.write_bytes(gzip.compress(mutated_text(text, rng), 1))
        elif kind < 0.95:
            path.write_bytes(mutated_binary(packed, rng))
        else:
            part = gzip.compress(rng.choice((b"[", b"{", b" ", b"1")) * 2**20)
            path.write_bytes(part * 300)  # files of gzip may follow each other in one
        return _told(lambda: read(path), *allowed)

    return feed


# -- recorded answers -----------------------------------------------------------------------------


def _prepare_recorded(base: Path) -> None:
    vectors = rows(1, 20, 16)
    counts = np.arange(20, dtype=np.int32)
    np.savez_compressed(base / "v1_chunks.npz", vectors=vectors, token_count=counts)
    model = "amazon.titan-embed-text-v1"
    entry = {"file": "v1_chunks.npz", "model": model, "count": 20, "dimension": 16}
    entry |= {"sources": ["somewhere"], "note": ""}
    (base / "provenance.json").write_text(json.dumps([entry]))
    (base / "bodies").mkdir()
    body = b'{"embedding": [0.5, 0.25], "inputTextTokenCount": 3}'
    (base / "bodies" / "one.json").write_bytes(body)
    recorded: dict[str, object] = {
        "file": "one.json",
        "model": model,
        "request": {"inputText": "Hello"},
    }
    recorded |= {"body_bytes_as_sent": True, "content_length": [str(len(body))], "source": "s"}
    (base / "bodies" / "index.json").write_text(json.dumps([recorded]))


def _feed_recorded(base: Path, folder: Path, rng: random.Random) -> str:
    own = folder / "recorded"
    shutil.copytree(base, own)
    (folder / "v1_chunks.npz").write_bytes((base / "v1_chunks.npz").read_bytes())  # outside
    path = own / rng.choice(("provenance.json", "v1_chunks.npz", "bodies/index.json"))
    if path.suffix == ".json":
        path.write_bytes(mutated_text(path.read_text(), rng))
    elif rng.random() < 0.5:
        path.write_bytes(mutated_binary(path.read_bytes(), rng))
    else:
        _change_arrays(path, rng)

    def read() -> None:
        for group in load_recorded(own):
            if group.vectors.shape != (20, 16) or group.vectors.dtype != np.float32:
                raise AssertionError(f"vectors of {group.vectors.dtype} {group.vectors.shape}")
        load_bodies(own)

    return _told(read, ValueError, OSError)


def _change_arrays(path: Path, rng: random.Random) -> None:
    """Arrays whose heads say what their bytes do not bear out: of any length, type and order."""
    with zipfile.ZipFile(path) as archive:
        arrays = {name: archive.read(name) for name in archive.namelist()}
    shape = rng.choice(("(20, 16)", f"({10**12}, 16)", f"({2**31}, {2**31})", "(-1, 16)", "()"))
    kind = rng.choice(("<f4", "|O", "<f8", ">f4", "V4", "<U9", "|S1000000000", "m8[ns]", "junk"))
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    head = rng.choice((head, head, "__import__('os').abort()", "{" * 9_000, head[:-9]))
    padded = head.ljust(117) + "\n"
    name = rng.choice(sorted(arrays))
    start = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little")
    arrays[name] = start + padded.encode() + arrays[name][128:]
    if rng.random() < 0.3:
        arrays[name] = mutated_binary(arrays[name], rng)
    bombed = ""
    if rng.random() < 0.1:
        bombed = name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in arrays.items():
            with archive.open(name, "w") as file:
                file.write(content)
                for _ in range(300 if name == bombed else 0):
                    file.write(bytes(2**20))


DOCUMENTS: dict[str, tuple[Prepare, Feed]] = {
    "targets": (_no_file, _feed_targets),
    "waivers": (_no_file, _feed_waivers),
    "settings": (_no_file, _feed_settings),
    "anchors": (_no_file, _feed_anchors),
    "traces": (
        _prepare_trace,
        _feed_zipped("trace.jsonl.gz", load_trace, ValueError, OSError),
    ),
    "samples": (
        _prepare_samples,
        _feed_zipped("samples/some.json.gz", read_measurement, EvidenceError),
    ),
    "recorded": (_prepare_recorded, _feed_recorded),
}
