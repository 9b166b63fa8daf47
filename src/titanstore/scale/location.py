"""Where a shared table lies, and what is raised when it cannot be reached.

Credentials are no part of it: the object store's client finds them itself, in AWS_ACCESS_KEY_ID
and AWS_SECRET_ACCESS_KEY or in the role of the machine. So nothing here can print or keep them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from titanstore.errors import (
    CorruptionError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    StorageError,
    StoreError,
)
from titanstore.search.lance_errors import LanceUnavailableError

_SCHEMES = ("s3",)
_PANIC = "PanicException"  # Lance's core on bytes that it never wrote; no Exception of Python's


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a shared table lies.

    Attributes
    ----------
    uri
        `s3://bucket/path`, or a folder; the folder's path is made absolute.
    endpoint
        URL of an S3 other than Amazon's, e.g. `http://127.0.0.1:5000`.
    region
        None: AWS_REGION, or what the client finds.

    Raises
    ------
    InvalidInputError
        BAD_SETTING: another scheme, or an address with credentials or a query in it.
    """

    uri: str
    endpoint: str | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        if "://" not in self.uri:
            if not self.uri:
                raise _bad("a table needs a place")
            object.__setattr__(self, "uri", str(Path(self.uri).absolute()))
        elif _split(self.uri).scheme not in _SCHEMES:
            raise _bad("a table lies in a folder or at s3://bucket/path")
        for address in (self.uri, self.endpoint):
            if address is None or "://" not in address:
                continue
            parts = _split(address)
            if "@" in parts.netloc or parts.query or parts.fragment:
                raise _bad("an address holds no credentials and no query: set AWS_ACCESS_KEY_ID")
        if self.endpoint is not None and _split(self.endpoint).scheme not in ("http", "https"):
            raise _bad("an endpoint begins with http:// or https://")

    @property
    def is_local(self) -> bool:
        """Is it a folder of this machine, or of a file system that is mounted?"""
        return "://" not in self.uri

    def options(self) -> dict[str, str]:
        """What Lance's object store is told."""
        if self.is_local:
            return {}
        found = {}
        if self.region is not None:
            found["aws_region"] = self.region
        if self.endpoint is not None:
            found["aws_endpoint"] = self.endpoint
            found["aws_virtual_hosted_style_request"] = "false"
            if self.endpoint.startswith("http://"):
                found["allow_http"] = "true"
        return found

    def beside(self, name: str) -> Location:
        """A place next to the table, of the same object store."""
        uri = f"{self.uri.rstrip('/')}.{name}"
        return Location(uri=uri, endpoint=self.endpoint, region=self.region)


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError as error:  # brackets that are no IPv6 address; a secret may be in it
        raise _bad("that is no address") from error


def _bad(message: str) -> InvalidInputError:
    return InvalidInputError(message, ErrorKind.BAD_SETTING)


def lance() -> Any:
    """The package lance; raises InvalidInputError (MISSING_PACKAGE) where it is not installed."""
    try:
        import lance as found
        import lance.commit
        import lance.file
        import lance.fragment
    except ImportError as error:
        raise InvalidInputError(
            f"{error}: pip install 'titanstore[shared]'", ErrorKind.MISSING_PACKAGE
        ) from error
    return found


@contextmanager
def reaching(location: Location) -> Iterator[None]:
    """What Lance and the object store raise, as errors of ours.

    Raises
    ------
    NotFoundError
        NO_STORE: there is no table.
    CorruptionError
        BAD_INDEX: a file is not what was written.
    StorageError
        IO_FAILED: whatever else; the message has Lance's words, without its source lines.
    """
    try:
        yield
    except StoreError:
        raise
    except LanceUnavailableError as error:
        raise damaged(location, error.reason) from error
    except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
        said = _first_words(error)
        if "was not found" in said and "Dataset at path" in said:
            raise NotFoundError(f"no table at {location.uri}", ErrorKind.NO_STORE) from error
        if "NoSuchBucket" in str(error):
            said = "there is no such bucket"
        elif _is_damage(said):
            raise damaged(location, said) from error
        raise StorageError(f"{location.uri}: {said}", ErrorKind.IO_FAILED) from error
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise damaged(location, _first_words(error)) from error


def damaged(location: Location, reason: str) -> CorruptionError:
    """The error of a table that is not what was written."""
    return CorruptionError(f"{location.uri}: {reason}", ErrorKind.BAD_INDEX)


def _is_damage(said: str) -> bool:
    """Do these words speak of bytes, not of reaching them?"""
    lowered = said.lower()
    if "generic s3" in lowered or "object at location" in lowered:
        return "not found" in lowered
    return not lowered.startswith(("lanceerror(io)", "io error"))


def _first_words(error: Any) -> str:
    """An error's first line, up to the place in Lance's source that follows."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(", /")[0][:400]
