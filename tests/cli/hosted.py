"""An API on 127.0.0.1 that gives the answers that a test sets, and records the requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.client.script_server import Received, Reply, ScriptServer, answer

NOT_FOUND = answer(404, {"code": 5, "message": "not found", "details": []})


class Api:
    """`on("GET", "/v1/x", body)` sets an answer, a JSON object or a Reply; several come in turn, the last repeatedly.

    It acts as a platform of `firectl local` until `hosted()` is called.
    """

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], list[Reply]] = {}
        self._offered: dict[str, bytes] = {}
        self.given = 0
        """How many bytes of offered files were sent."""
        self.on("GET", "/v1/local", {"replicas": {}})
        self.server = ScriptServer(self._answer)

    @property
    def url(self) -> str:
        return self.server.url

    def on(self, method: str, path: str, *bodies: Any) -> None:
        replies = [body if isinstance(body, Reply) else answer(200, body) for body in bodies]
        self._answers[(method, path)] = replies

    def hosted(self) -> None:
        self.on("GET", "/v1/local", NOT_FOUND)

    @property
    def asked(self) -> list[tuple[str, str]]:
        """(method, path with query) of every request, in order."""
        return [(request.method, request.path) for request in self.server.received]

    @property
    def changes(self) -> list[Received]:
        """The requests other than GET."""
        return [request for request in self.server.received if request.method != "GET"]

    def query(self, at: int = -1) -> dict[str, str]:
        pairs = parse_qs(urlsplit(self.server.received[at].path).query, keep_blank_values=True)
        return {name: values[-1] for name, values in pairs.items()}

    def offer(self, model: str, folder: Path) -> None:
        """Adds a READY base with the files of a folder, each downloadable in ranges."""
        self.on("GET", f"/v1/{model}", {"name": model, "kind": "HF_BASE_MODEL", "state": "READY"})
        self._offered = {path.name: path.read_bytes() for path in folder.iterdir()}
        urls = {name: f"{self.url}/get/{name}?signature=x" for name in self._offered}
        self.on("GET", f"/v1/{model}:getDownloadEndpoint", {"filenameToSignedUrls": urls})

    def _range(self, name: str, asked: str) -> Reply:
        data = self._offered[name]
        start, end = map(int, asked.removeprefix("bytes=").split("-"))
        part = data[start : end + 1]
        self.given += len(part)
        span = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
        return answer(206, part, {"Content-Type": "application/octet-stream", "Content-Range": span})

    def _answer(self, request: Received) -> Reply:
        if request.path.startswith("/get/"):
            return self._range(urlsplit(request.path).path.removeprefix("/get/"), request.headers["range"])
        replies = self._answers.get((request.method, urlsplit(request.path).path))
        if not replies:
            return NOT_FOUND
        return replies.pop(0) if len(replies) > 1 else replies[0]
