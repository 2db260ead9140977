"""Which IDs and full resource names are valid, and how does an argument become a full name?

Every inference request uses this module, so the code that explains mistakes is imported only when there is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from firectl.errors import InputError
from firectl.names.nouns import NOUNS

ID_MAX = 63
_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

COLLECTIONS: Mapping[str, str] = {noun.collection: noun.singular for noun in NOUNS if noun.has_name}
"""Collection in full names → the words for one of its resources: `deployedModels` → `deployed model`."""


def is_id(text: str) -> bool:
    """Whether `text` is 1 to 63 of `a-z 0-9 -` with no hyphen at either end."""
    return _ID.fullmatch(text) is not None


def check_id(text: str, what: str = "model") -> None:
    """Raise InputError, with the mistake's position and a correction, unless `text` is a valid ID of a `what`."""
    if not is_id(text):
        from firectl.names.mistakes import id_error

        raise id_error(text, what)


def random_id(n: int = 8) -> str:
    """Return `n` random characters of a-z0-9. The result is a valid ID if n is from 1 to 63."""
    from random import SystemRandom

    return "".join(SystemRandom().choices(_ALPHABET, k=n))


class ResourceName(NamedTuple):
    """The parts of `accounts/{account}/{collection}/{id}`, with `/versions/{version}` for shapes."""

    account: str
    collection: str
    id: str
    version: str | None = None

    def __str__(self) -> str:
        name = f"accounts/{self.account}/{self.collection}/{self.id}"
        return name if self.version is None else f"{name}/versions/{self.version}"

    @classmethod
    def parse(cls, text: str) -> ResourceName:
        """Split `text` into its parts. InputError if it is not a full name in one of COLLECTIONS."""
        name = cls.read(text)
        if name is None:
            from firectl.names.mistakes import name_error

            raise name_error(text, None, None)
        return name

    @classmethod
    def read(cls, text: str) -> ResourceName | None:
        """Split `text` into its parts. None if it is not a full name in one of COLLECTIONS."""
        match text.split("/"):
            case ["accounts", account, collection, resource] if collection in COLLECTIONS:
                name = cls(account, collection, resource)
            case ["accounts", account, "deploymentShapes", resource, "versions", version]:
                name = cls(account, "deploymentShapes", resource, version)
            case _:
                return None
        ids = (name.account, name.id, name.version or "latest")
        return name if all(map(is_id, ids)) else None


def resolve(text: str, collection: str, account: str | None) -> str:
    """Return the full name for an argument, which is an ID (completed with `account`) or a full name.

    InputError if the argument is malformed or in another collection, or if it is an ID and `account` is None.
    """
    if is_id(text):
        if account is None:
            raise InputError(
                f"no account is known to complete the {COLLECTIONS[collection]} ID {text!r}",
                hint=f"write accounts/<ACCOUNT_ID>/{collection}/{text}, or give the account: -a ACCOUNT_ID",
            )
        check_id(account, "account")
        return f"accounts/{account}/{collection}/{text}"
    name = ResourceName.read(text)
    if name is None or name.collection != collection:
        from firectl.names.mistakes import name_error

        raise name_error(text, collection, account)
    return text
