"""Storage behind signed URLs, as the hosted service has it: whole PUTs, the resumable protocol, downloads."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.client.script_server import KEY, Received, Reply, answer

FORBIDDEN = b'<?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code></Error>'


class Storage:
    """`fault(request)` may give another reply than `reply(request)`.

    With `says_hashes` it says what it has, as Google's does, and gives ranges.
    """

    def __init__(self) -> None:
        self.says_hashes = False
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

    @property
    def parts(self) -> list[str]:
        """The ranges that were sent, in order."""
        return [found for r in self.requests if (found := r.headers.get("content-range", "*")) and "*" not in found]

    def reply(self, request: Received) -> Reply:
        path = urlsplit(request.path)
        if path.path.startswith("/store/"):
            if KEY in json.dumps(dict(request.headers)):
                return answer(400, b"a key was sent")
            name = unquote(path.path.removeprefix("/store/"))
            reply = self._store(request, name, path.query)
            whole = name in self.files and request.method != "POST" and b" 308 " not in reply.raw[:20]
            return self._hashed(request, self.files[name]) if whole and self.says_hashes else reply
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

    @staticmethod
    def _hashed(request: Received, content: bytes) -> Reply:
        """The answer to a GET, or to what completed the file."""
        digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        headers = {"x-goog-hash": f"crc32c=AAAAAA==,md5={digest}", "ETag": f'"{digest}"'}
        if request.method != "GET":
            return answer(200, b"", headers)
        span = request.headers.get("range")
        if span is None:
            return answer(200, content, headers)
        first, last = (int(end) for end in span.removeprefix("bytes=").split("-"))
        if first >= len(content):
            return answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        piece = content[first : last + 1]
        return answer(
            206, piece, {**headers, "Content-Range": f"bytes {first}-{first + len(piece) - 1}/{len(content)}"}
        )

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
        reached = {"Range": f"bytes=0-{len(kept) - 1}"} if kept else {}
        return answer(308, b"", reached)
