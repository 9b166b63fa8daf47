"""Risk: a call that is interrupted, or comes back to itself, leaves others waiting for ever."""

from __future__ import annotations

import linecache
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from titanstore.clients.bedrock.flights import Flights


def test_an_interrupted_thread_leaves_the_call_to_another() -> None:
    flights: Flights[str] = Flights()
    begun, go = threading.Event(), threading.Event()

    def interrupted() -> str:
        begun.set()
        assert go.wait(30)
        raise KeyboardInterrupt

    def lead() -> None:
        with pytest.raises(KeyboardInterrupt):
            flights.do("k", interrupted)

    leader = threading.Thread(target=lead)
    leader.start()
    assert begun.wait(30)
    with ThreadPoolExecutor(1) as pool:
        follower = pool.submit(flights.do, "k", lambda: "answered")
        while not flights._under_way["k"][0]._condition._waiters:  # type: ignore[attr-defined]
            time.sleep(0.005)
        go.set()
        assert follower.result(30) == ("answered", True)
    leader.join()


def interrupted_at_line(number: int, error: Exception | None) -> bool:
    """Lead a call, interrupted before the n-th line; was it? All others must end by themselves."""
    flights: Flights[str] = Flights()
    followers = ThreadPoolExecutor(2)
    following = []
    was_interrupted = False

    def call() -> str:
        following.append(followers.submit(flights.do, "k", lambda: "theirs"))
        if error is not None:
            raise error
        return "ours"

    def lead() -> None:
        nonlocal was_interrupted
        left = number

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith(("flights.py", "futures/_base.py")):
                return None
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            # leaving a `with` is traced too, but no signal is seen to between its body and its end
            if event == "line" and not line.startswith("with "):
                left -= 1
                if left < 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            flights.do("k", call)
        except KeyboardInterrupt:
            was_interrupted = True
        except ValueError:
            assert error is not None
        finally:
            sys.settrace(None)

    leader = threading.Thread(target=lead)
    leader.start()
    leader.join(30)
    following.append(followers.submit(flights.do, "k", lambda: "later"))
    for one in following:
        raised = one.exception(30)  # a TimeoutError: it waits for nobody
        if raised is None:
            assert one.result()[0] in ("ours", "theirs", "later")
        else:
            assert isinstance(raised, ValueError)
    followers.shutdown()
    assert not flights._under_way
    return was_interrupted


@pytest.mark.parametrize("error", [None, ValueError("refused")])
def test_an_interruption_before_any_line_leaves_nobody_waiting(error: Exception | None) -> None:
    lines = 0
    while interrupted_at_line(lines, error):
        lines += 1
    assert lines > 25


def test_a_call_within_the_same_call_does_not_wait_for_itself() -> None:
    flights: Flights[int] = Flights()
    assert flights.do("k", lambda: flights.do("k", lambda: 5)[0] + 1) == (6, True)
