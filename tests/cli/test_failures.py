"""Faults in place of an answer: every command ends in time, with its exit code, and never with half a result.

Each row is a command and a fault; the fault comes in place of one of the command's requests, the others are answered.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from firectl.errors import EXIT_OF_CODE, Code, Exit
from tests.cli.conftest import KEY, Cli
from tests.cli.inside import run_many
from tests.client.script_server import CLOSE, HANG, RESET, Received, Reply, ScriptServer, answer
from tests.ran import Ran

TIMEOUT = 0.5
"""Seconds of --timeout."""
LONGEST = 15.0
"""Three tries and the two waits between them, on a busy machine."""


class Command(NamedTuple):
    """A command line, and the request (method, end of the path) that the fault replaces."""

    argv: str
    method: str
    path: str


HARDWARE = "--accelerator-type NVIDIA_A100_80GB --accelerator-count 1"
COMMANDS = {
    "get": Command("deployment get d1", "GET", "/deployments/d1"),
    "list": Command("model list", "GET", "/models"),
    "every-page": Command("deployment list --no-paginate", "GET", "/deployments"),
    "create": Command(
        f"deployment create m --deployment-id d1 --max-replica-count 0 {HARDWARE}", "POST", "/deployments"
    ),
    "create-reads": Command("deployment create m --deployment-id d1 --enable-addons", "GET", "/models/m"),
    "update": Command("deployment update d1 --description x", "PATCH", "/deployments/d1"),
    "scale": Command("scale d1 --replica-count 0", "PATCH", "/deployments/d1:scale"),
    "scale-reads": Command("scale d1 --replica-count 0", "GET", "/deployments/d1"),
    "undelete": Command("undelete deployment d1", "POST", "/deployments/d1:undelete"),
    "load": Command("load-lora m --deployment d1", "POST", "/deployedModels"),
    "unload": Command("unload-lora m --deployment d1", "GET", "/deployedModels"),
    "unload-deletes": Command("unload-lora m --deployment d1", "DELETE", "/deployedModels/x"),
    "download": Command("model download m fetched", "GET", "/models/m:getDownloadEndpoint"),
    "match": Command("deployment-shape-version match --model m", "GET", "/models/m"),
    "match-lists": Command("deployment-shape-version match --model m", "GET", "/deploymentShapes/-/versions"),
    "chat": Command("chat m#d1 hi --wait-timeout 1s", "POST", "/chat/completions"),
}
READS_NOTHING = {"scale", "unload-deletes"}
"""Their answer is `{}`; any object is accepted."""

STATUSES = (400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 418, 422, 429, 499, 500, 501, 502, 503, 504)


def failing(status: int, body: object) -> Reply:
    """An error answer. Retryable ones ask for a short wait, except 500."""
    return answer(status, body, {} if status == 500 else {"retry-after-ms": "5"})


def envelopes(status: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """An error in the three forms that the API has."""
    code = Code.of(None, status)
    yield "grpc", {"code": code.number, "message": "no such luck", "details": []}
    yield "named", {"error": {"code": code.name, "message": "no such luck"}, "request_id": "r-1"}
    yield "openai", {"error": {"message": "no such luck", "type": "t", "param": None, "code": code.name}}


def exit_of(status: int) -> int:
    return Exit.CONFLICT if status == 412 else EXIT_OF_CODE.get(Code.of(None, status), Exit.FAILED)


GOOD = {"name": "accounts/acme/deployments/d1", "state": "READY", "baseModel": "accounts/acme/models/m"}
WHOLE = answer(200, GOOD).raw
HEAD, _, BODY = WHOLE.partition(b"\r\n\r\n")


def framed(body: bytes, length: int, end: str = "close") -> Reply:
    return Reply(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length + body, end
    )


NO_ANSWER = {
    "reset": RESET,
    "closed": CLOSE,
    "reset in the answer": Reply(WHOLE[:-9], "reset"),
    "closed in the answer": Reply(WHOLE[:-9], "close"),
    "reset in the head": Reply(HEAD[:-9], "reset"),
    "length too long": framed(BODY, len(BODY) + 50),
    "never": HANG,
    "a byte at a time": Reply(WHOLE, drip=0.1),
    "a byte of the head at a time": Reply(WHOLE, drip=0.1, from_head=True),
    "no HTTP": Reply(b"220 mail.example.test ESMTP ready\r\n", "close"),
    "bad status line": Reply(b"HTTP/1.1 banana\r\n\r\n", "close"),
    "bad header": Reply(b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n{}", "close"),
    "endless head": Reply(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: y\r\n" * 20_000, "close"),
    "bad chunks": Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnope\r\n", "close"),
}
"""No answer: exit 7, after three tries."""

NO_API = {
    "a web page": answer(200, b"<!DOCTYPE html><title>Sign in</title>", {"Content-Type": "text/html"}),
    "XML": answer(200, b'<?xml version="1.0"?><Error/>'),
    "nothing": answer(200, b""),
    "204": answer(204, b""),
    "text": answer(200, b"OK"),
    "half of JSON": answer(200, b'{"name": "accounts/acme/depl'),
    "length too short": framed(BODY, 9),
    "no UTF-8": answer(200, b'{"name": "\xff\xfe\xfd"}'),
    "an array": answer(200, []),
    "null": answer(200, b"null"),
    "a number": answer(200, 7),
    "a string": answer(200, "READY"),
    "deep": answer(200, b"[" * 200_000),
    "no gzip": answer(200, b"not gzip at all", {"Content-Encoding": "gzip"}),
    "302": answer(302, b"", {"Location": "{elsewhere}/v1/accounts"}),
    "307": answer(307, b"", {"Location": "{elsewhere}/v1/accounts"}),
    "308 without a place": answer(308, b""),
    "304": answer(304, b""),
}
"""An answer of something other than the API: exit 1, at once."""

WRONG = {
    "wrong types": answer(
        200,
        {"name": 7, "state": [], "deployments": 3, "models": "x", "deployedModels": {}, "deploymentShapeVersions": 3},
    ),
    "wrong rows": answer(
        200, {"name": {}, "deployments": [1], "models": [None], "deployedModels": ["x"], "deploymentShapeVersions": [7]}
    ),
    "another resource": answer(200, {"name": "accounts/acme/users/u", "state": "READY"}),
    "an empty object": answer(200, {}),
}
"""An answer in the API's form that is not what was asked for: exit 1."""


class Row(NamedTuple):
    id: str
    command: str
    fault: Reply
    exits: frozenset[int]


def rows() -> Iterator[Row]:
    turn = [name for name in COMMANDS if name != "chat"]
    at = 0

    def next_command(*, without: set[str] = frozenset()) -> str:  # type: ignore[assignment]
        nonlocal at
        while True:
            at += 1
            if turn[at % len(turn)] not in without:
                return turn[at % len(turn)]

    for status in STATUSES:
        for form, body in envelopes(status):
            for command in ("get", next_command()):
                yield Row(f"{status} {form}", command, failing(status, body), frozenset({exit_of(status)}))
        yield Row(f"{status} html", next_command(), failing(status, b"<html>"), frozenset({exit_of(status)}))
        yield Row(f"{status} empty", next_command(), failing(status, b""), frozenset({exit_of(status)}))
    for faults, exits in ((NO_ANSWER, {Exit.RETRY_LATER}), (NO_API, {Exit.FAILED})):
        for name, fault in faults.items():
            for command in ("get", "create", next_command()):
                without = {"unload-deletes"} if name == "204" else set()
                chosen = command if command not in without else next_command(without=without)
                yield Row(name, chosen, fault, frozenset(exits))
    for name, fault in WRONG.items():
        for command in COMMANDS:
            # A list without rows is one, and so is a list of what it does not name.
            lists = name in ("another resource", "an empty object") and (
                "list" in command or command in ("every-page", "unload", "download")
            )
            if command not in READS_NOTHING and command != "chat" and not lists:
                yield Row(name, command, fault, frozenset({Exit.FAILED}))
    for status, exit in ((400, 6), (401, 4), (404, 3), (429, 7), (500, 1), (501, 1)):
        for form, body in envelopes(status):
            yield Row(f"{status} {form}", "chat", failing(status, body), frozenset({exit}))
    for name in ("reset", "never", "closed in the answer"):
        yield Row(name, "chat", NO_ANSWER[name], frozenset({Exit.RETRY_LATER, Exit.WAIT_TIMEOUT}))
    for name in ("a web page", "nothing", "half of JSON", "302", "no gzip"):
        yield Row(name, "chat", NO_API[name], frozenset({Exit.FAILED}))
    yield Row(
        "65 MiB",
        "get",
        Reply(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (65 << 20), "close"),
        frozenset({Exit.FAILED, Exit.RETRY_LATER}),
    )
    again = {"deployments": [GOOD], "nextPageToken": "again"}
    yield Row("pages in a circle", "every-page", answer(200, again), frozenset({Exit.FAILED}))


ROWS = [*rows()]


def timeout_of(row: Row) -> float:
    """Seconds of --timeout: short where the server keeps the client waiting, else long enough for a busy machine."""
    return TIMEOUT if row.fault.end == "hang" or row.fault.drip else 10 * TIMEOUT


class BadServer:
    """Account `f7` gets the fault of row 7 for its command's request, and a good answer to every other."""

    def __init__(self) -> None:
        self.elsewhere = ScriptServer(lambda _: answer(200, GOOD))
        self.server = ScriptServer(self._answer)
        self.tries: dict[int, int] = {}

    def _answer(self, request: Received) -> Reply:
        text = request.path + request.body.decode(errors="replace")
        if request.path == "/v1/local":
            return answer(404, {"code": 5, "message": "this is no local platform"})
        if request.path.startswith("/v1/accounts/fireworks/"):
            return answer(404, {"code": 5, "message": "there are no public models"})
        found = re.search(r"accounts/f(\d+)\b", text)
        assert found, text
        number = int(found[1])
        path = request.path.partition("?")[0]
        command = COMMANDS[ROWS[number].command]
        if request.method == command.method and path.endswith(command.path):
            self.tries[number] = self.tries.get(number, 0) + 1
            fault = ROWS[number].fault
            if b"{elsewhere}" in fault.raw:
                return Reply(fault.raw.replace(b"{elsewhere}", self.elsewhere.url.encode()), fault.end)
            return fault
        return answer(200, self._good(f"accounts/f{number}", path))

    def _good(self, account: str, path: str) -> dict[str, Any]:
        model, deployment = f"{account}/models/m", f"{account}/deployments/d1"
        row = {"name": f"{account}/deployedModels/x", "model": model, "deployment": deployment, "state": "DEPLOYED"}
        if path.endswith("/deployedModels"):
            return {"deployedModels": [row]}
        if path.endswith("/models/m"):
            return {"name": model, "kind": "HF_PEFT_ADDON", "state": "READY", "peftDetails": {"baseModel": model}}
        if path.endswith("/deployments/d1"):
            return {**GOOD, "name": deployment, "baseModel": model}
        return {}

    def close(self) -> None:
        self.server.close()
        self.elsewhere.close()


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BadServer, list[tuple[Ran, float]]]]:
    """The results of all rows, run at once, since they mostly wait."""
    bad = BadServer()
    home = tmp_path_factory.mktemp("failures")
    environ = {
        "FIREWORKS_HOME": str(home),
        "HOME": str(home),
        "FIREWORKS_API_KEY": KEY,
        "FIREWORKS_BASE_URL": bad.server.url,
    }
    lines = [
        ["-a", f"f{number}", "-o", "json", "--timeout", f"{timeout_of(row)}s", *COMMANDS[row.command].argv.split()]
        for number, row in enumerate(ROWS)
    ]
    try:
        yield bad, run_many(lines, environ, threads=40)
    finally:
        bad.close()


def test_there_are_enough_of_them() -> None:
    assert len({(row.id, row.command) for row in ROWS}) >= 120


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: f"{ROWS[number].command}-{ROWS[number].id}")
def test_a_failure_is_an_exit_code_and_one_json_object_in_time(
    met: tuple[BadServer, list[tuple[Ran, float]]], number: int
) -> None:
    ran, seconds = met[1][number]
    assert ran.code in ROWS[number].exits, ran
    assert ran.out == ""
    error = json.loads(ran.err.splitlines()[-1])["error"]
    assert error["message"]
    assert Code[error["code"]]
    assert seconds < LONGEST
    assert KEY not in ran.err
    assert "Traceback" not in ran.err


def test_the_key_follows_no_redirect(met: tuple[BadServer, list[tuple[Ran, float]]]) -> None:
    assert met[0].elsewhere.received == []


def test_a_transient_failure_is_tried_three_times_and_any_other_once(
    met: tuple[BadServer, list[tuple[Ran, float]]],
) -> None:
    for number, row in enumerate(ROWS):
        if row.command == "get" and row.id != "65 MiB":
            again = row.id in NO_ANSWER or row.id.split()[0] in ("408", "429", "500", "502", "503", "504")
            assert met[0].tries[number] == (3 if again else 1), row.id


def test_a_server_that_hangs_up_on_everyone_is_given_up_by_real_processes(cli: Cli) -> None:
    """Servers that reset, refuse or stay silent, with stdin closed and no terminal."""
    listener = socket.create_server(("127.0.0.1", 0))
    silent = socket.create_server(("127.0.0.1", 0))
    free = socket.create_server(("127.0.0.1", 0))
    refused = free.getsockname()[1]
    free.close()

    def hang_up() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        ports = (listener.getsockname()[1], silent.getsockname()[1], refused)
        for port, verb in zip(ports, ("deployment list", "deployment delete d --yes", "whoami"), strict=True):
            ran = cli.process(
                "-s", f"127.0.0.1:{port}", "-a", "acme", "-o", "json", "--timeout", "300ms", *verb.split(),
                env={"FIREWORKS_API_KEY": KEY}, timeout=60,
            )  # fmt: skip
            assert (ran.code, ran.out) == (Exit.RETRY_LATER, ""), ran
            assert json.loads(ran.err.splitlines()[-1])["error"]["code"] in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        silent.close()
        thread.join(10)
