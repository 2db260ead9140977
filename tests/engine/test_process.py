"""The life of an engine process: it listens before it loads, says why it cannot, and ends with its parent."""

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
import pytest

from tests.engine.process import SOURCES, EngineProcess
from tests.tiny import make_base


def test_it_listens_and_says_that_it_loads_before_it_serves(base: Path) -> None:
    with EngineProcess(base) as engine:
        health = engine.http.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        early = engine.post("/v1/completions", {"model": "base", "prompt": "x"})
        assert early.status_code == 503
        assert early.json()["error"]["code"] == "ENGINE_LOADING"
        engine.wait_ready()
        assert engine.http.get("/health").json() == {"status": "ok"}
        no_lora = engine.post("/v1/load_lora_adapter", {"lora_name": "a", "lora_path": "/a"})
        assert no_lora.status_code == 400
        assert "--enable-lora" in no_lora.json()["error"]["message"]
        # The end of stdin is the end of its parent, whatever is in flight.
        body = {"model": "base", "prompt": "x", "max_tokens": 500, "ignore_eos": True, "stream": True}
        with engine.http.stream("POST", "/v1/completions", json=body) as answer:
            next(answer.iter_lines())
            assert engine.process.stdin is not None
            engine.process.stdin.close()
            assert engine.process.wait(5) == 0


def test_it_ends_in_order_when_told_to(base: Path) -> None:
    with EngineProcess(base) as engine:
        engine.wait_ready()
        engine.process.send_signal(signal.SIGTERM)
        code, errors = engine.end()
        assert code in (0, -signal.SIGTERM)
        assert errors == ""


def test_with_a_key_every_v1_request_needs_it(base: Path) -> None:
    with EngineProcess(base, env={"VLLM_API_KEY": "fw_sécret"}) as engine:
        engine.wait_ready()
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "fw_sécret".encode()}):
            refused = engine.http.get("/v1/models", headers=headers)  # type: ignore[arg-type]
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "UNAUTHENTICATED"
        allowed = engine.http.get("/v1/models", headers={"authorization": "Bearer fw_sécret".encode()})
        assert allowed.status_code == 200
        assert engine.http.get("/metrics").status_code == 200


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _half_the_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    size = int.from_bytes(weights.read_bytes()[:8], "little")
    raw = weights.read_bytes()
    header = json.loads(raw[8 : 8 + size])
    del header["model.layers.1.mlp.up_proj.weight"]
    text = json.dumps(header).encode()
    weights.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _no_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _quantised(folder: Path) -> None:
    _edit(folder, quantization_config={"quant_method": "fp8"})


def _unknown(folder: Path) -> None:
    _edit(folder, model_type="wizard")


def _edit(folder: Path, **changes: object) -> None:
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_weights, "cannot be loaded"),
        (_half_the_weights, "lacks 1 tensors of the model, such as model.layers.1.mlp.up_proj.weight"),
        (_no_tokenizer, "tokenizer"),
        (_no_config, "config.json cannot be read"),
        (_quantised, "quantised"),
        (_unknown, "wizard"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_said_in_one_line_of_json(damage: object, message: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    damage(base)  # type: ignore[operator]
    with EngineProcess(base) as engine:
        code, errors = engine.end()
        assert code == 1
        assert len(errors.splitlines()) == 1
        error = json.loads(errors)["error"]
        assert message in error["message"]
        assert error["code"] == "INVALID_ARGUMENT"


def test_a_context_longer_than_the_model_or_the_memory_allows_is_refused(base: Path) -> None:
    with EngineProcess(base, "--max-model-len", "513") as engine:
        assert "--max-model-len 513 is more than the 512 tokens" in engine.end()[1]


def test_a_port_that_is_taken_is_said_and_a_wrong_flag_is_too(base: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "firectl.engine.embedded", "--model", str(base), "--served-model-name", "b"]
        env = os.environ | {"PYTHONPATH": str(SOURCES)}
        port = str(taken.getsockname()[1])
        done = subprocess.run([*command, "--port", port], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"cannot listen on 127.0.0.1:{port}" in json.loads(done.stderr)["error"]["message"]
        done = subprocess.run([*command, "--port", "-1"], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")


def test_health_answers_before_torch_is_there(base: Path) -> None:
    """It is asked for the moment the port is known, while the imports alone take seconds."""
    with EngineProcess(base) as engine:
        began = time.monotonic()
        assert engine.http.get("/health").status_code == 503
        asked = time.monotonic() - began
        engine.wait_ready()
        assert asked < (time.monotonic() - began) / 2


def test_a_request_sent_byte_by_byte_is_answered_and_half_a_one_is_let_go(engine: EngineProcess) -> None:
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
