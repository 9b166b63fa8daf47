"""Risk: figures that are wrong, that say more than they may, or a store that waits for a scrape."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families

from suites.tests.concurrency.test_processes import Turns, exit_of, fork
from suites.tests.operations.serving import Exporter, exporter, watched
from titanstore import EmbeddingStore, StoreConfig
from titanstore.cli import main
from titanstore.exporter.collector import StoreCollector
from titanstore.exporter.families import FAMILIES
from titanstore.exporter.readiness import Readiness
from titanstore.exporter.watcher import Watcher

FAST = StoreConfig(durability="power_cut_may_lose_store", prefetch=False)
ROWS = np.random.default_rng(1).normal(size=(20, 64)).astype(np.float32)
KEYS = [f"secret key {number}" for number in range(20)]


def filled(path: Path) -> Path:
    with EmbeddingStore.open(path, FAST) as store:
        store.put_many(KEYS, ROWS, "secret document")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return filled(tmp_path / "s")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of `served`: all tests of the module may read and add to it."""
    return filled(tmp_path_factory.mktemp("shared") / "s")


@pytest.fixture(scope="module")
def served(shared: Path) -> Iterator[Exporter]:
    with exporter(shared, "--check-hours", "0", "--free-mib", "0") as found:
        yield found


def damage(folder: Path) -> None:
    segment = folder / "segments" / "00001.seg"
    content = bytearray(segment.read_bytes())
    for place in range(64, len(content)):
        content[place] ^= 0xFF
    segment.write_bytes(content)


# ---------------------------------------------------------------- what is served


def test_everything_of_the_catalogue_and_nothing_else(shared: Path, served: Exporter) -> None:
    with EmbeddingStore.open(shared, FAST) as store:
        store.get(KEYS[0])
        store.search(ROWS[0], k=1)
        served.until("titanstore_searches_total", 1)
        body = served.get("/metrics").body
    families = {found.name: found for found in text_string_to_metric_families(body)}
    told = {name.removesuffix("_total"): family for name, family in FAMILIES.items()}
    never = {"titanstore_lance_rows_behind", "titanstore_check_timestamp_seconds"}
    assert families.keys() == told.keys() - never
    for name, found in families.items():
        assert (found.type, found.documentation) == (str(told[name].type), told[name].meaning)
    for family in families.values():
        for sample in family.samples:
            wanted = {"store", *told[family.name].labels}
            assert sample.labels.keys() - {"le"} == wanted
    assert "secret" not in body


def test_openmetrics_is_spoken_where_it_is_asked_for(served: Exporter) -> None:
    answer = served.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.kind.startswith("application/openmetrics-text; version=1.0.0")
    families = list(parse_open(answer.body))  # type: ignore[no-untyped-call]
    assert "titanstore_hot_hits" in {family.name for family in families}


def test_counters_of_several_processes_add_up_and_outlive_them(folder: Path) -> None:
    code = """
import sys
from titanstore import EmbeddingStore
store = EmbeddingStore.open(sys.argv[1], read_only=True)
row = store.get(sys.argv[2])
for _ in range(5):
    store.search(row, k=1)
print("done", flush=True)
sys.stdin.read()
"""
    with watched(folder) as seen:
        assert seen.values()["titanstore_searches_total",] == 0
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(folder), KEYS[0]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline()
        assert seen.until("titanstore_searches_total", 10) == 10
        values = seen.values()
        assert values["titanstore_processes", "reader"] == 2
        assert values["titanstore_latency_seconds_count", "search"] == 10
        readers[0].kill()  # its file stays until somebody finds that it is dead
        for reader in readers:
            reader.communicate()
        time.sleep(1.1)  # until a scrape looks again
        values = seen.values()
        assert values["titanstore_processes", "reader"] == 0
        assert values["titanstore_searches_total",] == 10
        assert values["titanstore_latency_seconds_bucket", "+Inf", "search"] == 10


def test_a_forked_child_does_not_count_its_parents_work_again(folder: Path) -> None:
    with watched(folder) as seen:
        store = EmbeddingStore.open(folder, FAST)
        store.put_many([f"more {number}" for number in range(7)], ROWS[:7])
        seen.until("titanstore_written_total", 7)
        turns = Turns()

        def child() -> None:
            turns.become_child()
            store.get_many(KEYS[:3])
            store.search(ROWS[0], k=1)  # publishes
            turns.tell_parent()
            turns.wait_for_parent()

        pid = fork(child)
        turns.become_parent()
        turns.wait_for_child()
        seen.until("titanstore_searches_total", 1)
        values = seen.values()
        turns.tell_child()
        assert exit_of(pid) == 0
        turns.close()
        store.close()
    assert values["titanstore_processes", "reader"] + values["titanstore_processes", "writer"] == 2
    assert values["titanstore_written_total",] == 7
    reads = [values[f"titanstore_{tier}_hits_total",] for tier in ("hot", "warm", "cold")]
    assert sum(reads) == 3


def test_a_store_that_went_is_down_and_comes_back(folder: Path) -> None:
    with watched(folder) as seen:
        folder.rename(folder.with_name("away"))
        values = seen.values()
        assert values["titanstore_up",] == 0
        assert ("titanstore_vectors",) not in values
        assert ("titanstore_written_total",) in values
        assert seen.ready().store == "no-store"
        assert not seen.ready().is_ready
        folder.with_name("away").rename(folder)
        seen.until("titanstore_up", 1)
        assert seen.ready() == Readiness(store="ok", damage="ok", disk="ok")


def test_another_store_in_its_place_is_not_told_under_its_label(folder: Path) -> None:
    with watched(folder) as seen:
        folder.rename(folder.with_name("away"))
        with EmbeddingStore.open(folder, FAST) as store:
            store.put("only", np.ones(3, np.float32))
        values = seen.values()
        assert (values["titanstore_up",], values["titanstore_ready",]) == (0, 0)
        assert ("titanstore_vectors",) not in values
        assert seen.ready().store == "another-store"


def test_damage_that_a_scrape_meets_is_known_until_it_is_mended(folder: Path) -> None:
    whole = (folder / "segments" / "00001.seg").read_bytes()
    with watched(folder) as seen:
        damage(folder)
        seen.until("titanstore_damaged_places", 1)
        assert not seen.ready().is_ready
        assert "secret" not in str(seen.ready())
        (folder / "segments" / "00001.seg").write_bytes(whole)
        seen.until("titanstore_ready", 1)


def test_a_whole_check_finds_what_a_scrape_may_miss(folder: Path) -> None:
    damage(folder)
    with watched(folder, check_s=3600) as seen:
        assert seen.until("titanstore_damaged_places", 20) >= 20
        assert seen.values()["titanstore_check_timestamp_seconds",] > 1e9
        assert not seen.ready().is_ready
        assert "secret" not in str(seen.ready())


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("exit 3", "exit status 3"),
        ("kill -BUS $$", "killed by signal 7"),
        ('echo \'{"kinds": {}, "failure": "io-failed"}\'', "io-failed"),
    ],
)
def test_a_check_that_cannot_be_done_is_not_a_clean_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, end: str, words: str
) -> None:
    python = folder.with_name("python")
    python.write_text(f"#!/bin/sh\n{end}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with watched(folder, check_s=3600) as seen:
        while seen.ready().damage == "ok":
            time.sleep(0.1)
        assert seen.ready().damage == f"the check came to no end: {words}"
        assert ("titanstore_check_timestamp_seconds",) not in seen.values()


def test_a_full_disk_is_not_ready(folder: Path) -> None:
    with watched(folder, free_bytes_min=2**60) as seen:
        assert "bytes free" in seen.ready().disk
        assert seen.values()["titanstore_ready",] == 0


# ---------------------------------------------------------------- no harm done


def test_scrapes_at_once_are_one_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    watcher = Watcher(folder, free_bytes_min=0, check_s=0)
    real = watcher._look

    def look(begun: float) -> object:
        looks.append(begun)
        return real(begun)

    monkeypatch.setattr(watcher, "_look", look)
    threads = [threading.Thread(target=watcher.look) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watcher.close()
    assert len(looks) < 10


def answers(served: Exporter) -> bool:
    """Whoever is refused may see the end of the connection before what was said."""
    with contextlib.suppress(ConnectionError, urllib.error.URLError):
        return served.get("/healthz").status == 200
    return False


def test_clients_that_say_nothing_do_not_shut_out_others(served: Exporter) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(10)]
    assert served.get("/healthz").status == 200
    idle += [socket.create_connection((host, int(port))) for _ in range(10)]
    for one in idle[16:]:  # beyond the bound: refused at once, not kept waiting
        one.settimeout(30)
        assert one.recv(100).startswith(b"HTTP/1.0 503")
    for one in idle:
        one.close()
    while not answers(served):
        time.sleep(0.01)


def test_other_routes_and_methods(served: Exporter) -> None:
    assert served.get("/else").status == 404
    assert served.get("/metrics?name=x").status == 200
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"POST /metrics HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 501")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(b"HEAD /healthz HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.0 200")
        assert answer.endswith(b"\r\n\r\n")


def test_it_listens_on_loopback_only_unless_told_otherwise(served: Exporter) -> None:
    assert served.url.startswith("http://127.0.0.1:")


def test_a_writer_works_beside_it_and_nothing_is_written_into_the_folder(folder: Path) -> None:
    def content() -> dict[str, bytes]:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        # LMDB's table of readers is made for readers to write to
        return {str(path): path.read_bytes() for path in files if path.name != "lock.mdb"}

    before = content()
    with watched(folder) as seen:
        seen.values()
        assert content() == before
        with EmbeddingStore.open(folder, FAST) as store:
            store.put("another", ROWS[0])
            seen.until("titanstore_vectors", 21)


# ---------------------------------------------------------------- wrong use


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["serve-metrics", *map(str, words)])


def test_a_port_in_use(folder: Path) -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run(folder, "--port", taken.getsockname()[1])
    assert ended.exit_code == 2
    assert "Address already in use" in ended.output
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("hours", ["nan", "inf", "1e300", "-1"])
def test_hours_that_no_thread_can_wait_are_wrong_use(folder: Path, hours: str) -> None:
    ended = run(folder, "--port", "0", "--check-hours", hours)
    assert (ended.exit_code, "--check-hours" in ended.output) == (2, True)


def test_a_host_that_is_none_of_ours(folder: Path) -> None:
    ended = run(folder, "--host", "192.0.2.1", "--port", "0")
    assert ended.exit_code == 2
    assert "cannot listen at 192.0.2.1" in ended.output


def test_no_store_and_no_header(tmp_path: Path, folder: Path) -> None:
    ended = run(tmp_path / "nothing")
    assert (ended.exit_code, "[no-store]" in ended.output) == (2, True)
    (folder / "STORE").write_bytes(b"?")
    ended = run(folder)
    assert (ended.exit_code, "[not-a-store]" in ended.output) == (1, True)


def test_without_the_library_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "titanstore.exporter.server", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    ended = run(folder)
    assert ended.exit_code == 2
    assert "pip install 'titanstore[metrics]'" in ended.output


def test_it_ends_at_sigterm_with_a_check_under_way(folder: Path) -> None:
    with exporter(folder, "--free-mib", "0") as served:
        assert served.get("/healthz").status == 200
        served.process.terminate()
        assert served.process.wait(60) == 0


# ---------------------------------------------------------------- in a program's own registry


def test_a_collector_of_an_open_store(folder: Path) -> None:
    registry = CollectorRegistry()
    store = EmbeddingStore.open(folder, FAST)
    registry.register(StoreCollector(store, folder))
    store.get_many(KEYS)
    store.put("new", ROWS[0])
    text = generate_latest(registry).decode()
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["titanstore_written_total"] == 1
    assert values["titanstore_vectors"] == 21
    assert values["titanstore_up"] == 1
    assert "secret" not in text
    store.close()
    assert "titanstore_up{store=" in generate_latest(registry).decode()
    assert "titanstore_vectors" not in generate_latest(registry).decode()
