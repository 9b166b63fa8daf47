"""`/metrics`, `/healthz` and `/readyz` of one store over HTTP."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import socketserver
import threading
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from titanstore.exporter.collector import WatcherCollector
from titanstore.exporter.watcher import Watcher

_AT_ONCE_MAX = 16  # answers; whoever comes beyond them is told to come back
_PATIENCE_S = 10.0  # with a client that does not say what it wants, or does not take the answer
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
_logger = logging.getLogger("titanstore.exporter")


class MetricsServer(ThreadingHTTPServer):
    """Serves until `shutdown`; one thread an answer, a bounded number of them.

    Parameters
    ----------
    host, port
        Where to listen; port 0: any free one, which `server_address` then tells.

    Raises
    ------
    OSError
        The port is in use, or the host is none of this machine's.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, watcher: Watcher) -> None:
        self.watcher = watcher
        self.registry = CollectorRegistry()
        self.registry.register(WatcherCollector(watcher))
        self._room = threading.BoundedSemaphore(_AT_ONCE_MAX)
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Answer)

    def server_bind(self) -> None:
        """As http.server has it, but without asking a name server for this machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: object, client_address: object) -> None:
        """Answer in a thread of its own, or refuse where too many are under way."""
        assert isinstance(request, socket.socket)
        if self._room.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except BaseException:  # no thread to be had
                self._room.release()
                raise
            return
        with contextlib.suppress(OSError):
            request.send(_BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: object, client_address: object) -> None:
        """What the thread does."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nothing to print a traceback for."""
        _logger.debug("an answer was not taken", exc_info=True)


class _Answer(BaseHTTPRequestHandler):
    timeout = _PATIENCE_S
    server: MetricsServer

    def version_string(self) -> str:
        return "titanstore"

    def do_GET(self) -> None:  # http.server's name
        route = self.path.partition("?")[0]
        if route == "/metrics":
            encode, kind = choose_encoder(self.headers.get("Accept", ""))
            self._send(HTTPStatus.OK, kind, encode(self.server.registry))
        elif route == "/healthz":
            self._send(HTTPStatus.OK, "text/plain; charset=utf-8", b"ok\n")
        elif route == "/readyz":
            _, readiness = self.server.watcher.look()
            status = HTTPStatus.OK if readiness.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
            told = {"ready": readiness.is_ready, **asdict(readiness)}
            self._send(status, "application/json", json.dumps(told).encode() + b"\n")
        else:
            self._send(
                HTTPStatus.NOT_FOUND,
                "text/plain; charset=utf-8",
                b"there are /metrics, /healthz and /readyz\n",
            )

    do_HEAD = do_GET  # noqa: N815  # the same

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's name
        _logger.debug(format, *args)
