"""The life of an engine process: it listens before it loads, reports failures, and ends with its parent.

Proves `engine/serve.py` and `engine/start.py`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.engine.process import SOURCES, EngineProcess
from tests.tiny import make_base


def test_a_process_listens_before_it_loads_and_ends_with_its_parent(base: Path) -> None:
    with EngineProcess(base) as engine:
        health = engine.http.get("/health")
        # The imports and the weights take seconds; the answer did not wait for them.
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        early = engine.post("/v1/completions", {"model": "base", "prompt": "x"})
        assert early.status_code == 503
        assert early.json()["error"]["code"] == "ENGINE_LOADING"
        engine.wait_ready()
        assert engine.http.get("/health").json() == {"status": "ok"}
        no_lora = engine.post("/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "/a"})
        assert no_lora.status_code == 400
        assert "--enable-lora" in no_lora.json()["error"]["message"]
        # The end of stdin means that the parent has ended: the process ends at once.
        body = {"model": "base", "prompt": "x", "max_tokens": 500, "ignore_eos": True, "stream": True}
        with engine.http.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()  # kept: httpx closes the connection when this iterator goes
            next(lines)
            assert engine.process.stdin is not None
            engine.process.stdin.close()
            assert engine.process.wait(5) == 0


def test_with_a_key_every_v1_request_needs_it_and_a_signal_ends_it_in_order(base: Path) -> None:
    key = "Bearer fw_sécret".encode()
    with EngineProcess(base, env={"VLLM_API_KEY": "fw_sécret"}) as engine:
        engine.wait_ready()
        for wrong in ({}, {b"authorization": b"Bearer wrong"}, {b"authorization": key[7:]}):
            refused = engine.http.get("/v1/models", headers=wrong)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "UNAUTHENTICATED"
        assert engine.http.get("/v1/models", headers={b"authorization": key}).status_code == 200
        assert engine.http.get("/metrics").status_code == 200
        engine.process.send_signal(signal.SIGTERM)
        code, errors = engine.end()
        assert code in (0, -signal.SIGTERM)
        assert errors == ""


def test_a_process_that_cannot_load_its_model_says_so_in_one_line_of_json_at_once(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    (base / "config.json").write_text("{")
    with EngineProcess(base) as engine:
        code, errors = engine.end()
    assert code == 1
    assert len(errors.splitlines()) == 1
    error = json.loads(errors)["error"]
    assert "config.json" in error["message"]
    assert error["code"] == "INVALID_ARGUMENT"


def test_a_taken_port_and_a_wrong_flag_are_reported(base: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "firectl.engine", "--model", str(base), "--served-model-name", "b"]
        env = os.environ | {"PYTHONPATH": str(SOURCES)}
        port = str(taken.getsockname()[1])
        done = subprocess.run([*command, "--port", port], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"cannot listen on 127.0.0.1:{port}" in json.loads(done.stderr)["error"]["message"]
        done = subprocess.run([*command, "--port", "-1"], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")


SABOTAGE = """
import gc, sys, threading, time, urllib.error, urllib.request
from firectl.engine import serve
from firectl.engine.__main__ import parse

def sabotage():
    sys.stdin.readline()
    engine = next(each for each in gc.get_objects() if type(each).__name__ == "Engine")
    engine.submit([None])

threading.Thread(target=sabotage, daemon=True).start()
sys.exit(serve.serve(parse(sys.argv[1:])))
"""


def test_when_the_engine_fails_requests_in_flight_get_the_error_and_the_process_ends(base: Path) -> None:
    with EngineProcess(base, program=("-c", SABOTAGE)) as engine:
        engine.wait_ready()
        body = {"model": "base", "prompt": "x", "max_tokens": 500, "ignore_eos": True, "stream": True}
        with engine.http.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert engine.process.stdin is not None
            engine.process.stdin.write(b"now\n")
            engine.process.stdin.flush()
            events = [line for line in lines if line]
        failed = json.loads(events[-1].removeprefix("data: "))["error"]
        assert failed["code"] == "ENGINE_FAILED"
        assert failed["type"] == "server_error"
        health = engine.http.get("/health")
        assert health.status_code == 503
        assert "the engine failed: AttributeError" in health.json()["status"]
        late = engine.post("/v1/completions", body)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "ENGINE_STOPPED")
        code, errors = engine.end()
    assert code == 1
    assert json.loads(errors.splitlines()[-1])["error"]["code"] == "ENGINE_FAILED"


def test_a_request_sent_byte_by_byte_is_answered_and_half_a_request_is_dropped(engine: EngineProcess) -> None:
    body = b'{"model":"base","prompt":"x","max_tokens":1}'
    raw = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", engine.port)) as slow:
        for byte in raw + body:
            slow.sendall(bytes([byte]))
        answer = b"".join(iter(lambda: slow.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    with socket.create_connection(("127.0.0.1", engine.port)) as half:
        half.sendall(raw + body[:10])
    assert httpx.get(f"{engine.url}/health").status_code == 200


def test_answers_on_a_kept_connection_wait_for_no_acknowledgement(engine: EngineProcess) -> None:
    took = []
    for _ in range(30):
        started = time.perf_counter()
        assert engine.http.get("/health").status_code == 200
        took.append(time.perf_counter() - started)
    # A delayed acknowledgement takes 40 ms on a connection that is not new.
    assert min(took[-10:]) < 0.03
