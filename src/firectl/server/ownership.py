"""Do this data folder and this database belong together? One ID lies in both; a start checks that before it writes.

The database gets the ID first: a start that ends between the two finds a folder that its rows let it adopt.
"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from firectl.config import write_private
from firectl.errors import ApiError, Code, InputError
from firectl.server.disk.files import FileStore
from firectl.server.disk.paths import Paths
from firectl.server.store import Store, Tx
from firectl.server.store.address import is_missing, shown

_NAMED = 3
"""How many folders a message names."""


def open_store(paths: Paths, url: str) -> Store:
    """The database of this data folder, which takes the ID of the other side if it has none.

    FAILED_PRECONDITION, with nothing changed on either side, when they do not belong together.
    """
    database = shown(url)
    here = _read(paths.identity)
    files = FileStore(paths)
    agreed: str | None = None

    def admit(tx: Tx) -> None:
        nonlocal agreed
        named = {row.folder for row in tx.models.all()}
        agreed = tx.identity.get()
        if agreed is None or agreed != here.platform_id:
            known = files.places(named) | {row.served_folder for row in tx.deployments.all() if row.served_folder}
            adopts = _require_known(paths, here, _Side(agreed, database), files.found(), known)
            if agreed is None:
                agreed = here.platform_id if adopts and here.platform_id else secrets.token_hex(16)
                tx.identity.put(agreed)

    if is_missing(url):
        # Asked before the file is made: a refused start leaves nothing behind.
        _require_known(paths, here, _Side(None, database, missing=True), files.found(), ())
    store = Store(url, admit)
    try:
        now = _Side(agreed, database)
        if now != here:
            write_private(paths.identity, json.dumps({"platformId": now.platform_id, "database": now.database}))
    except BaseException:
        store.close()
        raise
    return store


@dataclass(frozen=True)
class _Side:
    """What a data folder or a database says of itself."""

    platform_id: str | None
    database: str | None
    missing: bool = False


def _read(path: Path) -> _Side:
    """What the data folder remembers; nothing where the file is missing or not ours."""
    try:
        said = json.loads(path.read_bytes())
        return _Side(str(said["platformId"]), str(said["database"]))
    except FileNotFoundError:
        return _Side(None, None)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        return _Side(None, None)


def _require_known(paths: Paths, here: _Side, there: _Side, found: set[str], known: Collection[str]) -> bool:
    """Whether rows prove that the two belong together; False for an empty folder, which any database may have."""
    if not found:
        return False
    strange = sorted(folder for folder in found.difference(known) if folder.startswith(f"{paths.models.name}/"))
    if there.missing:
        why = "there is no such database"
    elif here.platform_id is not None and there.platform_id is not None:
        why = f"the folder is of the platform {here.platform_id[:8]}, the database of {there.platform_id[:8]}"
    elif strange:
        why = f"the database has no row for {_some(strange)}"
    elif found.isdisjoint(known) and (here.platform_id is not None or there.database != _own(paths)):
        why = f"the database knows nothing of {_some(sorted(found))}"
    else:
        return True
    raise ApiError(
        Code.FAILED_PRECONDITION,
        f"the data folder {paths.home} does not belong to the database {there.database}: {why}; nothing was changed",
        hint=_way_out(paths, here, there, strange if found & set(known) else []),
    )


def _some(folders: list[str]) -> str:
    more = f" and {len(folders) - _NAMED} more" if len(folders) > _NAMED else ""
    return f"{', '.join(folders[:_NAMED])}{more}"


def _way_out(paths: Paths, here: _Side, there: _Side, strange: list[str]) -> str:
    """A command: go back to the folder's own database, set aside what a row is missing for, or begin anew."""
    own = _own(paths)
    before = here.database or (own if paths.database.exists() else None)
    if before is not None and before != there.database:
        variable = "env -u FIRECTL_DATABASE_URL" if before == own else f"FIRECTL_DATABASE_URL={shlex.quote(before)}"
        return f"{variable} firectl local up"
    home = shlex.quote(str(paths.home))
    if strange and here.platform_id is None:
        moved = " ".join(shlex.quote(str(paths.home / folder)) for folder in strange)
        return f"mkdir -p {home}/trash/unknown && mv {moved} {home}/trash/unknown/ && firectl local up"
    aside = shlex.quote(f"{paths.home}.{secrets.token_hex(4)}")
    return f"mv {home} {aside} && firectl local up"


def _own(paths: Paths) -> str:
    """The database that a data folder has unless another is named."""
    return shown(f"sqlite:///{paths.database}")
