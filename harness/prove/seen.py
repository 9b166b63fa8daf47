"""What the judges say about kept evidence: the same whenever it is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CannotRunError", "Seen"]


class CannotRunError(Exception):
    """A fault could not be injected here; the message says what is missing."""


@dataclass(slots=True)
class Seen:
    """Verdict and reason by judge.

    Attributes
    ----------
    tier
        Of the evidence, where only the evidence knows; empty: that of the catalogue.
    """

    tier: str = ""
    verdicts: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, judge: str, verdict: str, reason: str = "") -> None:
        """Note what one judge says."""
        self.verdicts[judge] = verdict
        self.reasons[judge] = reason
