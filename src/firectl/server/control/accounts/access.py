"""Which rows may a caller see? Full names in, rows out; NOT_FOUND also for rows of other accounts."""

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
    """A row of an account's."""

    @property
    def account(self) -> str: ...


R = TypeVar("R", bound=Owned)


def account(caller: Caller, account_id: str) -> str:
    """The account's full name; NOT_FOUND unless it is the caller's own or the public one."""
    name = f"accounts/{account_id}"
    if not caller.may_use(name):
        raise not_found(f"account {name}")
    return name


def model(tx: Tx, caller: Caller, name: str) -> ModelRow:
    """The row of a model."""
    return found(tx.models.get, caller, name, "model")


def deployment(tx: Tx, caller: Caller, name: str) -> DeploymentRow:
    """The row of a deployment, a DELETED one included."""
    return found(tx.deployments.get, caller, name, "deployment")


def deployed_model(tx: Tx, caller: Caller, name: str) -> DeployedModelRow:
    """The row of a deployed model."""
    return found(tx.deployed_models.get, caller, name, "deployed model")


def reference(text: str | None, field: str, collection: str, caller: Caller) -> str:
    """The full name that a field of a body refers to; an ID means the caller's account.

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
    """The row that `get` has for a full name; `what` is the noun for the NOT_FOUND."""
    row = get(name)
    if row is None or not caller.may_use(row.account):
        raise not_found(f"{what} {name}")
    return row
