"""A small hub on 127.0.0.1 that answers as huggingface_hub expects."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Repository:
    folder: Path
    commit: str = "0123456789abcdef0123456789abcdef01234567"
    gated: bool = False


@dataclass
class FakeHub:
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                self.info("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
            elif len(parts) > 4 and parts[2] == "resolve":
                self.file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
            else:
                self.answer(404, b"{}")

        def info(self, name: str, revision: str) -> None:
            repository = hub.repositories.get(name)
            if repository is None:
                self.answer(401, b'{"error": "Invalid username or password."}', {"X-Error-Code": "RepoNotFound"})
            elif revision not in ("main", repository.commit):
                self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            else:
                names = sorted(p.name for p in repository.folder.iterdir())
                content = {"id": name, "sha": repository.commit, "siblings": [{"rfilename": n} for n in names]}
                self.answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

        def file(self, name: str, revision: str, path: str) -> None:
            repository = hub.repositories[name]
            if repository.gated and self.headers.get("Authorization") != "Bearer good":
                status = 403 if "Authorization" in self.headers else 401
                self.answer(status, b"{}", {"X-Error-Code": "GatedRepo"})
                return
            content = (repository.folder / path).read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            self.answer(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": repository.commit})

        def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
