"""A web server on this machine that sends files as told: in parts, cut short, busy, changed, or with a wrong length."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Fault:
    """What goes wrong with one answer.

    Attributes:
        status: answered instead of the file.
        cut: bytes of the body after which the connection ends.
        length: announced instead of the true one.
        ranges: whether the server knows ranges at all.
        validator: whether the answer has an ETag.
        if_range: whether the condition on a range is heeded.
        chunked: whether the length is left unsaid.
    """

    status: int = 0
    cut: int | None = None
    length: int | None = None
    ranges: bool = True
    validator: bool = True
    if_range: bool = True
    chunked: bool = False


class FileServer(ThreadingHTTPServer):
    """Listens on a free port of the loopback interface.

    Attributes:
        files: path -> content.
        faults: path -> what goes wrong with its next answers, one each.
        for_ever: path -> what goes wrong with every answer after those.
        asked: path and `Range` of every request, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.for_ever: dict[str, Fault] = {}
        self.asked: list[tuple[str, str | None]] = []

    def handle_error(self, *_: Any) -> None:
        """Says nothing: that clients go away is what is tested."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def ranges(self, path: str) -> list[str | None]:
        """The `Range` of each request for one path."""
        return [asked for name, asked in self.asked if name == path]


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, path, asked = self.server, urlsplit(self.path).path, self.headers.get("Range")
        server.asked.append((path, asked))
        queue = server.faults.get(path, [])
        fault = queue.pop(0) if queue else server.for_ever.get(path, Fault())
        content = server.files.get(path)
        if content is None or fault.status:
            return self._send(fault.status or 404, b"<html>no file</html>", fault, {})
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        headers = {"ETag": etag} if fault.validator else {}
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and fault.ranges else 0
        if fault.if_range and self.headers.get("If-Range", etag) != etag:
            start = 0
        if start and start >= len(content):
            return self._send(416, b"", fault, {"Content-Range": f"bytes */{len(content)}"})
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._send(206 if start else 200, content[start:], fault, headers)

    def _send(self, status: int, body: bytes, fault: Fault, headers: dict[str, str]) -> None:
        self.send_response(status)
        length = len(body) if fault.length is None else fault.length
        if fault.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(length)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = body[: fault.cut]
        self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body) if fault.chunked and body else body)
        if fault.cut is None and fault.chunked:
            self.wfile.write(b"0\r\n\r\n")
        if fault.cut is not None or length != len(body):
            self.close_connection = True


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
