"""An engine process as the platform starts it: a port on stdout, a pipe on stdin that ends it, HTTP in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

SOURCES = Path(__file__).parents[2] / "src"


class EngineProcess:
    """`program` is what Python runs: the engine, or a test's wrapper of it."""

    def __init__(
        self,
        model: Path,
        *options: str,
        env: dict[str, str] | None = None,
        program: Sequence[str] = ("-m", "firectl.engine", "--exit-with-stdin"),
    ) -> None:
        command = [sys.executable, *program, "--model", str(model)]
        command += ["--served-model-name", "base", "--threads", "1", *options]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCES), **(env or {})},
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.port: int = json.loads(line)["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def wait_ready(self, timeout: float = 120) -> None:
        self.wait_for(lambda: self.http.get("/health").status_code == 200, timeout)

    def wait_for(self, condition: Any, timeout: float = 30) -> None:
        """Poll until the condition holds; fails when the process or the time ends."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, "the engine ended"
            assert time.monotonic() < deadline, "the condition did not come to hold"
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        """Exit code and stderr of a process that ends by itself."""
        code = self.process.wait(60)
        assert self.process.stderr is not None
        return code, self.process.stderr.read().decode()

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.http.post(path, json=body, **options)

    def chat(self, content: str = "hello", **fields: Any) -> dict[str, Any]:
        body = {"model": "base", "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 8}
        answer = self.post("/v1/chat/completions", body | fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def complete(self, prompt: Any = "hello", **fields: Any) -> dict[str, Any]:
        body = {"model": "base", "prompt": prompt, "temperature": 0, "max_tokens": 8}
        answer = self.post("/v1/completions", body | fields)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def stream(self, path: str, body: dict[str, Any]) -> list[Any]:
        """Every event of a stream, decoded, `[DONE]` last."""
        with self.http.stream("POST", path, json=body | {"stream": True}) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            return [_decode(line) for line in answer.iter_lines() if line]

    def metric(self, name: str, labels: str = '{model_name="base"}') -> float:
        return read_metric(self.http.get("/metrics").text, name, labels)

    def idle(self) -> bool:
        return self.metric("vllm:num_requests_running") + self.metric("vllm:num_requests_waiting") == 0

    @contextmanager
    def loaded(self, name: str, path: Path) -> Iterator[str]:
        """The adapter, loaded for the block."""
        answer = self.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
        assert answer.status_code == 200, answer.text
        try:
            yield name
        finally:
            self.post("/v1/unload_lora_adapter", {"lora_name": name})

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def read_metric(page: str, name: str, labels: str = '{model_name="base"}') -> float:
    """A value on a page of Prometheus' text form; 0 for one that is not there."""
    return next((float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"{name}{labels} ")), 0.0)


def _decode(line: str) -> Any:
    assert line.startswith("data: "), line
    data = line.removeprefix("data: ")
    return data if data == "[DONE]" else json.loads(data)
