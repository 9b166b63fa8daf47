"""What stops the harness, by what the caller does next; each has its exit status."""

from __future__ import annotations

__all__ = ["EvidenceError", "HarnessError", "UsageError"]


class HarnessError(Exception):
    """The harness itself failed: no verdict may be drawn from this run. Exit status 4."""

    exit_code = 4


class UsageError(HarnessError):
    """A command, a file of targets or waivers, or a setting is wrong. Fix it. Exit status 2."""

    exit_code = 2


class EvidenceError(HarnessError):
    """A run's files are missing, damaged, or not of this run. Exit status 1 from `verify`."""

    exit_code = 1
