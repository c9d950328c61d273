"""A Hub on this machine: as much of huggingface.co as pushing and loading a model need. Repositories live in memory."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

USER = "tester"


class Hub(ThreadingHTTPServer):
    """Listens on a free port of the loopback interface.

    Attributes:
        repositories: name -> path -> content, the newest commit of each.
        commits: name -> number of commits.
        received: every byte that clients have sent, for looking for secrets.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, int] = {}
        self.received = b""
        self.large: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sha(self, name: str) -> str:
        """Name of the newest commit of a repository."""
        return hashlib.sha1(f"{name} {self.commits.get(name, 0)}".encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, content: Any = b"", status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _handle(self) -> None:
        """Reads the request, and gives it to the first function that knows its path."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.received += body
        if self.command in ("GET", "HEAD"):
            self._read(path)
        else:
            self._write(path, body)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _write(self, path: str, body: bytes) -> None:
        hub = self.server
        if path == "/api/repos/create":
            name = json.loads(body)["name"]
            hub.repositories.setdefault(f"{USER}/{name}", {})
            self._answer({"url": f"{hub.url}/{USER}/{name}"})
        elif path == "/api/validate-yaml":
            self._answer({"warnings": [], "errors": []})
        elif path.startswith("/large/"):
            hub.large[path.removeprefix("/large/")] = body
            self._answer()
        elif path.endswith("/info/lfs/objects/batch"):
            self._answer({"objects": [self._large(item) for item in json.loads(body)["objects"]]})
        elif "/preupload/" in path:
            self._answer({"files": [self._mode(file["path"]) for file in json.loads(body)["files"]]})
        elif "/commit/" in path:
            self._commit(path.removeprefix("/api/models/").split("/commit/")[0], body)
        else:
            self._answer({"error": f"unknown: {path}"}, 404)

    def _large(self, item: dict[str, Any]) -> dict[str, Any]:
        return item | {"actions": {"upload": {"href": f"{self.server.url}/large/{item['oid']}"}}}

    @staticmethod
    def _mode(path: str) -> dict[str, Any]:
        mode = "lfs" if path.endswith((".safetensors", ".bin")) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False}

    def _commit(self, name: str, body: bytes) -> None:
        hub = self.server
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                content = base64.b64decode(value["content"])
                hub.repositories[name][value["path"]] = content
                hub.received += content
            elif line["key"] == "lfsFile":
                hub.repositories[name][value["path"]] = hub.large[value["oid"]]
        hub.commits[name] = hub.commits.get(name, 0) + 1
        url = f"{hub.url}/{name}/commit/{hub.sha(name)}"
        self._answer({"commitUrl": url, "commitOid": hub.sha(name), "success": True})

    def _read(self, path: str) -> None:
        hub = self.server
        if path == "/api/whoami-v2":
            return self._answer({"name": USER, "type": "user", "orgs": []})
        is_api = path.startswith("/api/models/")
        name = "/".join(path.removeprefix("/api/models").split("/")[1:3])
        files = hub.repositories.get(name)
        if files is None:
            return self._answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        commit = {"X_Repo_Commit": hub.sha(name)}
        if is_api and "/tree/" in path:
            listed = [{"type": "file", "path": file, "oid": "0", "size": len(files[file])} for file in files]
            return self._answer(listed, **commit)
        if is_api:
            siblings = [{"rfilename": file} for file in files]
            return self._answer({"id": name, "sha": hub.sha(name), "private": False, "siblings": siblings, "tags": []})
        file = path.split("/resolve/")[-1].partition("/")[2]
        if file not in files:
            return self._answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound", **commit)
        etag = hashlib.sha256(files[file]).hexdigest()
        return self._answer(files[file], ETag=f'"{etag}"', **commit)
