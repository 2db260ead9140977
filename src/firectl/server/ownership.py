"""Do this data folder and this database belong together? If so, both hold the same ID: checked at every start.

The ID is written to the database first. If the platform crashes before it writes the ID to the folder, the next start
compares the database's rows with the folder, and then writes the ID.
"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from firectl.config import write_private
from firectl.errors import InputError, failed_precondition
from firectl.server.disk.files import FileStore
from firectl.server.disk.paths import Paths
from firectl.server.store import Store, Tx
from firectl.server.store.address import is_missing, on_a_server, shown

_NAMED = 3
"""The largest number of folders that a message names."""


def open_store(paths: Paths, url: str) -> Store:
    """Open the database of this data folder. If only one of the two has an ID, copy the ID to the other.

    FAILED_PRECONDITION when the two do not belong together; neither is changed then.
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
        # Check before the database file is created, so that a refused start leaves no file.
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
    """The identity that a data folder or a database records."""

    platform_id: str | None
    database: str | None
    missing: bool = False


def _read(path: Path) -> _Side:
    """Read the identity of the data folder; its fields are None when the file is missing or damaged."""
    try:
        document = json.loads(path.read_bytes())
        return _Side(str(document["platformId"]), str(document["database"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return _Side(None, None)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _require_known(paths: Paths, here: _Side, there: _Side, found: set[str], known: Collection[str]) -> bool:
    """Whether the rows prove that folder and database belong together; False for an empty folder.

    FAILED_PRECONDITION when they do not belong together. `found` are the folders on disk, `known` those in the rows.
    """
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
        why = f"the database has no row for any of {_some(sorted(found))}"
    else:
        return True
    raise failed_precondition(
        f"the data folder {paths.home} does not belong to the database {there.database}: {why}; nothing was changed",
        hint=_way_out(paths, here, there, strange if found & set(known) else []),
    )


def _some(folders: list[str]) -> str:
    more = f" and {len(folders) - _NAMED} more" if len(folders) > _NAMED else ""
    return f"{', '.join(folders[:_NAMED])}{more}"


def _way_out(paths: Paths, here: _Side, there: _Side, strange: list[str]) -> str:
    """Return the hint: use the folder's own database, move folders without a row away, or start with an empty folder.

    The hint is a command, except for a database on a server: the recorded URL may lack its password.
    """
    own = _own(paths)
    before = here.database or (own if paths.database.exists() else None)
    if before is not None and before != there.database:
        if server := on_a_server(before):
            return f"set FIRECTL_DATABASE_URL to the database {server} again, then firectl local up"
        variable = "env -u FIRECTL_DATABASE_URL" if before == own else f"FIRECTL_DATABASE_URL={shlex.quote(before)}"
        return f"{variable} firectl local up"
    home = shlex.quote(str(paths.home))
    if strange and here.platform_id is None:
        moved = " ".join(shlex.quote(str(paths.home / folder)) for folder in strange)
        return f"mkdir -p {home}/trash/unknown && mv {moved} {home}/trash/unknown/ && firectl local up"
    aside = shlex.quote(f"{paths.home}.{secrets.token_hex(4)}")
    return f"mv {home} {aside} && firectl local up"


def _own(paths: Paths) -> str:
    """Return the URL of the SQLite file in the data folder, which is used unless FIRECTL_DATABASE_URL names another."""
    return shown(f"sqlite:///{paths.database}")
