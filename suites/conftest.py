"""Options of all suites; the fixtures themselves are in fixtures/plugin.py."""

from __future__ import annotations

import signal

import pytest

pytest_plugins = ("fixtures.plugin",)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("titanstore")
    group.addoption(
        "--size",
        choices=("smoke", "full"),
        default="smoke",
        help="smoke: small, with a fresh seed; full: as measured, with a fixed seed",
    )
    group.addoption(
        "--titan",
        choices=("emulated", "recorded", "live"),
        default="emulated",
        help="where the mocked Bedrock's answers come from",
    )
    group.addoption(
        "--recorded",
        metavar="DIR",
        default=None,
        help="folder of recorded Titan vectors and bodies (default: ../shared/data/titan if there)",
    )


def pytest_configure() -> None:
    """Ctrl-C works in what the tests start, also where a shell has them in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
