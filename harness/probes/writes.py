"""Every write step of a piece of work, and a kill -9 before any one of them.

The work runs in a forked child under ptrace. Before each system call that changes a file the
child stands still; it is counted, or killed there with SIGKILL, so that the call never happens. No
other program is needed. What the child stores into mapped files is no system call: kills at
chosen moments are for that.

Source: ptrace(2), PTRACE_SEIZE, PTRACE_GET_SYSCALL_INFO (Linux 5.3 and newer).
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["TracingError", "Trial", "kill_after", "run_traced", "why_not"]

_SEIZE, _SYSCALL, _GET_INFO, _INTERRUPT = 0x4206, 24, 0x420E, 0x4207
_OPTIONS = 0x1 | 0x8 | 0x100000  # TRACESYSGOOD, TRACECLONE, EXITKILL
_WALL = 0x40000000
_ENTRY = 1  # struct ptrace_syscall_info.op
_STOPPED_IN_CALL = signal.SIGTRAP | 0x80
_O_CREAT = 0o100

_NUMBERS = {
    "x86_64": {
        1: "write", 18: "pwrite64", 20: "writev", 296: "pwritev", 328: "pwritev2",
        26: "msync", 74: "fsync", 75: "fdatasync", 277: "sync_file_range",
        76: "truncate", 77: "ftruncate", 285: "fallocate", 40: "sendfile",
        82: "rename", 264: "renameat", 316: "renameat2", 83: "mkdir", 258: "mkdirat",
        84: "rmdir", 86: "link", 265: "linkat", 87: "unlink", 263: "unlinkat",
        88: "symlink", 266: "symlinkat", 326: "copy_file_range",
        2: "open", 85: "creat", 257: "openat",
    },
    "aarch64": {
        64: "write", 68: "pwrite64", 66: "writev", 70: "pwritev", 287: "pwritev2",
        227: "msync", 82: "fsync", 83: "fdatasync", 84: "sync_file_range",
        45: "truncate", 46: "ftruncate", 47: "fallocate", 71: "sendfile",
        38: "renameat", 276: "renameat2", 34: "mkdirat", 35: "unlinkat", 37: "linkat",
        36: "symlinkat", 285: "copy_file_range", 56: "openat",
    },
}  # fmt: skip
_FLAGS_AT = {"open": 1, "openat": 2}  # they change a file only where they create it


class TracingError(OSError):
    """The kernel does not let this process trace its child."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run of the work.

    Attributes
    ----------
    steps
        Names of the write calls that the child began, in order; the last one never happened if
        it was killed there.
    was_killed
        False: it ran to its end.
    status
        Exit status of a child that was not killed.
    seconds
        How long the work took, the stops included.
    """

    steps: tuple[str, ...]
    was_killed: bool
    status: int
    seconds: float


def run_traced(work: Callable[[], None], *, kill_before: int | None = None) -> Trial:
    """Run `work` in a forked child; kill it before its write step of that number, from 0.

    Raises
    ------
    TracingError
        ptrace is not permitted, or this processor's system calls are not known here.

    Notes
    -----
    The caller has no other children, and no other threads that the work needs: a fork takes along
    its own alone. An exception of the work is printed and becomes exit status 1.
    """
    names = _NUMBERS.get(platform.machine())
    if names is None:
        raise TracingError(f"system calls of {platform.machine()} are not known")
    go, wait = os.pipe()
    child = _fork(work, go, wait)
    os.close(go)
    try:
        _ptrace(_SEIZE, child, 0, _OPTIONS)
        _ptrace(_INTERRUPT, child, 0, 0)
    except TracingError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(wait)
        raise
    begin = time.monotonic()
    steps, was_killed, status = _follow(child, wait, names, kill_before)
    return Trial(
        steps=tuple(steps),
        was_killed=was_killed,
        status=status,
        seconds=time.monotonic() - begin,
    )


def kill_after(work: Callable[[], None], seconds: float | None) -> Trial:
    """Run `work` in a forked child, untraced, and kill it after that time unless it has ended.

    None: never.
    """
    go, wait = os.pipe()
    child = _fork(work, go, wait)
    os.close(go)
    begin = time.monotonic()
    os.close(wait)
    if seconds is not None:
        while time.monotonic() - begin < seconds:  # a sleep would not come back so precisely
            pass
        os.kill(child, signal.SIGKILL)
    _, ended = os.waitpid(child, 0)
    return Trial(
        steps=(),
        was_killed=os.WIFSIGNALED(ended),
        status=os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else 0,
        seconds=time.monotonic() - begin,
    )


def why_not() -> str:
    """Why children cannot be traced here; an empty string if they can."""
    try:
        trial = run_traced(lambda: None)
    except TracingError as error:
        return str(error)
    return "" if trial.status == 0 else "a traced child did not come to its end"


def _fork(work: Callable[[], None], go: int, wait: int) -> int:
    """A child that does `work` when the other end of the pipe is closed."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.close(wait)
        os.read(go, 1)
        work()
        status = 0
    except BaseException as error:  # a child must never return into the caller
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(status)


def _follow(
    child: int, wait: int, names: dict[int, str], kill_before: int | None
) -> tuple[list[str], bool, int]:
    """Step through all threads of the child from write call to write call, to its end."""
    steps: list[str] = []
    has_begun = was_killed = False
    while True:
        tid, ended = os.waitpid(-1, _WALL)
        if os.WIFEXITED(ended) or os.WIFSIGNALED(ended):
            if tid == child:
                return steps, was_killed, os.WEXITSTATUS(ended) if os.WIFEXITED(ended) else 0
            continue
        stopped_by = os.WSTOPSIG(ended)
        deliver = 0
        if not has_begun:
            has_begun = True
            os.close(wait)  # the work begins
        elif stopped_by == _STOPPED_IN_CALL:
            name = _write_call(tid, names)
            if name:
                steps.append(name)
                if kill_before == len(steps) - 1:
                    was_killed = True
                    os.kill(child, signal.SIGKILL)
                    continue
        elif ended >> 16 == 0 and stopped_by != signal.SIGTRAP:
            deliver = stopped_by  # a signal of its own
        _ptrace(_SYSCALL, tid, 0, deliver, is_gone_ok=True)


def _write_call(tid: int, names: dict[int, str]) -> str:
    """Name of the call that a thread is about to make, if it changes a file."""
    info = ctypes.create_string_buffer(88)
    _ptrace(_GET_INFO, tid, len(info), ctypes.addressof(info))
    if info.raw[0] != _ENTRY:
        return ""
    number, *arguments = struct.unpack_from("<7Q", info.raw, 24)
    name = names.get(number, "")
    if name in _FLAGS_AT and not arguments[_FLAGS_AT[name]] & _O_CREAT:
        return ""
    return name


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def _ptrace(request: int, pid: int, address: int, data: int, *, is_gone_ok: bool = False) -> None:
    ctypes.set_errno(0)
    if _libc.ptrace(request, pid, address, data) == -1:
        number = ctypes.get_errno()
        if is_gone_ok and number == 3:  # ESRCH: killed meanwhile, the next wait says so
            return
        raise TracingError(number, f"ptrace: {os.strerror(number)}")
