"""Frames and segments that any release has written must read back bit for bit."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import titanstore
from fixtures.formats import write_v1
from titanstore.codec.choose import CODECS, decode_frame, decode_frames
from titanstore.codec.frame import parse_header
from titanstore.segments.layout import (
    SEGMENT_HEADER_BYTES,
    check_segment_header,
    parse_record,
    records,
    skip_padding,
)

FRAMES = sorted(write_v1.FOLDER.glob("*.frame"))


def expected_words(frame_path: Path) -> NDArray[np.uint32]:
    digits = frame_path.with_suffix(".hex").read_text().split()
    return np.array([int(word, 16) for word in digits], dtype=np.uint32)


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.stem)
def test_golden_frame_decodes_to_its_words(path: Path) -> None:
    frame = path.read_bytes()
    words = expected_words(path)
    header = parse_header(frame)
    assert header.dimension == words.size
    assert header.frame_bytes == len(frame)
    assert path.stem.startswith(CODECS[header.codec_id].name)
    assert np.array_equal(decode_frame(frame).view(np.uint32), words)
    many = np.empty((3, words.size), dtype=np.float32)
    decode_frames([frame] * 3, many)
    assert (many.view(np.uint32) == words).all()


def test_every_codec_has_a_golden_frame() -> None:
    seen = {parse_header(path.read_bytes()).codec_id for path in FRAMES}
    assert seen == set(CODECS)


def test_expected_words_are_the_documented_inputs() -> None:
    """The .hex files were not made from what the decoder says."""
    for codec_id, case, vector in write_v1.cases():
        path = write_v1.FOLDER / f"{CODECS[codec_id].name}-{case}.frame"
        assert np.array_equal(expected_words(path), vector.view(np.uint32)), path.name


def test_golden_segment_reads_record_by_record() -> None:
    view = memoryview((write_v1.FOLDER / "00001.seg").read_bytes())
    listed = json.loads((write_v1.FOLDER / "00001.json").read_text())
    check_segment_header(view, write_v1.SEGMENT_NUMBER, write_v1.STORE_ID)
    walked = list(records(view, SEGMENT_HEADER_BYTES, len(view)))
    assert len(walked) == len(listed) == len(FRAMES)
    for record, wanted in zip(walked, listed, strict=True):
        path = write_v1.FOLDER / f"{wanted['frame']}.frame"
        assert record.offset == wanted["offset"]
        assert record.key.text == wanted["key"]
        assert record.document == wanted["document"]
        assert record.frame == path.read_bytes()
        assert parse_record(view, wanted["offset"], len(view)) == record
    assert walked[-1].end == len(view)
    padding = [after.offset - before.end for before, after in pairwise(walked)]
    assert max(padding) > 0, "the golden segment should hold padding"
    assert [skip_padding(view, record.end, len(view)) for record in walked[:-1]] == [
        record.offset for record in walked[1:]
    ]


def test_writer_of_golden_files_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(write_v1, "FOLDER", tmp_path)
    (tmp_path / "raw-noise.frame").write_bytes(b"what an earlier release wrote")
    write_v1.main()
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert first["raw-noise.frame"] == b"what an earlier release wrote"
    assert set(first) == {path.name for path in (write_v1.FOLDER).iterdir()}
    capsys.readouterr()
    write_v1.main()
    assert "wrote" not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_format_page_lists_the_codecs_that_exist() -> None:
    page = (Path(titanstore.__path__[0]) / "FORMAT.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([a-z][a-z0-9-]{2,}) \|", page, flags=re.MULTILINE)
    assert {int(number): name for number, name in rows} == {
        number: codec.name for number, codec in CODECS.items()
    }
