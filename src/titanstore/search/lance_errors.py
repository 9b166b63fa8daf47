"""The one way in which everything about the Lance table fails."""

from __future__ import annotations


class LanceUnavailableError(Exception):
    """The Lance table cannot be used now; the store itself is whole.

    Whoever searches goes on by flat scan, counts it and says so; maintenance builds the table
    anew. Never leaves the store's public methods.

    Attributes
    ----------
    reason
        What was seen, in words.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
