"""A platform as a process on this machine, and an HTTP caller that knows its key and the steps of an upload."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from firectl.names import random_id
from firectl.schemas.words import DeploymentState

SOURCE = Path(__file__).parents[2] / "src"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
START_SECONDS = 60.0
bare = httpx.Client(timeout=60, verify=False)
"""For requests without our key. One for all: each client of httpx reads every certificate of the machine."""


class PlatformProcess:
    """`python -m firectl.server`, started and ended by the test."""

    def __init__(
        self, home: Path, *arguments: str, account: str = "acme", umask: int = 0o022, **environment: str
    ) -> None:
        self.home = home
        command = [sys.executable, "-m", "firectl.server", "--home", str(home), "--account", account, *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT | environment,
            text=True,
            umask=umask,
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], START_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.kill()
            assert self.process.stderr is not None
            raise AssertionError(f"the platform did not start: {self.process.stderr.read()}")
        self.url: str = json.loads(line)["url"]
        self.api = Api(self.url, self.key, account)

    @property
    def key(self) -> str:
        return str(json.loads((self.home / "credentials.json").read_bytes())["apiKey"])

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self.api.http.close()
        return status


def refused(*arguments: str, home: Path, account: str = "acme") -> subprocess.CompletedProcess[str]:
    """A platform that does not come up: its exit status and what it said."""
    command = [sys.executable, "-m", "firectl.server", "--home", str(home), "--account", account, *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=START_SECONDS, check=False)


@dataclass(frozen=True)
class Refusal:
    """An error answer: HTTP status, gRPC code, message, and the hint that rides in the details."""

    status: int
    code: int
    message: str
    hint: str | None


class Api:
    """Calls of one account, in plain JSON."""

    def __init__(self, url: str, key: str, account: str) -> None:
        self.url = url
        self.account = f"accounts/{account}"
        self.http = httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=60, verify=False)

    def call(self, method: str, path: str, body: object = None, **query: str | int | bool) -> httpx.Response:
        """`path` as it follows the account, or from `/` on."""
        target = path if path.startswith("/") else f"/v1/{self.account}/{path}"
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.request(method, target, content=content, params=query)

    def ok(self, method: str, path: str, body: object = None, **query: str | int | bool) -> dict[str, Any]:
        """The answer of a call that succeeds."""
        answer = self.call(method, path, body, **query)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        document: dict[str, Any] = answer.json()
        return document

    def refused(self, method: str, path: str, body: object = None, **query: str | int | bool) -> Refusal:
        """The error of a call that does not."""
        return refusal(self.call(method, path, body, **query))

    def names(self, path: str, collection: str, **query: str | int | bool) -> list[str]:
        """The IDs of a list."""
        return [item["name"].rsplit("/", 1)[1] for item in self.ok("GET", path, **query)[collection]]

    def at(self, account: str) -> Api:
        """The same caller on another account's paths."""
        other = Api.__new__(Api)
        other.url, other.account, other.http = self.url, f"accounts/{account}", self.http
        return other

    def create_model(self, model_id: str, base: str | None = None, **fields: object) -> dict[str, Any]:
        kind: dict[str, object] = (
            {"kind": "HF_BASE_MODEL", "baseModelDetails": {}}
            if base is None
            else {"kind": "HF_PEFT_ADDON", "peftDetails": {"baseModel": base}}
        )
        return self.ok("POST", "models", {"modelId": model_id, "model": {**kind, **fields}})

    def announce(self, model_id: str, sizes: Mapping[str, int], resumable: bool = False) -> dict[str, str]:
        body = {"filenameToSize": {name: str(size) for name, size in sizes.items()}, "enableResumableUpload": resumable}
        urls: dict[str, str] = self.ok("POST", f"models/{model_id}:getUploadEndpoint", body)["filenameToSignedUrls"]
        return urls

    def put_files(self, model_id: str, folder: Path) -> None:
        """Announce and send every file of a folder."""
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        for name, url in self.announce(model_id, {name: len(data) for name, data in files.items()}).items():
            answer = bare.put(url, content=files[name])
            assert answer.status_code == 200, answer.text

    def validate(self, model_id: str) -> list[str]:
        warnings: list[str] = self.ok("GET", f"models/{model_id}:validateUpload")["warnings"]
        return warnings

    def ready_model(self, folder: Path, base: str | None = None, model_id: str | None = None) -> str:
        """The full name of a model with the files of a folder, READY."""
        model_id = model_id or f"m-{random_id()}"
        self.create_model(model_id, base)
        self.put_files(model_id, folder)
        self.validate(model_id)
        return f"{self.account}/models/{model_id}"

    def parked(self, model: str, deployment_id: str | None = None, /, **fields: object) -> str:
        """The ID of a deployment that needs no replica."""
        deployment_id = deployment_id or f"d-{random_id()}"
        body = {"baseModel": model, "maxReplicaCount": 0, **fields}
        self.ok("POST", "deployments", body, deploymentId=deployment_id)
        return deployment_id

    def deployment(self, deployment_id: str) -> dict[str, Any]:
        return self.ok("GET", f"deployments/{deployment_id}")

    def until_deleted(self, deployment_id: str) -> None:
        until(lambda: self.deployment(deployment_id)["state"] == DeploymentState.DELETED)

    def until_gone(self, path: str) -> None:
        until(lambda: self.call("GET", path).status_code == 404)


def refusal(answer: httpx.Response) -> Refusal:
    """What an error answer of the control plane says."""
    assert answer.status_code >= 400, f"{answer.status_code} {answer.text}"
    document = answer.json()
    assert set(document) == {"code", "message", "details", "request_id"}
    assert document["request_id"] == answer.headers["x-request-id"]
    hints = [detail["metadata"].get("hint") for detail in document["details"] if "metadata" in detail]
    return Refusal(answer.status_code, document["code"], document["message"], hints[0] if hints else None)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for what the platform does by itself."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
