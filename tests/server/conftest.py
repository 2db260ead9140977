"""One platform process for all tests of server/; each test uses its own names, so that tests do not interfere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.folders import write_adapter, write_base
from tests.server.process import Api, PlatformProcess


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformProcess]:
    running = PlatformProcess(tmp_path_factory.mktemp("control") / "local")
    yield running
    running.stop()


@pytest.fixture
def api(platform: PlatformProcess) -> Api:
    return platform.api


@pytest.fixture(scope="session")
def base(platform: PlatformProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The full name of a READY base in the public account."""
    folder = write_base(tmp_path_factory.mktemp("base"))
    return platform.api.at("fireworks").ready_model(folder, model_id="tiny")


@pytest.fixture(scope="session")
def adapter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture
def adapter(api: Api, base: str, adapter_folder: Path) -> str:
    """The full name of a READY adapter of the base, the test's own."""
    return api.ready_model(adapter_folder, base)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., PlatformProcess]]:
    """Start platforms of the test's own: `start(*arguments)`, on one data folder."""
    running: list[PlatformProcess] = []

    def begin(*arguments: str, umask: int = 0o022, **environment: str) -> PlatformProcess:
        running.append(PlatformProcess(tmp_path / "own" / "local", *arguments, umask=umask, **environment))
        return running[-1]

    yield begin
    for process in running:
        process.stop()


@pytest.fixture
def model(api: Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """The ID of a model that waits for files."""
    model_id = f"up-{abs(hash(request.node.name))}"
    api.create_model(model_id)
    yield model_id
    api.call("DELETE", f"models/{model_id}")
