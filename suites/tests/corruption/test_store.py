"""Damage on the disk: an error that names the place, or correct data; never a wrong vector."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from crc32c import crc32c

from fixtures.vectors import bfloat16, bfloat16_divided, gaussians, random_bits
from titanstore import (
    CorruptionError,
    EmbeddingStore,
    ErrorKind,
    NewerFormatError,
    NotFoundError,
    StoreConfig,
    StoreError,
)
from titanstore.cli import main
from titanstore.keys import stored_key
from titanstore.segments.layout import record_prefix_bytes

CONFIG = StoreConfig(durability="power_cut_may_lose_store", bloom=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A store with every codec, documents, digests, replaced records; and what it holds."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    rng = np.random.default_rng(5)
    wanted: dict[str, bytes] = {}
    with EmbeddingStore.open(folder, CONFIG) as store:
        for number, make in enumerate((bfloat16, bfloat16_divided, gaussians, random_bits)):
            vectors = make(rng, 3, 64)
            keys = [f"{make.__name__} {n}" for n in range(2)] + [f"{number:032x}"]
            store.put_many(keys, -vectors, f"doc {number % 2}")
            store.put_many(keys, vectors, f"doc {number % 2}")
            wanted |= {key: row.tobytes() for key, row in zip(keys, vectors, strict=True)}
    return folder, wanted


@pytest.fixture
def copy(tmp_path: Path, whole: tuple[Path, dict[str, bytes]]) -> Path:
    return Path(shutil.copytree(whole[0], tmp_path / "store"))


def read_all(folder: Path, wanted: dict[str, bytes], *, read_only: bool) -> tuple[int, int]:
    """How many keys read well and how many raised; a wrong vector fails."""
    good = bad = 0
    with EmbeddingStore.open(folder, CONFIG, read_only=read_only, create=False) as store:
        for key, value in wanted.items():
            try:
                row = store.get(key)
            except (CorruptionError, NewerFormatError, NotFoundError):
                bad += 1
            else:
                good += 1
                assert row.tobytes() == value, key
            with suppress(StoreError):
                assert store.get_many([key])[0].tobytes() == value
        assert store.wait_for_prefetch()
        for key, value in wanted.items():
            with suppress(StoreError):
                assert store.get(key).tobytes() == value
        report = store.check()
        assert report.is_clean or all(problem.place for problem in report.problems)
        assert bad == 0 or not report.is_clean
    return good, bad


def flip(path: Path, offset: int, bits: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def test_any_byte_of_a_segment(copy: Path, whole: tuple[Path, dict[str, bytes]]) -> None:
    """Headers of the segment, of records and of frames, keys, bodies, padding, dead records."""
    segment = copy / "segments" / "00001.seg"
    size = segment.stat().st_size
    rng = np.random.default_rng()
    refused = hurt = 0
    offsets = {*range(120), *rng.integers(0, size, 200).tolist()}
    for offset in sorted(offsets):
        bits = int(rng.integers(1, 256))
        flip(segment, offset, bits)
        try:
            try:
                _, bad = read_all(copy, whole[1], read_only=True)
                hurt += bool(bad)
            except (CorruptionError, NewerFormatError):
                refused += 1
        except AssertionError as error:
            raise AssertionError(f"offset {offset}, bits {bits:#x}") from error
        finally:
            flip(segment, offset, bits)
    assert hurt > 50
    assert read_all(copy, whole[1], read_only=False) == (len(whole[1]), 0)


def test_a_damaged_frame_names_its_key_and_can_be_written_again(
    copy: Path, whole: tuple[Path, dict[str, bytes]]
) -> None:
    key = "gaussians 1"
    with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
        record = store._cascade.cold.find_many([stored_key(key)])[0]
        assert record is not None
        end = record.end
    flip(copy / "segments" / "00001.seg", end - 3, 4)
    with EmbeddingStore.open(copy, CONFIG) as store:
        for asked in ([key], ["gaussians 0", key]):
            with pytest.raises(CorruptionError, match=f"'{key}'.*checksum") as caught:
                store.get_many(asked) if asked[1:] else store.get(key)
            assert caught.value.kind == "checksum-mismatch"
        # a sibling is prefetched over the damage, and the rest is served
        assert store.get("gaussians 0").tobytes() == whole[1]["gaussians 0"]
        assert store.wait_for_prefetch()
        (problem,) = store.check().problems
        assert problem.kind == "checksum-mismatch"
        assert f"'{key}'" in problem.place
        assert "segment 1, offset" in problem.place
        store.put(key, np.frombuffer(whole[1][key], np.float32))
        assert store.check().is_clean
    assert read_all(copy, whole[1], read_only=True) == (len(whole[1]), 0)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_shortened_segment(
    copy: Path, whole: tuple[Path, dict[str, bytes]], share: float, *, read_only: bool
) -> None:
    segment = copy / "segments" / "00001.seg"
    with segment.open("r+b") as file:
        file.truncate(int(segment.stat().st_size * share))
    if not read_only:
        with pytest.raises(CorruptionError, match="segment 1") as caught:
            EmbeddingStore.open(copy, CONFIG)
        assert caught.value.kind == "short-segment"
    else:
        good, bad = read_all(copy, whole[1], read_only=True)
        assert bad
        assert (good == 0) is (share == 0)


@pytest.mark.parametrize("read_only", [True, False])
def test_a_missing_segment(
    copy: Path, whole: tuple[Path, dict[str, bytes]], *, read_only: bool
) -> None:
    (copy / "segments" / "00001.seg").unlink()
    if not read_only:
        with pytest.raises(CorruptionError, match="segment 1 is missing") as caught:
            EmbeddingStore.open(copy, CONFIG)
        assert caught.value.kind == "missing-segment"
    else:
        assert read_all(copy, whole[1], read_only=True)[0] == 0
    assert not (copy / "segments" / "00001.seg").exists()


def test_a_segment_of_another_store(copy: Path, tmp_path: Path) -> None:
    with EmbeddingStore.open(tmp_path / "other", CONFIG) as other:
        other.put_many([f"k{n}" for n in range(50)], random_bits(np.random.default_rng(1), 50, 64))
    shutil.copy(tmp_path / "other" / "segments" / "00001.seg", copy / "segments" / "00001.seg")
    for read_only in (True, False):
        with pytest.raises(CorruptionError, match="belongs to another store"):  # noqa: SIM117
            with EmbeddingStore.open(copy, CONFIG, read_only=read_only) as store:
                store.get("gaussians 0")


HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "zeros": lambda data: bytes(len(data)),
    "not text": lambda data: b"\xff" + data,
    "a list": lambda _: b"[1]",
    "a number": lambda _: b"7",
    "no id": lambda _: b'{"format": 1}',
    "a short id": lambda _: b'{"format": 1, "store_id": "00"}',
    "no number": lambda data: data.replace(b"1,", b'"x",'),
    "infinite": lambda data: data.replace(b"1,", b"Infinity,"),
    "null": lambda data: data.replace(b"1,", b"null,"),
    "format 0": lambda data: data.replace(b": 1,", b": 0,"),
    "cut": lambda data: data[:-2],
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("read_only", [True, False])
def test_the_header_file(copy: Path, name: str, *, read_only: bool) -> None:
    header = copy / "STORE"
    header.write_bytes(HEADERS[name](header.read_bytes()))
    with pytest.raises(CorruptionError, match="STORE is damaged") as caught:
        EmbeddingStore.open(copy, CONFIG, read_only=read_only)
    assert caught.value.kind == "not-a-store"


def test_another_id_in_the_header_is_found_before_anything_is_written(copy: Path) -> None:
    header = copy / "STORE"
    header.write_text(f'{{"format": 1, "store_id": "{"0" * 32}"}}')
    before = _content(copy / "segments")
    with pytest.raises(CorruptionError, match="belongs to another store"):
        EmbeddingStore.open(copy, CONFIG)
    assert _content(copy / "segments") == before


def test_a_lost_header_is_not_made_anew_over_the_vectors(copy: Path) -> None:
    (copy / "STORE").rename(copy / "saved")
    (copy / "saved").rename(copy.parent / "saved")
    before = _content(copy)
    with pytest.raises(CorruptionError, match="STORE is missing") as caught:
        EmbeddingStore.open(copy, CONFIG)
    assert caught.value.kind == "not-a-store"
    assert _content(copy) == before
    (copy.parent / "saved").rename(copy / "STORE")
    with EmbeddingStore.open(copy, CONFIG) as store:
        assert store.check().is_clean


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("place", ["store", "segment", "frame"])
def test_a_newer_format(copy: Path, place: str) -> None:
    if place == "store":
        header = copy / "STORE"
        header.write_bytes(header.read_bytes().replace(b": 1,", b": 4,"))
    else:
        with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
            record = store._cascade.cold.find(stored_key("gaussians 0"))
            assert record is not None
            stored = len(record.frame) - record.header.dimension * record.header.has_codes
            at = record.end - stored if place == "frame" else 4
        segment = copy / "segments" / "00001.seg"
        flip(segment, at, 0x40 if place == "frame" else 4)
        if place == "frame":  # a later release writes a check that fits
            data = bytearray(segment.read_bytes())
            start = record.offset
            check = crc32c(bytes(data[start : start + 5] + data[start + 7 : at + 5])) & 0xFFFF
            data[start + 5 : start + 7] = check.to_bytes(2, "little")
            segment.write_bytes(data)
    before = _content(copy / "segments")
    with pytest.raises(NewerFormatError, match=r"version|format") as caught:  # noqa: SIM117
        with EmbeddingStore.open(copy, CONFIG, read_only=True) as store:
            store.get("gaussians 0")
    assert caught.value.kind == "newer-format"
    if place != "frame":
        with pytest.raises(NewerFormatError):
            EmbeddingStore.open(copy, CONFIG)
    assert _content(copy / "segments") == before


def test_a_wrong_length_leads_nobody_past_a_record(tmp_path: Path) -> None:
    """Codec, dimension and length of a frame: a document is walked by them, record by record."""
    vectors = np.random.default_rng(8).standard_normal((3, 64)).astype(np.float32)
    with EmbeddingStore.open(tmp_path, CONFIG) as store:
        store.put_many(["a", "b", "c"], vectors, document="d")
        record = store._cascade.cold.find(stored_key("a"))
        assert record is not None
        head = record.offset + record_prefix_bytes(record.key, has_row=True)
    segment = tmp_path / "segments" / "00001.seg"
    whole = segment.read_bytes()
    for bit in range(40):
        flip(segment, head + bit // 8, 1 << bit % 8)
        with EmbeddingStore.open(tmp_path, CONFIG) as store:
            with pytest.raises(CorruptionError) as caught:
                store.document_keys("d")
            assert caught.value.kind is ErrorKind.BAD_RECORD
            with pytest.raises(CorruptionError):
                store.update_document("d", [("a", vectors[0]), ("b", vectors[1])])
            assert "c" in store
        segment.write_bytes(whole)


@pytest.mark.parametrize("content", [None, b"", b"1234567"])
@pytest.mark.parametrize("read_only", [True, False])
def test_the_generation_counter(copy: Path, content: bytes | None, *, read_only: bool) -> None:
    file = copy / "GENERATION"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CorruptionError, match="GENERATION"):
        EmbeddingStore.open(copy, CONFIG, read_only=read_only)


def test_any_number_in_the_generation_counter_will_do(
    copy: Path, whole: tuple[Path, dict[str, bytes]]
) -> None:
    (copy / "GENERATION").write_bytes(b"\xff" * 8)
    assert read_all(copy, whole[1], read_only=False) == (len(whole[1]), 0)
    with EmbeddingStore.open(copy, CONFIG) as store:
        store.put("gaussians 0", np.ones(3, np.float32))
        assert store.get("gaussians 0").tolist() == [1, 1, 1]


def flip_both(data: Path, offset: int) -> None:
    for page in (0, 4096):
        flip(data, page + offset, 0x40)


CATALOGS: dict[str, Callable[[Path], object]] = {
    "empty file": lambda data: data.write_bytes(b""),
    "noise": lambda data: data.write_bytes(np.random.default_rng(1).bytes(50_000)),
    "magic of both meta pages": lambda data: flip_both(data, 16),
    "version of both meta pages": lambda data: flip_both(data, 20),
    "cut to its meta pages": lambda data: data.write_bytes(data.read_bytes()[:8192]),
    "gone": lambda data: data.unlink(),
}

_OPEN_AND_READ = """
import sys
from titanstore import EmbeddingStore, StoreError
try:
    with EmbeddingStore.open(sys.argv[1], read_only=sys.argv[2] == "r") as store:
        for key in ("gaussians 0", "gaussians 1"):
            try:
                store.get(key)
            except StoreError as error:
                print(error.kind)
        print("clean" if store.check().is_clean else "found")
except StoreError as error:
    print(error.kind)
"""


@pytest.mark.parametrize("name", CATALOGS)
@pytest.mark.parametrize("mode", ["r", "w"])
def test_the_catalog(copy: Path, name: str, mode: str) -> None:
    """In a process of its own: LMDB trusts its pages and may be killed by a bad one."""
    CATALOGS[name](copy / "catalog" / "data.mdb")
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_AND_READ, copy, mode],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 or done.returncode < 0, done.stderr
    assert "Traceback" not in done.stderr
    if name in ("noise", "magic of both meta pages"):
        assert done.stdout.split() == ["bad-catalog"]
    if name in ("empty file", "gone") and mode == "w":
        # with an empty catalog the segments would count as torn off by a crash
        assert done.stdout.split() == ["bad-catalog"]
        assert (copy / "segments" / "00001.seg").stat().st_size > 3_000
    if done.returncode == 0:
        assert "clean" not in done.stdout.split()


def test_the_command_line_says_so(copy: Path, whole: tuple[Path, dict[str, bytes]]) -> None:
    run = CliRunner().invoke
    assert run(main, ["check", str(copy)]).exit_code == 0
    segment = copy / "segments" / "00001.seg"
    flip(segment, segment.stat().st_size - 1, 1)
    shown = run(main, ["check", str(copy)])
    assert shown.exit_code == 1
    assert "checksum-mismatch: segment 1, offset" in shown.output
    assert "1 problem" in shown.output
    with segment.open("r+b") as file:
        file.truncate(500)
    assert run(main, ["check", str(copy)]).exit_code == 1
    shown = run(main, ["maintain", str(copy)])
    assert (shown.exit_code, "[short-segment]" in shown.output) == (1, True)
    (copy / "STORE").write_text("{}")
    for command in ("check", "info", "maintain"):
        shown = run(main, [command, str(copy)])
        assert (shown.exit_code, "[not-a-store]" in shown.output) == (1, True)
