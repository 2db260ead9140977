"""A server on 127.0.0.1 that answers from a script, the bad ways included: what a test needs to see of a bad day."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KEY = "fw_SECRETsecretSECRET1234"
"""The key of the clients that are tested."""


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """`raw` are the bytes of the whole answer. `end`: how the connection goes on: keep, close, reset or hang."""

    raw: bytes = b""
    end: str = "keep"
    drip: float = 0.0
    """Seconds between single bytes of the body, or of the whole answer (`from_head`)."""
    from_head: bool = False
    then: Callable[[], bytes] | None = None
    """Gives the rest of the answer, once it is to be sent."""


def answer(
    status: int = 200, body: object = None, headers: Mapping[str, str] | None = None, *, end: str = "keep"
) -> Reply:
    """A well-formed answer; `body` is JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}"]
    given = {"Content-Type": "application/json", **(headers or {})}
    lines += [f"{name}: {value}" for name, value in given.items()]
    return Reply("\r\n".join(lines).encode() + b"\r\n\r\n" + content, end)


RESET = Reply(end="reset")
CLOSE = Reply(end="close")
HANG = Reply(end="hang")

Script = Callable[[Received], Reply]


class ScriptServer:
    """Answers each request with `script(request)`; `received` keeps them all."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.received: list[Received] = []
        self._came = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def until(self, condition: Callable[[Sequence[Received]], bool], seconds: float = 30) -> None:
        """Returns once `condition` holds of what was received."""
        with self._came:
            assert self._came.wait_for(lambda: condition(self.received), seconds), "it was not asked for in time"

    def close(self) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                with connection.makefile("rb") as stream:
                    for request in _requests(stream):
                        with self._came:
                            self.received.append(request)
                            self._came.notify_all()
                        if not self._reply(connection, self.script(request)):
                            return
            except OSError:
                return

    def _reply(self, connection: socket.socket, reply: Reply) -> bool:
        if reply.drip:
            head = 0 if reply.from_head else reply.raw.index(b"\r\n\r\n") + 4
            connection.sendall(reply.raw[:head])
            for byte in reply.raw[head:]:
                connection.sendall(bytes([byte]))
                if self._closing.wait(reply.drip):
                    return False
        else:
            connection.sendall(reply.raw)
        if reply.then is not None:
            connection.sendall(reply.then())
        if reply.end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if reply.end == "hang":
            self._closing.wait(60)
        return reply.end == "keep"


def _requests(stream: Any) -> Iterator[Received]:
    while line := stream.readline():
        if not line.endswith(b"HTTP/1.1\r\n"):
            return  # not HTTP: a TLS greeting
        method, path, _ = line.decode().split()
        headers = {}
        while (header := stream.readline().decode().strip()) != "":
            name, _, value = header.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        body = stream.read(length)
        if len(body) < length:
            return  # broken off
        yield Received(method, path, headers, body)
