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
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest


@dataclass
class Repository:
    folder: Path
    commit: str = "0123456789abcdef0123456789abcdef01234567"
    gated: bool = False


@dataclass
class FakeHub:
    repositories: dict[str, Repository] = field(default_factory=dict)
    """By id; a data set's begins with `datasets/`."""
    models: list[dict[str, Any]] = field(default_factory=list)
    """What the list of models tells, page by page, and the page of each."""
    page_size: int = 2
    status: int = 200
    """What every question is answered with instead, unless it is 200."""
    requests: list[str] = field(default_factory=list)
    url: str = ""


def use(hub: FakeHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `hub` the hub, with a cache of its own under `home`."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)


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
            if hub.status != 200:
                self.answer(hub.status, b"{}")
            elif parts == ["api", "models"]:
                self.page()
            elif parts[:2] == ["api", "models"] and "expand=" in self.path:
                self.facts("/".join(parts[2:4]))
            elif parts[:2] == ["api", "models"]:
                self.info("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
            elif parts[:2] == ["api", "datasets"]:
                self.info("/".join(["datasets", *parts[2:4]]), parts[5] if len(parts) > 5 else "main")
            elif "resolve" in parts:
                at = parts.index("resolve")
                self.file("/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
            else:
                self.answer(404, b"{}")

        def page(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            (task,) = asked["pipeline_tag"]
            found = [model for model in hub.models if model["pipeline_tag"] == task]
            found.sort(key=lambda model: -int(model[asked["sort"][0]]))
            start = int(asked.get("cursor", ["0"])[0])
            end = start + hub.page_size
            headers = {"Content-Type": "application/json"}
            if end < len(found):
                rest = urlencode({**asked, "cursor": end}, doseq=True)
                headers["Link"] = f'<{hub.url}/api/models?{rest}>; rel="next"'
            shown = [{key: model[key] for key in ("id", *asked["expand"]) if key in model} for model in found]
            self.answer(200, json.dumps(shown[start:end]).encode(), headers)

        def facts(self, name: str) -> None:
            found = next((model for model in hub.models if model["id"] == name), None)
            if found is None:
                self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            else:
                self.answer(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

        def info(self, name: str, revision: str) -> None:
            repository = hub.repositories.get(name)
            if repository is None:
                self.answer(401, b'{"error": "Invalid username or password."}', {"X-Error-Code": "RepoNotFound"})
            elif revision not in ("main", repository.commit):
                self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            else:
                files = (p for p in repository.folder.rglob("*") if p.is_file())
                names = sorted(p.relative_to(repository.folder).as_posix() for p in files)
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
