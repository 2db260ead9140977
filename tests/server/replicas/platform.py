"""A running platform without its control plane: SQLite, supervisor, and the inference front on a local port.

Rows are written as control writes them; the test chooses the engine driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from firectl.lora.read.hashing import combined, file_hash, stamp
from firectl.schemas.base import Status
from firectl.schemas.deployed_model import DeployedModel
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from firectl.server.access.auth import Authenticator, key_hash
from firectl.server.disk.merged import merged_key
from firectl.server.doors.authentication import Authentication
from firectl.server.front.door import InferenceDoor, Limits
from firectl.server.front.router import Router
from firectl.server.replicas.fleet import FleetSettings
from firectl.server.replicas.launcher import Driver, EngineSpec
from firectl.server.replicas.replica import Patience
from firectl.server.replicas.supervisor import Supervisor
from firectl.server.replicas.wakeup import Wakeup
from firectl.server.store import Store, Tx
from firectl.server.store.rows import AccountRow, ApiKeyRow, DeployedModelRow, DeploymentRow, FileRow, ModelRow, UserRow

ME, YOU, CATALOG = "accounts/me", "accounts/you", "accounts/fireworks"
KEYS = {"mine": ME, "yours": YOU}
SCRIPTED_ENGINE = Path(__file__).with_name("scripted_engine.py")


def _scripted(spec: EngineSpec) -> Sequence[str]:
    return [sys.executable, str(SCRIPTED_ENGINE), str(spec.model), spec.served_name]


SCRIPTED = FleetSettings(
    driver=Driver(_scripted),
    patience=Patience(health_every=0.2, health_timeout=0.5, health_misses=2, stop=3.0),
    threads=1,
)


class Platform:
    """One running platform; `url` is its inference front's base."""

    def __init__(self, home: Path, settings: FleetSettings, limits: Limits) -> None:
        self.home = home
        self.store = Store(f"sqlite:///{home / 'platform.sqlite'}")
        self.wakeup = Wakeup()
        self.ahead = timedelta()
        self.supervisor = Supervisor(self.store, home, ME, self.wakeup, settings, now=self.now)
        self._limits = limits
        self._thread: threading.Thread | None = None

    def up(self) -> None:
        router = Router(self.store, self.supervisor)
        door = InferenceDoor(router, self.supervisor, self._limits)

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> Any:
            await self.supervisor.start()
            yield
            await self.supervisor.stop()

        gate = Middleware(Authentication, authenticator=Authenticator(self.store, _now))
        app = Starlette(routes=door.routes(), middleware=[gate], lifespan=lifespan)
        config = uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=2)
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()))
        self._thread.start()
        wait(lambda: self.server.started)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/inference/v1"
        self.client = httpx.Client(base_url=self.url, headers={"authorization": "Bearer mine"}, timeout=30)

    def down(self) -> None:
        self.client.close()
        self.server.should_exit = True
        assert self._thread is not None
        self._thread.join(30)
        assert not self._thread.is_alive()
        self.store.close()

    def now(self) -> datetime:
        return _now() + self.ahead

    def pass_time(self, seconds: float) -> None:
        """Let the platform's clock jump ahead."""
        self.ahead += timedelta(seconds=seconds)
        self.wakeup.poke()

    def add_model(self, name: str, folder: Path, base: str | None = None, content_hash: str | None = None) -> str:
        """A READY model whose files are in `folder`. Its hash is theirs unless another one is given."""
        files = {path.name: file_hash(path) for path in folder.iterdir() if path.is_file()}
        relative = f"models/{name.replace('/', '-')}"
        (self.home / "models").mkdir(exist_ok=True)
        (self.home / relative).symlink_to(folder, target_is_directory=True)
        with self.store.begin() as tx:
            tx.models.insert(
                ModelRow(
                    name=name,
                    account=_account(name),
                    resource=Model(),
                    state="READY",
                    kind="HF_PEFT_ADDON" if base else "HF_BASE_MODEL",
                    base=base,
                    folder=relative,
                    content_hash=content_hash or combined(files),
                    create_time=_now(),
                    update_time=_now(),
                    stamps={file: stamp(folder / file) for file in files},
                    check_time=_now(),
                )
            )
            for file, (size, sha256) in files.items():
                tx.files.put(FileRow(model=name, filename=file, size=size, sha256=sha256, complete=True))
        return name

    def merged_key(self, base: str, adapter: str) -> str:
        """The name of the merged folder of two models."""
        with self.store.read() as tx:
            rows = [tx.models.get(name) for name in (base, adapter)]
        return merged_key(*((row.content_hash if row is not None else None) or "" for row in rows))

    def scripted_model(self, name: str, base: str | None = None, /, **script: Any) -> str:
        """A model for the scripted engine, which does as `script` says."""
        folder = self.home.parent / "scripts" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "script.json").write_text(json.dumps(script))
        return self.add_model(name, folder, base)

    def deploy(self, deployment_id: str, model: str, base: str | None = None, replicas: int = 1, **fields: Any) -> str:
        """A deployment with the row of its own model."""
        account = fields.pop("account", ME)
        name = f"{account}/deployments/{deployment_id}"
        resource = Deployment(base_model=model, max_replica_count=fields.pop("max_replica_count", 1), **fields)
        with self.store.begin() as tx:
            first = tx.deployed_models.default_of(model) is None
            tx.deployments.insert(
                DeploymentRow(
                    name=name,
                    account=account,
                    resource=resource,
                    state="CREATING",
                    status=Status(),
                    model=model,
                    base=base or model,
                    desired_replicas=replicas,
                    served_folder=None,
                    merge_record=None,
                    last_request_time=None,
                    create_time=_now(),
                    update_time=_now(),
                    delete_time=None,
                    purge_time=None,
                )
            )
            tx.deployed_models.insert(_load(f"own-{deployment_id}", model, name, default=first))
        self.wakeup.poke()
        return name

    def load(self, model: str, deployment: str, load_id: str | None = None, default: bool = False) -> str:
        row = _load(load_id or model.rsplit("/", 1)[1], model, deployment, default=default)
        with self.store.begin() as tx:
            found = tx.models.get(model)
            assert found is not None
            tx.deployed_models.insert(DeployedModelRow(**{**vars(row), "model_hash": found.content_hash}))
        self.wakeup.poke()
        return row.name

    def set(self, name: str, **columns: Any) -> None:
        """Write columns of a deployment or a deployed model, as control does, and ring."""
        with self.store.begin() as tx:
            (tx.deployments if "/deployments/" in name else tx.deployed_models).update(name, **columns)
        self.wakeup.poke()

    def deployment(self, name: str) -> DeploymentRow:
        with self.store.read() as tx:
            row = tx.deployments.get(name)
        assert row is not None
        return row

    def loaded(self, name: str) -> DeployedModelRow | None:
        with self.store.read() as tx:
            return tx.deployed_models.get(name)

    def load_row(self, name: str) -> DeployedModelRow:
        """The row of a deployed model that exists."""
        row = self.loaded(name)
        assert row is not None
        return row

    def ready(self, name: str, timeout: float = 30) -> DeploymentRow:
        """Wait until a deployment is READY; it must not fail before."""

        def state() -> bool:
            row = self.deployment(name)
            assert row.state != "FAILED", row.status
            return row.state == "READY"

        wait(state, timeout)
        return self.deployment(name)

    def deployed(self, name: str, timeout: float = 30) -> None:
        """Wait until a deployed model is DEPLOYED."""
        wait(lambda: (row := self.loaded(name)) is not None and row.state == "DEPLOYED", timeout)

    def pids(self, deployment: str) -> list[int]:
        """The processes that serve a deployment."""
        replicas = self.supervisor.replica_set(deployment).replicas
        return [replica.pid for replica in replicas.values() if replica.pid is not None]

    def chat(self, model: str, content: str = "hi", key: str = "mine", **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": content}], **fields}
        headers = {"authorization": f"Bearer {key}", **fields.pop("headers", {})}
        body.pop("headers", None)
        return self.client.post("/chat/completions", json=body, headers=headers)

    def events(self, model: str, content: str = "hi", **fields: Any) -> list[Any]:
        """What a streamed answer's events say, JSON decoded; the last is "[DONE]" where it came."""
        body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": True, **fields}
        with self.client.stream("POST", "/chat/completions", json=body) as response:
            assert response.status_code == 200, response.read()
            data = [line.removeprefix("data: ") for line in response.iter_lines() if line]
        return [text if text == "[DONE]" else json.loads(text) for text in data]


def prepared(home: Path, settings: FleetSettings = SCRIPTED, limits: Limits | None = None) -> Platform:
    """A platform that is not up, with its accounts."""
    home.mkdir(parents=True, exist_ok=True)
    platform = Platform(home, settings, limits or Limits())
    with platform.store.begin() as tx:
        for name in (ME, YOU, CATALOG):
            if tx.accounts.get(name) is None:
                _add_account(tx, name)
    return platform


@contextlib.contextmanager
def running(home: Path, settings: FleetSettings = SCRIPTED, limits: Limits | None = None) -> Iterator[Platform]:
    """A platform, up; at the end it is down and none of its processes is left."""
    platform = prepared(home, settings, limits)
    before = set(psutil.Process().children(recursive=True))
    platform.up()
    try:
        yield platform
    finally:
        platform.down()
    assert set(psutil.Process().children(recursive=True)) <= before


def wait(condition: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Until `condition()` is true; its value."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return value


def _add_account(tx: Tx, account: str) -> None:
    """An account with its user, and its key from KEYS where it has one."""
    user = f"{account}/users/u"
    tx.accounts.insert(AccountRow(name=account, display_name=account, create_time=_now()))
    tx.users.insert(UserRow(name=user, account=account, display_name="U", create_time=_now()))
    for key in (key for key, owner in KEYS.items() if owner == account):
        tx.api_keys.insert(
            ApiKeyRow(
                key_id=key,
                user=user,
                account=account,
                sha256=key_hash(key),
                prefix=key,
                display_name=key,
                create_time=_now(),
                expire_time=None,
            )
        )


def _load(load_id: str, model: str, deployment: str, *, default: bool) -> DeployedModelRow:
    return DeployedModelRow(
        name=f"{_account(deployment)}/deployedModels/{load_id}",
        account=_account(deployment),
        resource=DeployedModel(),
        model=model,
        deployment=deployment,
        state="DEPLOYING",
        status=Status(),
        default=default,
        model_hash=None,
        create_time=_now(),
        update_time=_now(),
    )


def _account(name: str) -> str:
    return "/".join(name.split("/")[:2])


def _now() -> datetime:
    return datetime.now(UTC)
