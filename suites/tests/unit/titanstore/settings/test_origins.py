"""Risk: the page says another value, source or line than the one that a store gets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from titanstore import InvalidInputError, load_config
from titanstore.config import FALLBACK, from_text
from titanstore.settings.origins import Explained, explain


def origins(explained: Explained) -> dict[str, str]:
    """Those that are not defaults, by setting."""
    return {
        each.setting.name: str(each.origin)
        for each in explained.in_force
        if each.origin.kind != "default"
    }


def test_each_source_is_named(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text('# hot_bytes_max\n\nhot_bytes_max = 1\npolicy = "lru"\nbloom = true\n')
    explained = explain(
        file=file,
        environment={"TITANSTORE_BLOOM": "no", "HOME": "/"},
        arguments={"publish": "false"},
    )
    assert origins(explained) == {
        "hot_bytes_max": f"file {file}:3",
        "policy": f"file {file}:4",
        "bloom": "variable TITANSTORE_BLOOM",
        "publish": "argument publish=false",
    }
    values = {each.setting.name: each.value for each in explained.in_force}
    assert explained.config is not None
    assert values == asdict(explained.config)
    assert (values["bloom"], values["publish"], values["hot_bytes_max"]) == (False, False, 1)


LINES: dict[str, tuple[str, int | None]] = {
    "first": ("versions_max = 3", 1),
    "after others": ('policy = "lru"\n\nversions_max = 3', 3),
    "in a table": ("[other]\nversions_max = 9\n[titanstore]\nversions_max = 3", 4),
    "dotted": ("x = 1\ntitanstore.versions_max = 3", 2),
    "inline": ("titanstore = { versions_max = 3 }", 1),
    "quoted": ('"versions_max" = 3', 1),
    "in a comment before": ("# versions_max = 1\nversions_max = 3 # versions_max", 2),
    "in a text before": ('[o]\nx = """\nversions_max = 1\n"""\n[titanstore]\nversions_max = 3', 6),
    "escaped": ('"versions\\u005fmax" = 3', None),
    "other ends of lines": ('policy = "lru"\r\nversions_max = 3\r\n', 2),
}


@pytest.mark.parametrize("where", LINES)
def test_the_line_of_a_setting(where: str, tmp_path: Path) -> None:
    text, line = LINES[where]
    file = tmp_path / "store.toml"
    file.write_text(text, newline="")
    explained = explain(file=file, environment={})
    assert explained.config is not None
    assert explained.config.versions_max == 3
    place = f"{file}:{line}" if line else str(file)
    assert origins(explained)["versions_max"] == f"file {place}"


def test_a_value_over_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text('search = true\npolicy = """\nlru\n"""\n')
    (trouble,) = explain(file=file, environment={}).troubles
    assert trouble.place == f"{file}:2"


def test_fallback_is_named_where_it_took_over() -> None:
    explained = explain(environment={"TITANSTORE_FALLBACK": "yes", "TITANSTORE_HOT_BYTES_MAX": "5"})
    by_name = {each.setting.name: each for each in explained.in_force}
    assert str(by_name["hot_bytes_max"].origin) == "fallback TITANSTORE_FALLBACK"
    assert (by_name["hot_bytes_max"].value, by_name["hot_bytes_max"].given) == (0, 5)
    assert by_name["bloom"].origin.kind == "default"  # it was off anyway
    assert str(by_name["fallback"].origin) == "variable TITANSTORE_FALLBACK"
    assert {name for name, each in by_name.items() if each.origin.kind == "fallback"} < set(
        FALLBACK
    )


def test_everything_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text('[titanstore]\nhot_bytes = 1\npolicy = "fifo"\n[titanstore.deep]\nx = 1\n')
    environment = {"TITANSTORE_COLOUR": "red", "TITANSTORE_DIMENSION": "many"}
    explained = explain(file=file, environment=environment, arguments={"x": "1", "bloom": "maybe"})
    told = [str(trouble) for trouble in explained.troubles]
    assert told[0] == (
        f"{file}:2: there is no setting 'hot_bytes'. Did you mean hot_bytes_max? Else delete the "
        "line."
    )
    assert told[1].startswith(f"{file}:4: there is no setting 'deep'. ")
    assert told[2] == "TITANSTORE_COLOUR: there is no setting 'colour'. Please unset it."
    assert told[3] == (
        "TITANSTORE_DIMENSION: dimension cannot be 'many'. "
        "It may be: 1 to 16383, or nothing (values)."
    )
    assert told[4] == "x=1: there is no setting 'x'. Please leave it out."
    assert told[5] == "bloom=maybe: bloom cannot be 'maybe'. It may be: true, false."
    assert told[6] == (f'{file}:3: policy cannot be \'fifo\'. It may be: "probation", "lru".')
    assert len(told) == 7
    assert (explained.config, explained.in_force) == (None, ())


@pytest.mark.parametrize("content", [b"hot = ", b"\xff\xfe\x00", b"titanstore = 3", None])
def test_a_file_that_cannot_be_used(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    if content is not None:
        file.write_bytes(content)
    (trouble,) = explain(file=file, environment={}).troubles
    assert trouble.place == str(file)
    assert trouble.message
    assert trouble.advice


def test_what_is_probably_not_meant(tmp_path: Path) -> None:
    file = tmp_path / "store.toml"
    file.write_text("bloom = true\n[titanstore]\nhot_bytes_max = 2000000\n")
    environment = {"TITANSTORE_ROLLOUT_PERCENT": "12.5", "TITANSTORE_SHADOW": "no"}
    told = "\n".join(explain(file=file, environment=environment).remarks)
    assert "bloom stands outside of [titanstore] and is not read" in told
    assert "hot_bytes_max: at most memory_bytes_max, 1300000 bytes" in told
    assert "0 bytes when it is full" in told
    assert "87.5 % of the keys" in told
    assert not explain(environment={"TITANSTORE_WARM_BYTES_MAX": "1"}).remarks


SOURCES: list[tuple[str | None, dict[str, str], dict[str, str]]] = [
    (None, {}, {}),
    ("", {"TITANSTORE_SEARCH": "No"}, {"search": "1"}),
    ("hot_bytes_max = -1", {"TITANSTORE_HOT_BYTES_MAX": "5"}, {}),  # what is on top is good
    ("hot_bytes_max = -1", {}, {}),
    ("hot_bytes_max = 1.5", {}, {"hot_bytes_max": "3"}),
    ("search = 1", {"TITANSTORE_SEARCH": "maybe"}, {"search": "true"}),  # no text of that type
    ("bloom = true\n[titanstore]\nbloom = false", {}, {}),
    ("[titanstore]\nx = 1", {}, {}),
    ("", {"TITANSTORE_": "1"}, {}),
    ("", {"TITANSTORE_hot_bytes_max": "7"}, {}),
    ("fallback = true", {"TITANSTORE_FALLBACK": "0"}, {}),
    ("", {"TITANSTORE_FALLBACK": "0"}, {"fallback": "true", "compression": "true"}),
    ("rollout_percent = 33", {"TITANSTORE_ROLLOUT_PERCENT": "1e2"}, {}),
    ("", {"TITANSTORE_ROLLOUT_PERCENT": "101"}, {}),
    ("dimension = 3\nfoo = ", {}, {}),
]


@pytest.mark.parametrize(("text", "environment", "arguments"), SOURCES)
def test_it_is_what_a_store_gets(
    text: str | None, environment: dict[str, str], arguments: dict[str, str], tmp_path: Path
) -> None:
    file = None
    if text is not None:
        file = tmp_path / "store.toml"
        file.write_text(text)
    explained = explain(file=file, environment=environment, arguments=arguments)
    try:
        given = {name: from_text(name, value) for name, value in arguments.items()}
        wanted = load_config(file=file, environment=environment, **given)
    except InvalidInputError:
        assert explained.troubles
        assert explained.config is None
    else:
        assert explained.config == wanted
        assert not explained.troubles
