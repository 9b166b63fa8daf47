"""Risk: a range or choice that is told is not the one that is enforced."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from titanstore import InvalidInputError, StoreConfig
from titanstore.settings.known import SETTINGS, Setting

NUMBERS = [setting for setting in SETTINGS if not setting.choices]


def with_(setting: Setting, value: object) -> StoreConfig:
    given: dict[str, Any] = {setting.name: value}
    return StoreConfig(**given)


def test_all_settings_are_told_in_their_order() -> None:
    assert [setting.name for setting in SETTINGS] == [field.name for field in fields(StoreConfig)]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_what_is_told_is_taken(setting: Setting) -> None:
    default = getattr(StoreConfig(), setting.name)
    for value in setting.choices:
        assert getattr(with_(setting, value), setting.name) == value
    if setting.choices:
        assert default in setting.choices
    if setting.off is not None:
        assert getattr(with_(setting, setting.off), setting.name) == setting.off
    assert setting.tells.endswith(".")
    assert setting.costs.endswith(".")


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_the_ends_of_a_range_are_taken_and_nothing_beyond(setting: Setting) -> None:
    assert getattr(with_(setting, setting.low), setting.name) == setting.low
    with pytest.raises(InvalidInputError):
        with_(setting, setting.low - 1)
    if setting.high is None:
        assert getattr(with_(setting, 2**60), setting.name) == 2**60
        return
    assert getattr(with_(setting, setting.high), setting.name) == setting.high
    with pytest.raises(InvalidInputError):
        with_(setting, setting.high + 1)
