"""What the judges say about kept evidence: the same whenever it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CannotRunError", "Seen"]


class CannotRunError(Exception):
    """A fault could not be injected here; the message says what is missing."""


@dataclass(slots=True)
class Seen:
    """Verdict, reason and value by judge.

    Attributes
    ----------
    tier
        Of the evidence, where only the evidence knows; empty: that of the catalogue.
    values
        What a judge judged, where that is a number.
    origin
        What the evidence itself says of its `commit`, `content_digest` and `machine`, as far as it
        does: it must be the proof's own.
    started
        When the evidence was begun, in seconds since the epoch; None where it does not say.
    """

    tier: str = ""
    verdicts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    started: float | None = None

    def add(self, judge: str, verdict: str, reason: str = "", value: float | None = None) -> None:
        """Note what one judge says."""
        self.verdicts[judge] = verdict
        self.reasons[judge] = reason
        if value is not None:
            self.values[judge] = float(value)
