"""Creates over a connection that resets, before and after the work is done, make exactly as many as requested."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import httpx
import pytest

from tests.cli.inside import run_many
from tests.client.script_server import RESET, Received, Reply, ScriptServer
from tests.server.process import PlatformProcess
from tests.tiny import make_base

SEED = 8
OFTEN = 0.4
"""The share of requests that are lost; never one three times in a row, since the client then gives up."""


class BreakingLine:
    """Forwards requests to a platform, and resets the connection of some before forwarding or instead of answering."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.lost = {"before": 0, "after": 0}
        self._http = httpx.Client(base_url=target, timeout=60, verify=False)
        self._tries: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self.server = ScriptServer(self._answer)

    def _answer(self, request: Received) -> Reply:
        key = f"{request.method} {request.path} ".encode() + request.body
        with self._lock:
            number = self._tries[key] = self._tries.get(key, 0) + 1
            chance = random.Random(f"{SEED} {number} {key.decode()}").random()
            # A request that all commands make alike has no count of its own: one of them could be lost three times.
            spared = number % 3 == 0 or chance > OFTEN or "/d-" not in request.path.replace("=", "/")
            lost = None if spared else "before" if chance < OFTEN / 2 else "after"
            if lost:
                self.lost[lost] += 1
        if lost == "before":
            return RESET
        headers = {name: request.headers[name] for name in ("authorization", "content-type") if name in request.headers}
        answer = self._http.request(request.method, request.path, content=request.body, headers=headers)
        if lost == "after":
            return RESET
        head = f"HTTP/1.1 {answer.status_code} X\r\nContent-Type: application/json\r\n"
        return Reply(f"{head}Content-Length: {len(answer.content)}\r\n\r\n".encode() + answer.content)

    def close(self) -> None:
        self.server.close()
        self._http.close()


@pytest.mark.parametrize("creates", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_creates_through_a_breaking_line_make_exactly_as_many(tmp_path: Path, creates: int) -> None:
    platform = PlatformProcess(tmp_path / "platform")
    try:
        base = platform.api.ready_model(make_base(tmp_path / "base"), model_id="base")
        line = BreakingLine(platform.url)
        environ = {
            "HOME": str(tmp_path),
            "FIREWORKS_HOME": str(tmp_path / "home"),
            "FIREWORKS_API_KEY": platform.key,
            "FIREWORKS_ACCOUNT_ID": "acme",
            "FIREWORKS_BASE_URL": line.server.url,
        }
        ids = [f"d-{number}" for number in range(creates)]
        create = ["deployment", "create", base, "--max-replica-count", "0", "-o", "name", "--deployment-id"]
        try:
            ran = run_many([[*create, deployment_id] for deployment_id in ids], environ, threads=25)
        finally:
            line.close()
        assert [(done.code, done.out) for done, _ in ran] == [(0, f"accounts/acme/deployments/{d}\n") for d in ids], [
            done for done, _ in ran if done.code
        ][:3]
        listed = platform.api.names("deployments", "deployments", pageSize=200)
        assert sorted(listed) == sorted(ids)
        assert platform.api.ok("GET", "deployments")["totalSize"] == creates
        assert min(line.lost.values()) > creates / 10, "the line broke in both ways, and often"
    finally:
        platform.stop()
