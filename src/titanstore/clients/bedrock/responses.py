"""Responses of `invoke_model`: taken apart when Bedrock sends one, and put together again."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Mapping
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError
from botocore.response import StreamingBody
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

# Headers that are kept with their values; those below are made anew; others are not answered
_KEPT: Final = {"content-type", "connection", "server"}
_DATE, _LENGTH, _REQUEST = "date", "content-length", "x-amzn-requestid"
_LATENCY, _TOKENS = "x-amzn-bedrock-invocation-latency", "x-amzn-bedrock-input-token-count"
_MADE: Final = {_DATE, _LENGTH, _REQUEST, _LATENCY, _TOKENS}
_HTTP_OK = 200
_STREAM_ERRORS = (BotoCoreError, HTTPError, OSError)


class Envelope(NamedTuple):
    """What a response carries beside its body, without what differs from call to call."""

    content_type: str
    has_request_id: bool
    headers: tuple[tuple[str, str | None], ...]  # in order; None: made anew
    others: tuple[tuple[str, str], ...]  # further fields of the response

    def to_bytes(self) -> bytes:
        """JSON, an array in the order of the fields."""
        return json.dumps(list(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Envelope:
        """Inverse of `to_bytes`; raises ValueError or TypeError for anything else."""
        try:
            content_type, has_request_id, headers, others = json.loads(data)
        except RecursionError as error:
            raise ValueError(str(error)) from error
        for name, value in headers:
            if not isinstance(value, str) and (value is not None or name.lower() not in _MADE):
                raise ValueError(f"a header {name!r} of {value!r}")
        return cls(
            str(content_type),
            bool(has_request_id),
            tuple((str(name), value) for name, value in headers),
            tuple((str(name), str(value)) for name, value in others),
        )


class Sent(NamedTuple):
    """A response of Bedrock whose body was read: as many callers as wait for it get it."""

    fields: Mapping[str, Any]  # of the response; `body` is in its place, and used up
    body: bytes
    content_length: object
    error: Exception | None  # what reading the body raised

    def response(self) -> Any:
        """The response with a body of its own; one that could not be read raises when read."""
        raw = _Broken(self.error) if self.error else _stream(self.body, {})
        body = StreamingBody(raw, None if self.error else self.content_length)
        return {
            name: body if name == "body" else copy.deepcopy(value)
            for name, value in self.fields.items()
        }

    def envelope(self) -> Envelope | None:
        """None for a response that is not an ordinary, whole one; it is not to be kept."""
        metadata = self.fields.get("ResponseMetadata")
        if self.error or not isinstance(metadata, dict):
            return None
        if metadata.get("HTTPStatusCode") != _HTTP_OK or "contentType" not in self.fields:
            return None
        others = {
            name: value
            for name, value in self.fields.items()
            if name not in ("ResponseMetadata", "contentType", "body")
        }
        if not all(isinstance(value, str) for value in others.values()):
            return None
        headers = metadata.get("HTTPHeaders", {})
        return Envelope(
            self.fields["contentType"],
            "RequestId" in metadata,
            tuple(
                (name, value if name.lower() in _KEPT else None)
                for name, value in headers.items()
                if name.lower() in _KEPT | _MADE
            ),
            tuple(others.items()),
        )


def taken(response: Any) -> Sent | None:
    """Read the body of a response; None, with nothing touched, for what has no such body."""
    if not isinstance(response, dict) or not isinstance(response.get("body"), StreamingBody):
        return None
    body = response["body"]
    length = body._content_length  # noqa: SLF001  # StreamingBody has no other way to tell it
    try:
        return Sent(response, body.read(), length, None)
    except _STREAM_ERRORS as error:
        return Sent(response, b"", length, error)


def kept_response(
    envelope: Envelope, body: bytes, *, key: str, token_count: int | None, created_s: float
) -> dict[str, Any]:
    """A response as Bedrock sent it, from what was kept of it. About 15 us.

    `RequestId` has the form of one and is the key: no request was made. The date is that of the
    answer; the latency of the model is 0.
    """
    request_id = f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:]}"
    made = {
        _DATE: formatdate(created_s, usegmt=True),
        _LENGTH: str(len(body)),
        _REQUEST: request_id,
        _LATENCY: "0",
        _TOKENS: str(token_count or 0),
    }
    headers = {
        name: made[name.lower()] if value is None else value for name, value in envelope.headers
    }
    metadata: dict[str, Any] = {"RequestId": request_id} if envelope.has_request_id else {}
    metadata |= {"HTTPStatusCode": _HTTP_OK, "HTTPHeaders": headers, "RetryAttempts": 0}
    return {
        "ResponseMetadata": metadata,
        "contentType": envelope.content_type,
        "body": StreamingBody(_stream(body, headers), str(len(body))),
        **dict(envelope.others),
    }


class _Memory(io.BytesIO):
    """A body that is there already: a timeout for its socket is nothing to it."""

    fp = SimpleNamespace(raw=SimpleNamespace(_sock=SimpleNamespace(settimeout=lambda _: None)))


class _Broken(io.RawIOBase):
    """A stream that broke when it was read, and does again."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def read(self, _amount: int | None = -1) -> bytes:
        raise self._error

    def readinto(self, _buffer: Any) -> int:
        raise self._error


def _stream(body: bytes, headers: Mapping[str, str]) -> HTTPResponse:
    """What botocore wraps: urllib3's own class, so that it reads, ends and closes the same."""
    return HTTPResponse(body=_Memory(body), headers=headers, status=_HTTP_OK, preload_content=False)
