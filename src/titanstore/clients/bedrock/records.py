"""The bytes that are kept of an answer beside its vector. FORMAT.md, "Answers, version 1"."""

from __future__ import annotations

import struct
from typing import NamedTuple

import crc32c

from titanstore.clients.bedrock.bodies import Form
from titanstore.clients.bedrock.responses import Envelope
from titanstore.errors import CorruptionError, ErrorKind

_VERSION = 1
_HEAD = struct.Struct("<BBHIIII")
_SUM = struct.Struct("<I")
_NO_COUNT = 2**32 - 1
_SIZE = struct.Struct("<I")


class AnswerRecord(NamedTuple):
    """One answer.

    Attributes
    ----------
    model
        Its place in `requests.MODELS`.
    style
        Number of its `Style`.
    created_s
        Unix time, whole seconds.
    body_sum, body_bytes
        CRC-32C and length of the body: what is printed from the vector must have both.
    verbatim
        zstd of a body that no form prints; else empty.
    """

    model: int
    style: int
    token_count: int | None
    created_s: int
    body_sum: int
    body_bytes: int
    verbatim: bytes = b""

    def to_bytes(self) -> bytes:
        """24 bytes, and the verbatim body."""
        count = _NO_COUNT if self.token_count is None else self.token_count
        head = _HEAD.pack(
            _VERSION, self.model, self.style, count, self.created_s, self.body_sum, self.body_bytes
        )
        data = head + self.verbatim
        return data + _SUM.pack(crc32c.crc32c(data))

    @classmethod
    def from_bytes(cls, data: bytes) -> AnswerRecord:
        """Inverse of `to_bytes`; raises CorruptionError (BAD_ANSWERS) unless every bit is right."""
        end = len(data) - _SUM.size
        if end < _HEAD.size or crc32c.crc32c(data[:end]) != _SUM.unpack_from(data, end)[0]:
            raise damaged("an answer is not what was written")
        version, model, style, count, created_s, body_sum, size = _HEAD.unpack_from(data)
        if version != _VERSION:
            raise damaged(f"an answer of version {version}, this release reads {_VERSION}")
        tokens = None if count == _NO_COUNT else count
        return cls(model, style, tokens, created_s, body_sum, size, data[_HEAD.size : end])


class Style(NamedTuple):
    """What many answers have in common: all of a response but its numbers."""

    envelope: Envelope
    form: Form | None  # None: the bodies are kept verbatim

    def to_bytes(self) -> bytes:
        """Length of the envelope, the envelope, the form, a checksum."""
        envelope = self.envelope.to_bytes()
        form = b"" if self.form is None else self.form.to_bytes()
        data = _SIZE.pack(len(envelope)) + envelope + form
        return data + _SUM.pack(crc32c.crc32c(data))

    @classmethod
    def from_bytes(cls, data: bytes) -> Style:
        """Inverse of `to_bytes`; raises CorruptionError (BAD_ANSWERS) unless every bit is right."""
        end = len(data) - _SUM.size
        if end < _SIZE.size or crc32c.crc32c(data[:end]) != _SUM.unpack_from(data, end)[0]:
            raise damaged("a style of answers is not what was written")
        (size,) = _SIZE.unpack_from(data)
        at = _SIZE.size + size
        try:
            form = Form.from_bytes(data[at:end]) if at < end else None
            return cls(Envelope.from_bytes(data[_SIZE.size : at]), form)
        except (ValueError, TypeError, AttributeError, struct.error) as error:
            raise damaged("a style of answers makes no sense") from error


def damaged(what: str) -> CorruptionError:
    """The error for answers that are not what was written."""
    return CorruptionError(
        f"answers: {what}; calls go to the model. The vectors are not touched: delete the folder "
        "`answers` of the store, and answers are kept anew",
        ErrorKind.BAD_ANSWERS,
    )
