"""Which version a caller means: by number, tag, label, or a `Version` itself."""

from __future__ import annotations

import difflib

from titanstore.catalog.views import CatalogView
from titanstore.errors import ErrorKind, InvalidInputError, NotFoundError
from titanstore.keys import stored_key
from titanstore.types import Version

VersionName = int | str | Version
_SHOWN = 3


def checked_name(name: object, what: str) -> str:
    """A label or tag: text with the limits of a key. Raises InvalidInputError."""
    if not isinstance(name, str):
        raise InvalidInputError(
            f"a {what} is a str, got {type(name).__name__}", ErrorKind.KEY_NOT_TEXT
        )
    try:
        stored_key(name)
    except InvalidInputError as error:
        raise InvalidInputError(f"{what}: {error}", error.kind) from error
    return name


def kept_versions(view: CatalogView) -> list[Version]:
    """All versions that can be asked for, oldest first."""
    return [stored.version for stored in view.history.versions() if not stored.is_dropped]


def find_version(view: CatalogView, wanted: VersionName) -> Version:
    """The version that a caller means.

    A text is a tag, else a label (the newest version that has it), else a number in decimals.

    Raises
    ------
    NotFoundError
        VERSION_GONE: retention took it. UNKNOWN_VERSION: there never was one.
    InvalidInputError
        KEY_NOT_TEXT: neither a number nor a text.
    """
    if isinstance(wanted, Version):
        wanted = wanted.number
    if isinstance(wanted, str):
        versions = kept_versions(view)
        for named in ([v for v in versions if wanted in v.tags], _labelled(versions, wanted)):
            if named:
                return named[-1]
        if not (wanted.isascii() and wanted.isdecimal()):
            raise NotFoundError(
                f"no version has the tag or label {wanted!r}; {_names_like(wanted, versions)}",
                ErrorKind.UNKNOWN_VERSION,
            )
        wanted = int(wanted)
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        raise InvalidInputError(
            f"a version is a number, a tag or a label, got {type(wanted).__name__}",
            ErrorKind.KEY_NOT_TEXT,
        )
    return _numbered(view, wanted)


def _labelled(versions: list[Version], label: str) -> list[Version]:
    return [version for version in versions if version.label == label]


def _numbered(view: CatalogView, number: int) -> Version:
    is_given = 0 < number < view.next_version()
    stored = view.history.version(number) if is_given else None
    if stored is not None and not stored.is_dropped:
        return stored.version
    numbers = [version.number for version in kept_versions(view)]
    if is_given:
        there = f"the oldest still there is {numbers[0]}" if numbers else "none is left"
        raise NotFoundError(
            f"version {number} was given up by retention; {there}", ErrorKind.VERSION_GONE
        )
    nearest = sorted(sorted(numbers, key=lambda other: abs(other - number))[:_SHOWN])
    there = f"nearest are {', '.join(map(str, nearest))}" if nearest else "there is none yet"
    raise NotFoundError(f"no version {number}; {there}", ErrorKind.UNKNOWN_VERSION)


def _names_like(wanted: str, versions: list[Version]) -> str:
    names = {tag for version in versions for tag in version.tags}
    names |= {version.label for version in versions if version.label is not None}
    found = difflib.get_close_matches(wanted, names, _SHOWN, 0.0)
    if found:
        return f"nearest are {', '.join(map(repr, found))}"
    if versions:
        return f"none has a name, the newest is {versions[-1].number}"
    return "there is no version yet"
