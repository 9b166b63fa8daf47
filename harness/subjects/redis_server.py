"""Redis on this machine, over a Unix socket: a server of our own for each folder.

Settings as Redis' documentation has them for a store that must not lose what it acknowledged:
append-only file, appendfsync always, no snapshots beside it, no eviction. The server is started in
the folder and ends with the process that started it. Its client parses with hiredis.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from harness.errors import HarnessError
from harness.subject import Vectors

__all__ = ["SERVERS", "RedisSubject"]

SERVERS = ("valkey-server", "redis-server")
"""Programs that it can be, the first that is there."""
_START_S_MAX = 60.0
_SOCKET = "socket"


class RedisSubject:
    """One server and one connection. One thread."""

    name = "redis"
    capabilities = frozenset({"durable", "shared"})

    def __init__(self, path: Path) -> None:
        import redis  # a rival's package is loaded only when it is measured

        program = next((found for one in SERVERS if (found := shutil.which(one))), None)
        if program is None:
            raise HarnessError(f"none of {', '.join(SERVERS)} is installed")
        path.mkdir(parents=True, exist_ok=True)
        self._path = path
        settings = {
            "port": "0",
            "unixsocket": _SOCKET,
            "dir": ".",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": "server.log",
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        # whatever becomes of this process, the server must not stay (util-linux has setpriv)
        leash = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        self._server = subprocess.Popen(
            [*leash, program, *words],
            cwd=path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.server_pid = self._server.pid
        # the path of a socket has at most 107 bytes; one in /tmp would outlive a kill
        self._client = redis.Redis(unix_socket_path=f"/proc/{self.server_pid}/cwd/{_SOCKET}")
        self._wait(redis.exceptions.RedisError)
        self.get: Callable[[str], Vectors] = self._get

    def _wait(self, refused: type[Exception]) -> None:
        deadline = time.monotonic() + _START_S_MAX
        while True:
            with contextlib.suppress(refused):
                if self._client.ping():
                    return
            if self._server.poll() is not None or time.monotonic() > deadline:
                log = self._path / "server.log"
                words = log.read_text(errors="replace").strip() if log.is_file() else ""
                self.close()
                raise HarnessError(f"the Redis server did not start: {words[-200:]}")
            time.sleep(2e-4)

    def put_many(self, keys: Sequence[str], vectors: Vectors) -> None:
        """One command, in the append-only file and synchronised when it is answered."""
        rows = np.ascontiguousarray(vectors)
        pairs = {key: row.tobytes() for key, row in zip(keys, rows, strict=True)}
        self._client.mset(pairs)

    def _get(self, key: str) -> Vectors:
        value = self._client.get(key)
        if value is None:
            raise KeyError(key)
        return np.frombuffer(value, np.float32)

    def get_many(self, keys: Sequence[str]) -> Vectors:
        """One command for all."""
        values: list[bytes | None] = self._client.mget(list(keys))
        if None in values:
            raise KeyError(keys[values.index(None)])
        return np.stack([np.frombuffer(one, np.float32) for one in values if one is not None])

    def stored_bytes(self) -> int:
        """Bytes of the append-only file, its rewritten base too; all of it is in memory besides."""
        return sum(path.stat().st_size for path in self._path.rglob("appendonly.aof*"))

    def close(self) -> None:
        """End the server; idempotent."""
        self._client.close()
        if self._server.poll() is None:
            self._server.terminate()
            try:
                self._server.wait(_START_S_MAX)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
