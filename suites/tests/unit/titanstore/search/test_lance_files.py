"""Seals: LanceDB reads no file that is not what was written, because a damaged one may kill us."""

from __future__ import annotations

from pathlib import Path

import pytest

from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_files import Seal, check_files, seal_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.lance").write_bytes(b"abc" * 700_000)
    (tmp_path / "b.manifest").write_bytes(b"")
    (tmp_path / "hint.json").write_bytes(b"{}")
    return tmp_path


def test_every_file_but_hints_is_sealed_and_checks_out(folder: Path) -> None:
    seals = seal_files(folder, {})
    assert seals.keys() == {"data/a.lance", "b.manifest"}
    checked: set[str] = set()
    check_files(folder, seals, checked)
    assert checked == seals.keys()


@pytest.mark.parametrize("place", [0, 1_048_575, 1_048_576, 2_099_999])
def test_one_changed_bit_is_noticed(folder: Path, place: int) -> None:
    seals = seal_files(folder, {})
    path = folder / "data" / "a.lance"
    body = bytearray(path.read_bytes())
    body[place] ^= 4
    path.write_bytes(body)
    with pytest.raises(LanceUnavailableError, match=r"a\.lance is not what was written"):
        check_files(folder, seals, set())
    check_files(folder, seals, {"data/a.lance"})


@pytest.mark.parametrize("body", [b"", b"abc" * 699_999, b"abc" * 700_001])
def test_another_length_is_noticed(folder: Path, body: bytes) -> None:
    seals = seal_files(folder, {})
    (folder / "data" / "a.lance").write_bytes(body)
    with pytest.raises(LanceUnavailableError):
        check_files(folder, seals, set())


def test_what_was_pruned_is_passed_over_and_what_is_known_not_read_again(folder: Path) -> None:
    seals = seal_files(folder, {"b.manifest": Seal(7, 7)})
    assert seals["b.manifest"] == Seal(7, 7)
    (folder / "data" / "a.lance").unlink()
    with pytest.raises(LanceUnavailableError, match=r"b\.manifest"):
        check_files(folder, seals, set())
    check_files(folder, {"data/a.lance": seals["data/a.lance"]}, set())
    assert seal_files(folder, seals).keys() == {"b.manifest"}
