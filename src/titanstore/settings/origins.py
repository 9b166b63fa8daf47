"""Where each setting came from, and everything that keeps a configuration from being used."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from titanstore.config import StoreConfig, from_text, read_file, read_variables
from titanstore.errors import InvalidInputError
from titanstore.settings.known import SETTINGS, Setting, written

OriginKind = Literal["default", "file", "variable", "argument", "fallback"]
_KNOWN = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value came from.

    Attributes
    ----------
    place
        "store.toml:3", "TITANSTORE_POLICY", "policy=lru"; of a fallback, the place that switched it
        on; "" of a default.
    """

    kind: OriginKind
    place: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.place}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """One setting as a store would have it.

    Attributes
    ----------
    given
        What it would be without the setting `fallback`.
    """

    setting: Setting
    value: object
    origin: Origin
    given: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One reason for which no store is opened with this configuration, and what to do."""

    place: str
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}. {self.advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A configuration, told.

    Attributes
    ----------
    config
        What `load_config` gives; None where there are troubles.
    in_force
        All settings in the order of `StoreConfig`; empty where there are troubles.
    remarks
        What is allowed, and probably not meant.
    """

    config: StoreConfig | None
    in_force: tuple[InForce, ...]
    troubles: tuple[Trouble, ...]
    remarks: tuple[str, ...]


class _Sources:
    """Values by name, the later source on top, and what was wrong on the way."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.origins: dict[str, Origin] = {}
        self.troubles: list[Trouble] = []
        self.remarks: list[str] = []

    def read(
        self, file: Path | None, environment: Mapping[str, str] | None, arguments: Mapping[str, str]
    ) -> None:
        if file is not None:
            self._read_file(file)
        for name, (variable, text) in read_variables(environment).items():
            self._add_text(name, text, Origin(kind="variable", place=variable), "unset it")
        for name, text in arguments.items():
            self._add_text(
                name, text, Origin(kind="argument", place=f"{name}={text}"), "leave it out"
            )

    def _read_file(self, file: Path) -> None:
        try:
            table = read_file(file)
            text = file.read_text(encoding="utf-8")
        except (InvalidInputError, OSError, ValueError) as error:
            message = str(error).removeprefix(f"{file}: ")
            advice = "Correct it, or name another file."
            self.troubles.append(Trouble(place=str(file), message=message, advice=advice))
            return
        document = tomllib.loads(text)
        for name, value in table.items():
            line = _line_of(text, name, in_table="titanstore" in document)
            place = f"{file}:{line}" if line else str(file)
            self._add(name, value, Origin(kind="file", place=place), "delete the line")
        if "titanstore" in document:
            beside = sorted(_KNOWN.keys() & document.keys())
            self.remarks += [
                f"{file}: {name} stands outside of [titanstore] and is not read" for name in beside
            ]

    def _add_text(self, name: str, text: str, origin: Origin, way_out: str) -> None:
        try:
            self._add(name, from_text(name, text), origin, way_out)
        except InvalidInputError:
            self._refuse(name, text, origin)

    def _add(self, name: str, value: object, origin: Origin, way_out: str) -> None:
        if name not in _KNOWN:
            near = get_close_matches(name.lower(), _KNOWN, 1)
            advice = f"Did you mean {near[0]}? Else {way_out}." if near else f"Please {way_out}."
            message = f"there is no setting {name!r}"
            self.troubles.append(Trouble(place=origin.place, message=message, advice=advice))
            return
        self.values[name] = value
        self.origins[name] = origin

    def check(self) -> None:
        """Each value for itself, so that all of the wrong ones are named."""
        for name, value in self.values.items():
            one: dict[str, Any] = {name: value}
            try:
                StoreConfig(**one)
            except InvalidInputError:
                self._refuse(name, value, self.origins[name])

    def _refuse(self, name: str, value: object, origin: Origin) -> None:
        setting = _KNOWN[name]
        unit = f" ({setting.unit})" if setting.unit else ""
        self.troubles.append(
            Trouble(
                place=origin.place,
                message=f"{name} cannot be {value!r}",
                advice=f"It may be: {setting.range}{unit}.",
            )
        )


def explain(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, str] | None = None,
) -> Explained:
    """What `load_config` makes of the same sources, and why.

    Parameters
    ----------
    file, environment
        As `load_config`.
    arguments
        Values by name, written as in a variable.

    Returns
    -------
    Explained
        It has troubles exactly where `load_config` raises. Never raises itself.
    """
    sources = _Sources()
    sources.read(file, environment, arguments or {})
    sources.check()
    if sources.troubles:
        return Explained(
            config=None,
            in_force=(),
            troubles=tuple(sources.troubles),
            remarks=tuple(sources.remarks),
        )
    values: dict[str, Any] = sources.values
    config = StoreConfig(**values)
    given = StoreConfig(**{**values, "fallback": False})
    in_force = tuple(_in_force(setting, config, given, sources.origins) for setting in SETTINGS)
    remarks = (*sources.remarks, *_remarks(config))
    return Explained(config=config, in_force=in_force, troubles=(), remarks=remarks)


def _in_force(
    setting: Setting, config: StoreConfig, given: StoreConfig, origins: Mapping[str, Origin]
) -> InForce:
    name = setting.name
    value = getattr(config, name)
    wanted = value if name == "fallback" else getattr(given, name)
    origin = origins.get(name, Origin(kind="default"))
    if value != wanted:
        origin = Origin(kind="fallback", place=origins["fallback"].place)
    return InForce(setting=setting, value=value, origin=origin, given=wanted)


def _remarks(config: StoreConfig) -> list[str]:
    total = config.memory_bytes_max
    remarks = []
    if config.hot_bytes_max > total:
        remarks.append(f"hot_bytes_max: at most memory_bytes_max, {total} bytes, is used")
    left = total - min(config.hot_bytes_max, total)
    if config.warm_bytes_max > left:
        remarks.append(
            f"warm_bytes_max: at most what the hot tier leaves of memory_bytes_max is used, {left} "
            f"bytes when it is full and {total} when it is empty"
        )
    if config.rollout_percent < 100 and not config.shadow:
        share = written(100 - config.rollout_percent)
        remarks.append(f"shadow is off: {share} % of the keys pass a client's store by, unseen")
    if config.durability != "full":
        remarks.append("durability: a power cut may leave a store that cannot be opened")
    return remarks


def _line_of(text: str, name: str, *, in_table: bool) -> int | None:
    """Number of the line on which a TOML text sets a name; None where nobody can tell.

    It is the one with the name on it up to which the text, or a little more of it where a value
    goes over several lines, is TOML that has the name.
    """
    lines = text.splitlines()
    candidate = None
    for number, line in enumerate(lines, 1):
        if name in line:
            candidate = number
        if candidate is None:
            continue
        try:
            document = tomllib.loads("\n".join(lines[:number]))
        except ValueError:
            continue  # in the middle of a value
        if name in (document.get("titanstore", {}) if in_table else document):
            return candidate
        candidate = None
    return None
