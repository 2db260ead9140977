"""What are the parts of the platform? `doors` and `control` use them; `__main__` creates them once, at the start."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from weakref import WeakValueDictionary

from firectl.server.access.auth import Authenticator
from firectl.server.access.signing import Signer
from firectl.server.disk.paths import Paths
from firectl.server.replicas.supervisor import Supervisor, utc_now
from firectl.server.replicas.wakeup import Wakeup
from firectl.server.store import Store


@dataclass(frozen=True, kw_only=True)
class PlatformSettings:
    """The platform's limits. An error that a limit causes names the flag that sets the limit, if there is one."""

    max_replicas: int = 16
    """Maximum number of replicas of all deployments together (`--max-replicas`)."""
    max_model_bytes: int = 1 << 40
    """Maximum total size of one model's files, in bytes (`--max-model-bytes`)."""
    max_addons: int = 64
    """Maximum number of addons loaded on one deployment: an engine has room for no more."""


class Locks:
    """One lock per name, for work that must not run twice at the same time."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        # With weak references: a lock is dropped once no thread holds it or waits for it.
        self._locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            yield


@dataclass(kw_only=True)
class Platform:
    """The parts of a platform. `account` is the platform's own account (`accounts/a`); `shut_down` asks it to end."""

    account: str
    url: str
    paths: Paths
    settings: PlatformSettings
    store: Store
    wakeup: Wakeup
    supervisor: Supervisor
    authenticator: Authenticator
    signer: Signer
    clock: Callable[[], datetime] = utc_now
    shut_down: Callable[[], None] = lambda: None
    locks: Locks = field(default_factory=Locks)
