"""Clients that disconnect free their slots, in a stream or before their answer.

Proves `engine/http/disconnect.py` through a real process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

from tests.engine.leaving import leaving
from tests.engine.process import EngineProcess

LONG = {"model": "base", "prompt": "hello", "max_tokens": 500, "ignore_eos": True, "stream": True}


def test_a_client_that_leaves_a_stream_frees_its_slots(engine: EngineProcess) -> None:
    with leaving(engine) as begun, engine.http.stream("POST", "/v1/completions", json=LONG | {"n": 16}) as answer:
        lines = answer.iter_lines()  # kept: httpx closes the connection when this iterator goes
        next(lines)
        begun()


def test_a_client_that_leaves_before_its_answer_frees_its_slots(engine: EngineProcess) -> None:
    body = json.dumps(LONG | {"n": 16, "stream": False}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with leaving(engine) as begun, socket.create_connection(("127.0.0.1", engine.port)) as client:
        client.sendall(head + body)
        begun()


def test_a_client_that_is_killed_in_a_stream_frees_its_slots(engine: EngineProcess) -> None:
    code = (
        "import httpx, sys\n"
        f"with httpx.stream('POST', '{engine.url}/v1/completions', json={LONG | {'n': 16}!r}) as answer:\n"
        "    for line in answer.iter_lines():\n"
        "        print('line', flush=True)\n"
    )
    with leaving(engine) as begun:
        client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert client.stdout is not None
        assert client.stdout.readline() == b"line\n"
        begun()
        os.kill(client.pid, signal.SIGKILL)
        client.wait()
        client.stdout.close()
