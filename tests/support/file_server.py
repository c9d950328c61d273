"""A web server on the loopback interface for download tests; the Hub's client accepts it as a Hub."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class FileServer(ThreadingHTTPServer):
    """Listens on a free port.

    Attributes:
        files: Path -> content.
        statuses: Path -> HTTP statuses of its next answers, before the file is sent.
        cuts: Path -> bytes after which its next answers end, although more are announced.
        requests: Path and headers of every request, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.statuses: dict[str, list[int]] = {}
        self.cuts: dict[str, list[int]] = {}
        self.requests: list[tuple[str, Message]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a client that hung up: the tests read standard error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, path = self.server, urlsplit(self.path).path
        server.requests.append((path, self.headers))
        content = server.files.get(path)
        status = server.statuses[path].pop(0) if server.statuses.get(path) else 200 if content is not None else 404
        body = content if status == 200 else b"no file"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        if self.command == "GET":
            self.close_connection = bool(server.cuts.get(path))
            self.wfile.write(body[: server.cuts[path].pop(0)] if self.close_connection else body)

    do_HEAD = do_GET


@contextmanager
def serving() -> Iterator[FileServer]:
    """Runs a server for the length of a block."""
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
