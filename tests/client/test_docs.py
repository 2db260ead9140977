"""The examples of docs/client.md, run one after the other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.client.script_server import KEY, Received, Reply, ScriptServer, answer
from tests.client.storage import Storage
from tests.client.test_inference import piece, stream
from tests.client.test_proof import Models

PAGE = Path(__file__).parents[2] / "docs" / "client.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


class Platform:
    """Rows by name, ready as soon as they are asked for; files, answers and log-probabilities come from the parts."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, object]] = {}
        self.storage = Storage()
        self.models = Models()
        self.models.record = answer(200, {"tensorsChanged": 4, "deltaNorm": 1.5})

    def __call__(self, request: Received) -> Reply:
        path = urlsplit(request.path).path.removeprefix("/v1/")
        if path.startswith("/inference") or path.endswith(":mergeRecord"):
            return self._infer(request)
        if path.startswith("/store/") or path.endswith((":getUploadEndpoint", ":validateUpload")):
            return self.storage(request)
        if request.method == "POST":
            return self._create(request, path)
        if request.method == "DELETE":
            return answer(200, {}) if self.rows.pop(path, None) else answer(404, {"message": f"{path} not found"})
        if path in self.rows or request.method == "PATCH":
            return answer(200, self.rows.get(path, {}))
        if path.count("/") == 2:
            collection = path.rpartition("/")[2]
            return answer(200, {collection: [row for name, row in self.rows.items() if f"/{collection}/" in name]})
        return answer(404, {"code": 5, "message": f"{path} not found"})

    def _create(self, request: Received, path: str) -> Reply:
        body = request.json
        if path.endswith("deployedModels"):
            return self._keep(f"{path}/row", {**body, "state": "DEPLOYED"})
        if path.endswith("deployments"):
            return self._keep(f"{path}/{request.path.partition('deploymentId=')[2]}", {**body, "state": "READY"})
        return self._keep(f"{path}/{body['modelId']}", {**body["model"], "state": "READY"})

    def _keep(self, name: str, row: dict[str, object]) -> Reply:
        self.rows[name] = {**row, "name": name}
        return answer(200, self.rows[name])

    def _infer(self, request: Received) -> Reply:
        if request.method == "GET" or "x-firectl-probe" in request.headers:
            # The adapter of the page is known to Models by the name it has there.
            body = request.body.replace(b"deployments/shared", b"deployments/d")
            return self.models(
                Received(request.method, request.path, request.headers, body.replace(b"my-lora", b"lora"))
            )
        if request.json.get("stream"):
            return stream(piece("I am "), piece("the LoRA", "stop"))
        if request.path.endswith("/chat/completions"):
            return answer(200, {"choices": [{"message": {"content": "I am the LoRA"}}]})
        return answer(200, {"choices": [{"text": " there was a LoRA"}]})


def test_the_examples_of_the_page_do_what_it_says(
    serve: Callable[..., ScriptServer],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    platform = Platform()
    server = serve(platform)
    platform.storage.url = server.url
    monkeypatch.setenv("FIREWORKS_BASE_URL", server.url)
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "acme")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-lora").mkdir()
    (tmp_path / "my-lora" / "adapter_config.json").write_bytes(b"{}")
    scope: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), scope)
    said = capsys.readouterr().out
    assert said.startswith("0 of 2\n2 of 2\naccounts")
    for line in (
        "accounts/acme/models/my-lora READY\n",
        "merge_record the adapter is merged: 4 tensors changed\n",
        "adapter_differs the adapter answers: ",
        "I am the LoRA\nI am the LoRA there was a LoRA\n",
        "accounts/acme/models/no-such-model not found 404 None\n",
    ):
        assert line in said
    assert len(BLOCKS) == 8
    assert list(platform.storage.files) == ["adapter_config.json"]
    assert "accounts/acme/deployments/shared" not in platform.rows
    scope["client"].close()  # type: ignore[attr-defined]
