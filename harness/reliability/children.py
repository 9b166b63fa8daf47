"""Processes forked off a warm one that never opened a store: fresh for the store, and quick."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import Any

from harness.errors import HarnessError

__all__ = ["Child", "in_child"]

_SECONDS_MAX = 300  # a deadlock; a busy machine is no fault


class Child:
    """A forked process that waits for `go`, and says things over a socket.

    `body(channel)` runs in the child; what it returns is its exit status. It talks by `sendto` and
    `recvfrom`, which no store uses, so that faults put into its writes never hit that.
    """

    def __init__(self, body: Callable[[socket.socket], int]) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(_SECONDS_MAX)
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            status = 70
            try:
                signal.alarm(_SECONDS_MAX)
                self.channel.close()
                theirs.recv(1)
                status = body(theirs)
            except BaseException:
                theirs.send(json.dumps({"crashed": traceback.format_exc(limit=-6)}).encode())
            finally:
                os._exit(status)
        theirs.close()

    def go(self) -> None:
        """Let it begin, or go on."""
        self.channel.send(b"!")

    def hear(self) -> bytes:
        """What it says next; empty when it has ended."""
        try:
            return self.channel.recv(1 << 20)
        except ConnectionResetError:
            return b""

    def wait(self) -> int:
        """Its exit status, or the negative of the signal that ended it."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.channel.close()
        return status


def in_child(body: Callable[[], Any]) -> Any:
    """What `body` returns, through JSON, from a process of its own.

    Raises
    ------
    HarnessError
        It raised, or ended without saying anything.
    """

    def say(channel: socket.socket) -> int:
        channel.send(json.dumps({"said": body()}).encode())
        return 0

    child = Child(say)
    child.go()
    heard = child.hear()
    status = child.wait()
    if not heard:
        raise HarnessError(f"a child ended with {status} and said nothing")
    answer = json.loads(heard)
    if "crashed" in answer:
        raise HarnessError(answer["crashed"])
    return answer["said"]
