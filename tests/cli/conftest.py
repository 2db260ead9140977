"""The command line as a callable: what it printed and how it ended, exactly, without the developer's own settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.cli.adapters import SAMPLES, change
from tests.cli.hosted import Api
from tests.cli.inside import run_inside
from tests.client.script_server import answer
from tests.ran import Ran
from tests.tiny import make_adapter, make_base

KEY = "fw_SECRETsecretSECRET1234"


class Cli:
    """Runs firectl in this process with no terminal; `process` runs it in one of its own. `home` is FIREWORKS_HOME."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *argv: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Ran:
        return run_inside(argv, {**os.environ, **(env or {})}, stdin)

    def process(self, *argv: str, env: Mapping[str, str] | None = None, stdin: str = "", timeout: float = 60) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "firectl", *argv],
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def begin(self, *argv: str) -> subprocess.Popen[str]:
        """firectl in a process of its own that still runs: it can be sent signals."""
        command = [sys.executable, "-m", "firectl", *argv]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """No key, no account, nothing configured, and an empty home. The current folder holds nothing but that home."""
    for name in list(os.environ):
        if name.startswith(("FIREWORKS_", "FIRECTL_")) or name in ("NO_COLOR", "COLUMNS"):
            monkeypatch.delenv(name)
    home = tmp_path / "fireworks-home"
    monkeypatch.setenv("FIREWORKS_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Cli(home)


@pytest.fixture
def api(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API that the command line is configured for, as account `acme`; it knows nothing until told."""
    server = Api()
    monkeypatch.setenv("FIREWORKS_API_KEY", KEY)
    monkeypatch.setenv("FIREWORKS_ACCOUNT_ID", "acme")
    monkeypatch.setenv("FIREWORKS_BASE_URL", server.url)
    yield server
    server.server.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, an adapter for it, and one, `head`, that only live merge takes; never changed."""
    folder = tmp_path_factory.mktemp("lora")
    base = make_base(folder / "base", shards=2)
    change(make_adapter(folder / "adapter", base), base_model_name_or_path="org/tiny")
    head = make_adapter(folder / "head", base, rslora=True, targets=["q_proj", "lm_head"])
    change(head, base_model_name_or_path="org/tiny")
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A LoRA that is right, free to be spoilt."""
    return Path(shutil.copytree(SAMPLES / "pirate", tmp_path / "adapter"))


@pytest.fixture
def catalog(api: Api) -> Api:
    """An API that knows the base model `base` of the public account, and takes uploads of a LoRA `m`."""
    base, name = "accounts/fireworks/models/base", "accounts/acme/models/m"
    api.on("GET", f"/v1/{base}", {"name": base, "kind": "HF_BASE_MODEL", "state": "READY"})
    api.on("POST", "/v1/accounts/acme/models", {"name": name, "kind": "HF_PEFT_ADDON", "state": "UPLOADING"})
    urls = {file: f"{api.url}/put/{file}" for file in ("adapter_config.json", "adapter_model.safetensors")}
    api.on("POST", f"/v1/{name}:getUploadEndpoint", {"filenameToSignedUrls": urls})
    for file in urls:
        api.on("PUT", f"/put/{file}", answer(200, b""))
    api.on("GET", f"/v1/{name}:validateUpload", {"warnings": ["look here"]})
    api.on("GET", f"/v1/{name}", {"name": name, "kind": "HF_PEFT_ADDON", "state": "READY"})
    api.on("DELETE", f"/v1/{name}", {})
    return api


@pytest.fixture
def here(cli: Cli) -> Iterator[Cli]:
    """No platform yet; one that is started is stopped in the end."""
    yield cli
    cli("local", "down")


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of one platform for all tests that start and stop none."""
    home = tmp_path_factory.mktemp("shared") / "home"
    yield home
    environment = {**os.environ, "FIREWORKS_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "firectl", "local", "down"], env=environment, capture_output=True)


@pytest.fixture
def running(cli: Cli, shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A platform that runs, whose files were made under an umask that hides nothing."""
    monkeypatch.setenv("FIREWORKS_HOME", str(shared_home))
    cli.home = shared_home
    before = os.umask(0)
    try:
        up = cli("local", "up")
    finally:
        os.umask(before)
    assert up.code == 0, up.err
    return cli
