"""Which rows may a caller see? Returns the row of a full name; NOT_FOUND also when it belongs to another account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from firectl.errors import invalid, not_found
from firectl.names import check_id, resolve
from firectl.names.ids import COLLECTIONS
from firectl.server.access.auth import Caller
from firectl.server.store import Tx
from firectl.server.store.rows import DeployedModelRow, DeploymentRow, ModelRow


class Owned(Protocol):
    """A row that belongs to an account."""

    @property
    def account(self) -> str: ...


R = TypeVar("R", bound=Owned)


def account(caller: Caller, account_id: str) -> str:
    """Return the account's full name; NOT_FOUND unless it is the caller's own or the public one."""
    name = f"accounts/{account_id}"
    if not caller.may_use(name):
        raise not_found(f"account {name}")
    return name


def model(tx: Tx, caller: Caller, name: str) -> ModelRow:
    """Return the row of a model."""
    return found(tx.models.get, caller, name, "model")


def deployment(tx: Tx, caller: Caller, name: str) -> DeploymentRow:
    """Return the row of a deployment, a DELETED one included."""
    return found(tx.deployments.get, caller, name, "deployment")


def deployed_model(tx: Tx, caller: Caller, name: str) -> DeployedModelRow:
    """Return the row of a deployed model."""
    return found(tx.deployed_models.get, caller, name, "deployed model")


def reference(text: str | None, field: str, collection: str, caller: Caller) -> str:
    """Return the full name that a field of a body refers to; an ID means the caller's account.

    INVALID_ARGUMENT when the field is missing or malformed.
    """
    if not text:
        raise invalid(f"{field} is missing: expected the full name of a {COLLECTIONS[collection]}")
    return resolve(text, collection, caller.account.removeprefix("accounts/"))


def new_id(text: str, what: str) -> str:
    """Check the ID that was given for a new resource and return it. INVALID_ARGUMENT if it is not valid."""
    check_id(text, what)
    return text


def found(get: Callable[[str], R | None], caller: Caller, name: str, what: str) -> R:
    """Return the row that `get` finds for a full name. NOT_FOUND, with the noun `what`, if it is not visible."""
    row = get(name)
    if row is None or not caller.may_use(row.account):
        raise not_found(f"{what} {name}")
    return row
