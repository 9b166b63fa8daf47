"""Risk: an operator is not told, or is told what a caller stored."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from titanstore import EmbeddingStore, ErrorKind, NotFoundError, StoreConfig
from titanstore.cli import main
from titanstore.events import FIELDS, Event, JsonFormatter, logger, store_name
from titanstore.exporter.watcher import Watcher

CONFIG = StoreConfig(
    durability="power_cut_may_lose_store",
    prefetch=False,
    hot_bytes_max=0,
    search_index="lance",
)
ROWS = np.random.default_rng(3).normal(size=(8, 64)).astype(np.float32)
KEYS = [f"secret {number}" for number in range(8)]
PAGE = Path(__file__).parents[4] / "docs" / "operations" / "monitor.md"


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, "titanstore"):
        yield caplog


def events(told: pytest.LogCaptureFixture) -> list[str]:
    return [record.event for record in told.records if hasattr(record, "event")]


def lines(told: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [json.loads(JsonFormatter().format(record)) for record in told.records]


def flip(folder: Path) -> None:
    (segment,) = (folder / "segments").glob("*.seg")
    content = bytearray(segment.read_bytes())
    content[-30] ^= 0xFF
    segment.write_bytes(content)


def test_a_day_of_a_store_is_told_without_a_word_of_what_is_in_it(
    tmp_path: Path, told: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "s"
    with EmbeddingStore.open(folder, CONFIG) as store:
        store.put_many(KEYS, ROWS, "secret document")
        for _ in range(3):
            store.search(ROWS[0], k=1)  # no table yet: told once
        first = store.snapshot("secret label")
        store.put_many(KEYS, -ROWS, "secret document")
        store.put_many(KEYS, ROWS, "secret document")
        store.rollback(first)
        store.maintain()
    with (folder / "segments" / "00002.seg").open("wb") as torn:
        torn.write(b"torn")
    (folder / "segments" / "00002.seg").rename(folder / "segments" / "00009.seg")
    newest = sorted((folder / "segments").glob("*.seg"))[-2]
    with newest.open("ab") as file:
        file.write(b"torn")
    (folder / "segments" / "00009.seg").unlink()
    with EmbeddingStore.open(folder, CONFIG) as store:
        store_id = store._folder.store_id
    found = events(told)
    wanted = ["opened", "lance-unavailable", "rolled-back", "maintained", "recovered", "opened"]
    assert found == wanted
    assert {line["store"] for line in lines(told) if line["event"] != "lance-unavailable"} == {
        store_name(store_id)
    }
    assert "secret" not in json.dumps(lines(told))


def test_damage_and_its_repair_are_told(tmp_path: Path, told: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "s"
    with EmbeddingStore.open(folder, CONFIG) as store:
        store.put("secret", ROWS[0])
        store.snapshot()
        store.put("secret", ROWS[1])
        store.put("secret", ROWS[0])
    flip(folder)
    with EmbeddingStore.open(folder, CONFIG) as store:
        assert not store.check().is_clean
        assert store.check(repair=True).is_clean
    damage, repaired = (
        line for line in lines(told) if line["event"] in {"damage-found", "repaired"}
    )
    assert (damage["level"], damage["kind"], damage["count"]) == ("error", "checksum-mismatch", 1)
    assert (repaired["level"], repaired["count"]) == ("warning", 1)
    assert "secret" not in json.dumps(lines(told))


def test_an_exporter_tells_when_readiness_changes(
    tmp_path: Path, told: pytest.LogCaptureFixture
) -> None:
    EmbeddingStore.open(tmp_path / "s", CONFIG).close()
    watcher = Watcher(tmp_path / "s", free_bytes_min=0, check_s=0)
    watcher.look()
    (tmp_path / "s").rename(tmp_path / "away")
    watcher._looked_s = float("-inf")
    watcher.look()
    watcher.close()
    assert [name for name in events(told) if "ready" in name] == ["ready", "not-ready"]


def test_an_exception_is_told_by_type_and_kind_only() -> None:
    try:
        raise NotFoundError("no vector for 'secret'", ErrorKind.UNKNOWN_KEY)
    except NotFoundError:
        record = logger.makeRecord("x", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    line = JsonFormatter().format(record)
    told = json.loads(line)
    assert (told["error"], told["kind"]) == ("NotFoundError", "unknown-key")
    assert "secret" not in line
    assert "\n" not in line


def test_the_page_has_every_event() -> None:
    part = PAGE.read_text(encoding="utf-8").split("\n## Logs\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row)} == set(Event)
    assert all(f"`{field}`" in part for field in FIELDS)


def test_a_program_without_logging_hears_nothing() -> None:
    code = "from titanstore.events import Event, tell; tell(40, Event.REPAIRED, 'told')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b""


def test_the_command_line_leaves_no_handler_behind(tmp_path: Path) -> None:
    before = list(logger.handlers)
    level = logger.level
    EmbeddingStore.open(tmp_path / "s", CONFIG).close()
    done = CliRunner().invoke(main, ["--log-format", "json", "maintain", str(tmp_path / "s")])
    assert done.exit_code == 0
    told = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert told == ["opened", "maintained"]
    assert logger.handlers == before
    assert logger.level == level
