"""Storage behind signed URLs, as the hosted service has it: whole PUTs, the resumable protocol, downloads."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.client.conftest import KEY
from tests.client.script_server import Received, Reply, answer

FORBIDDEN = b'<?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code></Error>'


class Storage:
    """`fault(request)` may give another reply, after `take` more bytes of the body have been kept."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.announced: dict[str, int] = {}
        self.sessions: dict[str, bytearray] = {}
        self.requests: list[Received] = []
        self.fault: Callable[[Received], Reply | None] = lambda _: None
        self.signed = "content-type;host;x-goog-content-length-range"
        self.location = "{url}"
        self.url = ""
        self.validated = 0
        self.lock = threading.Lock()

    def __call__(self, request: Received) -> Reply:
        with self.lock:
            self.requests.append(request)
            return self.fault(request) or self.reply(request)

    def reply(self, request: Received) -> Reply:
        path = urlsplit(request.path)
        if path.path.startswith("/store/"):
            if KEY in json.dumps(dict(request.headers)):
                return answer(400, b"a key was sent")
            return self._store(request, unquote(path.path.removeprefix("/store/")), path.query)
        if path.path.endswith(":getUploadEndpoint"):
            sizes = {name: int(size) for name, size in request.json["filenameToSize"].items()}
            self.announced.update(sizes)
            kind = "resumable" if request.json.get("enableResumableUpload") else "whole"
            return answer(200, {"filenameToSignedUrls": {name: self._sign(name, kind) for name in sizes}})
        if path.path.endswith(":getDownloadEndpoint"):
            return answer(200, {"filenameToSignedUrls": {name: self._sign(name, "get") for name in self.files}})
        if path.path.endswith(":validateUpload"):
            missing = sorted(set(self.announced) - set(self.files))
            if missing:
                return answer(400, {"code": 9, "message": f"missing: {', '.join(missing)}"})
            self.validated += 1
            return answer(200, {"warnings": []})
        return answer(404, {"code": 5, "message": "no route"})

    def _sign(self, name: str, kind: str) -> str:
        return (
            f"{self.url}/store/{quote(name)}?X-Goog-SignedHeaders={quote(self.signed)}&X-Goog-Signature=s3cr3t&k={kind}"
        )

    def _store(self, request: Received, name: str, query: str) -> Reply:
        kind = parse_qs(query)["k"][0]
        if request.method == "GET":
            return answer(200, self.files[name], {"Content-Type": "application/octet-stream"})
        size = self.announced[name]
        if "upload_id" in query:
            return self._part(request, name, size)
        wants_range = "x-goog-content-length-range" in self.signed
        asked = request.headers.get("x-goog-content-length-range")
        if request.headers.get("content-type") != "application/octet-stream" or (
            asked != (f"{size},{size}" if wants_range else None)
        ):
            return answer(403, FORBIDDEN, {"Content-Type": "application/xml"})
        if kind == "resumable":
            if request.method != "POST" or request.headers.get("x-goog-resumable") != "start" or request.body:
                return answer(403, FORBIDDEN)
            self.sessions[name] = bytearray()
            location = self.location.format(url=self.url) + f"/store/{quote(name)}?k=resumable&upload_id=1"
            return answer(201, b"", {"Location": location})
        self.files[name] = request.body
        return answer(200, b"")

    def _part(self, request: Received, name: str, size: int) -> Reply:
        kept = self.sessions[name]
        span = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)", request.headers["content-range"])
        if request.method != "PUT" or span is None or int(span[3]) != size:
            return answer(400, b"bad range")
        if span[1] is not None:
            start, end = int(span[1]), int(span[2])
            if start > len(kept) or len(request.body) != end - start + 1:
                return answer(400, b"a gap")
            kept.extend(request.body[len(kept) - start :])
        if len(kept) == size:
            self.files[name] = bytes(kept)
            return answer(200, b"")
        return answer(308, b"", {"Range": f"bytes=0-{len(kept) - 1}"} if kept else {})
