"""Settings: defaults < file < environment < arguments; anything else is refused."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields
from pathlib import Path
from typing import Any

import pytest

from titanstore import InvalidInputError, StoreConfig, load_config
from titanstore.config import FALLBACK

BAD: dict[str, list[object]] = {
    "memory_bytes_max": [-1, 1.5, "1", None, True],
    "hot_bytes_max": [-1, 2.0, "big"],
    "warm_bytes_max": [-1, [], b"1"],
    "policy": ["fifo", "", None, ["probation"], "PROBATION"],
    "shared_pool": [1, "auto", None],
    "prefetch": [1, "yes", None],
    "compression": [0, "no"],
    "bloom": ["true", None],
    "refuse_non_finite": [2],
    "durability": ["none", None, True],
    "segment_reads": ["", "read", None, 1],
    "dimension": [0, -1, 16_384, "384", 1.5, True],
    "versions_max": [-1, 1.5, "64", None, True],
    "search": [1, "on"],
    "publish": [1, "yes", None],
    "rollout_percent": [-0.5, -1, 100.1, 101, "50", None, True, float("nan"), float("inf")],
    "shadow": [1, "on", None],
    "fallback": [1, "yes", None],
    "result_cache_entries": [-1, "3", 1.0, True],
    "search_index": ["", "hnsw", None, True],
    "lance_vectors_min": [-1, "100", None],
    "lance_index": ["ivf", "IVF_RQ", None],
    "lance_cache_bytes": [-1, 0.5, None],
    "segment_bytes_max": [0, 2**20 - 1, 2**32, "1048576", 2e6, True],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_bad_values(name: str, value: object) -> None:
    given: dict[str, Any] = {name: value}
    with pytest.raises(InvalidInputError, match=f"setting {name}: ") as caught:
        StoreConfig(**given)
    assert caught.value.kind == "bad-setting"
    with pytest.raises(InvalidInputError, match=f"setting {name}: "):
        load_config(environment={}, **given)


def test_every_setting_has_bad_values_here() -> None:
    assert BAD.keys() == {field.name for field in fields(StoreConfig)}


def test_the_order_of_sources(tmp_path: Path) -> None:
    file = tmp_path / "titanstore.toml"
    file.write_text('hot_bytes_max = 1\nwarm_bytes_max = 2\npolicy = "lru"\nbloom = true\n')
    environment = {"TITANSTORE_WARM_BYTES_MAX": "3", "TITANSTORE_BLOOM": "No", "HOME": "/"}
    config = load_config(file=file, environment=environment, policy="probation")
    assert (config.hot_bytes_max, config.warm_bytes_max) == (1, 3)
    assert (config.policy, config.bloom) == ("probation", False)
    assert config.memory_bytes_max == StoreConfig().memory_bytes_max


def test_a_table_in_a_shared_file(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[other]\nhot = 3\n[titanstore]\ndimension = 384\n")
    assert load_config(file=file, environment={}).dimension == 384


def test_the_real_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITANSTORE_DIMENSION", "1024")
    assert load_config().dimension == 1024


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hot = ", "Invalid value"),
        ("hot_bytes = 3", "unknown settings: hot_bytes; known are memory_bytes_max"),
        ("titanstore = 3", "setting titanstore: 3, wanted a table"),
        ("dimension = '384'", "setting dimension: '384'"),
        ("hot_bytes_max = 1.0", "setting hot_bytes_max: 1.0"),
        ("[titanstore]\n[titanstore.deep]\nx = 1", "unknown settings: deep"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, shown: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(InvalidInputError, match=shown) as caught:
        load_config(file=file, environment={})
    assert caught.value.kind == "bad-setting"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "absent", tmp_path, tmp_path / "noise"):
        with pytest.raises(InvalidInputError, match=str(file)):
            load_config(file=file, environment={})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("HOT_BYTES_MAX", "2 MB"),
        ("HOT_BYTES_MAX", ""),
        ("DIMENSION", "none"),
        ("PREFETCH", "maybe"),
        ("ROLLOUT_PERCENT", "5 %"),
        ("ROLLOUT_PERCENT", "nan"),
        ("FALLBACK", ""),
        ("POLICY", "LRU"),
        ("COLOUR", "red"),
    ],
)
def test_bad_variables(name: str, text: str) -> None:
    with pytest.raises(InvalidInputError, match=name.lower()):
        load_config(environment={f"TITANSTORE_{name}": text})


def test_settings_are_frozen_and_by_keyword_only() -> None:
    with pytest.raises(FrozenInstanceError):
        StoreConfig().policy = "lru"  # type: ignore[misc]
    with pytest.raises(TypeError):
        StoreConfig(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        StoreConfig(unknown=1)  # type: ignore[call-arg]


def test_the_defaults_keep_the_promise_of_memory() -> None:
    config = StoreConfig()
    assert config.memory_bytes_max < 2_500_000
    assert config.hot_bytes_max <= 2_000_000
    assert config.warm_bytes_max <= 5_000_000
    assert config.durability == "full"
    assert config.dimension is None


def test_fallback_is_stronger_than_any_other_source(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text("hot_bytes_max = 700000\nbloom = true\n")
    environment = {"TITANSTORE_FALLBACK": "1", "TITANSTORE_SEGMENT_READS": "mmap"}
    config = load_config(file=file, environment=environment, compression=True, policy="lru")
    assert {name: getattr(config, name) for name in FALLBACK} == dict(FALLBACK)
    kept = {field.name for field in fields(StoreConfig)} - FALLBACK.keys() - {"fallback", "policy"}
    assert all(getattr(config, name) == getattr(StoreConfig(), name) for name in kept)
    assert config.policy == "lru"
    assert StoreConfig(**asdict(config)) == config


def test_a_share_may_be_a_fraction() -> None:
    for text, value in (("0.5", 0.5), ("0", 0), ("100", 100), ("25.0", 25)):
        environment = {"TITANSTORE_ROLLOUT_PERCENT": text}
        assert load_config(environment=environment).rollout_percent == value
