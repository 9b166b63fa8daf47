"""Serves the project's emulated Titan over HTTP until it is ended; prints the address first."""

from __future__ import annotations

import signal
import sys

from fixtures.titan.responder import TitanResponder, moto_server

__all__: list[str] = []


def _main() -> None:
    with TitanResponder(), moto_server() as address:
        sys.stdout.write(address + "\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    _main()
