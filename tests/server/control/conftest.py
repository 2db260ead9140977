"""A platform that runs nothing, so that what a call writes can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firectl.schemas.model import Model
from firectl.schemas.words import ModelKind
from firectl.server.access.auth import Authenticator
from firectl.server.access.signing import Signer
from firectl.server.control.accounts import accounts
from firectl.server.disk.paths import Paths
from firectl.server.platform import Platform, PlatformSettings
from firectl.server.replicas.supervisor import Supervisor, utc_now
from firectl.server.replicas.wakeup import Wakeup
from firectl.server.store import Store
from firectl.server.store.rows import ModelRow
from tests.server.control.still import ME
from tests.server.folders import write_adapter


@pytest.fixture
def still(tmp_path: Path) -> Iterator[Platform]:
    """A platform whose loop was never started, with a READY base and an adapter of it; 4 replicas, 2 addons at most."""
    paths = Paths(tmp_path)
    paths.create()
    store = Store(f"sqlite:///{paths.database}")
    accounts.bootstrap(store, ME, "fw_key", utc_now())
    wakeup = Wakeup()
    write_adapter(tmp_path / "models" / "adapter")
    now = datetime.now(UTC)
    with store.begin() as tx:
        for name, kind, base, folder in (
            ("base", ModelKind.BASE, None, "models/base"),
            ("a1", ModelKind.ADDON, f"{ME}/models/base", "models/adapter"),
            ("a2", ModelKind.ADDON, f"{ME}/models/base", "models/adapter"),
            ("a3", ModelKind.ADDON, f"{ME}/models/base", "models/adapter"),
        ):
            tx.models.insert(
                ModelRow(
                    name=f"{ME}/models/{name}", account=ME, resource=Model(), state="READY", kind=kind, base=base,
                    folder=folder, content_hash=f"sha256:{name}", create_time=now, update_time=now,
                )
            )  # fmt: skip
    yield Platform(
        account=ME,
        url="http://127.0.0.1:1",
        paths=paths,
        settings=PlatformSettings(max_replicas=4, max_addons=2),
        store=store,
        wakeup=wakeup,
        supervisor=Supervisor(store, tmp_path, ME, wakeup),
        authenticator=Authenticator(store, utc_now),
        signer=Signer(b"key", utc_now),
    )
    store.close()
