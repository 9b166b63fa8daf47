"""STATE of a Lance table: whole or refused, never half believed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from crc32c import crc32c

from titanstore.search.lance_errors import LanceUnavailableError
from titanstore.search.lance_files import Seal
from titanstore.search.lance_schema import Norms
from titanstore.search.lance_state import (
    STATE_FILE,
    Content,
    State,
    file_time_ns,
    read_state,
    state_stamp,
    sync_tree,
    write_state,
)

CONTENT = Content(
    version=3, watermark=2**63, rows=5, digest=2**64 - 1, index="IVF_RQ", norms=Norms(8.5, 22.25)
)
STATE = State(
    table="vectors",
    dimension=8,
    values="float32",
    content=CONTENT,
    files={"data/x.lance": Seal(2**40, 2**32 - 1)},
)


@pytest.mark.parametrize("durable", [True, False])
def test_a_state_comes_back(tmp_path: Path, *, durable: bool) -> None:
    for content in (CONTENT, Content(version=1, watermark=0, rows=0, digest=0)):
        state = STATE.with_content(content)
        write_state(tmp_path, state, durable=durable)
        assert read_state(tmp_path) == state


def test_another_format_is_refused(tmp_path: Path) -> None:
    write_state(tmp_path, STATE, durable=False)
    body, _, _ = (tmp_path / STATE_FILE).read_bytes().partition(b"\n")
    other = json.dumps(json.loads(body) | {"format": 1}).encode()
    (tmp_path / STATE_FILE).write_bytes(other + b"\n" + str(crc32c(other)).encode())
    with pytest.raises(LanceUnavailableError, match="of another release"):
        read_state(tmp_path)


def test_none_is_told_from_damaged(tmp_path: Path) -> None:
    with pytest.raises(LanceUnavailableError, match="no table yet"):
        read_state(tmp_path)
    assert state_stamp(tmp_path) == (0, 0)


def test_any_changed_byte_is_noticed(tmp_path: Path) -> None:
    write_state(tmp_path, STATE, durable=False)
    path = tmp_path / STATE_FILE
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(LanceUnavailableError):
            read_state(tmp_path)
        path.write_bytes(whole[:place])
        with pytest.raises(LanceUnavailableError):
            read_state(tmp_path)


def test_the_stamp_changes_with_every_write(tmp_path: Path) -> None:
    stamps = set()
    for version in range(20):
        content = Content(version=version, watermark=0, rows=0, digest=0)
        write_state(tmp_path, STATE.with_content(content), durable=False)
        stamps.add(state_stamp(tmp_path))
    assert len(stamps) == 20


def test_only_new_files_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").touch()
    for path in (tmp_path / "old" / "file", tmp_path / "old", tmp_path):
        os.utime(path, (1, 1))
    since = file_time_ns()
    synced: list[Path] = []
    monkeypatch.setattr("titanstore.search.lance_state._sync", synced.append)
    sync_tree(tmp_path, since)
    assert synced == []
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").touch()
    sync_tree(tmp_path, since)
    assert set(synced) == {tmp_path, tmp_path / "new", tmp_path / "new" / "file"}
