"""Find the existing name that a missing name was probably meant to be: list its collection and pick the most similar.

Runs after a command failed. It sends few requests within a time limit; if one fails, there is no suggestion.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from firectl.cli.views.listing import PUBLIC_ACCOUNT
from firectl.errors import ApiError, Code, FirectlError
from firectl.names import ResourceName
from firectl.names.nouns import BY_COLLECTION

if TYPE_CHECKING:
    from firectl.client.client import Client

SECONDS = 5.0
"""The time limit of all requests together."""
LIKE = 0.7
MOST_ROWS = 200


def did_you_mean(client: Client, names: Iterable[str]) -> str | None:
    """Return a hint for the first of these full names that is missing and has a similar name. None if there is none."""
    look = _Look(client)
    try:
        return next(filter(None, map(look.hint, names)), None)
    except (FirectlError, KeyboardInterrupt):
        # Report only the error of the command, not a failure of this search.
        return None


class _Look:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._end = time.monotonic() + min(SECONDS, client.timeout or SECONDS)

    def hint(self, text: str) -> str | None:
        name = ResourceName.read(text)
        if name is None:
            return None
        rows = self._rows(name.account, name.collection)
        ids = [_id(row) for row in rows]
        if name.id in ids:
            return None
        if name.collection == "deployedModels" and (of := _of_model(name.id, rows)) is not None:
            return f"that is a model; where it is loaded: firectl deployed-model list --filter 'model = \"{of}\"'"
        near = self._near(name, ids)
        return f"did you mean {self._short(near)}?" if near is not None else None

    def _near(self, name: ResourceName, ids: list[str]) -> ResourceName | None:
        public = BY_COLLECTION[name.collection].is_public and name.account != PUBLIC_ACCOUNT
        there = ResourceName(PUBLIC_ACCOUNT, name.collection, name.id)
        if public and self._exists(there):
            return there
        near = get_close_matches(name.id, ids, n=1, cutoff=LIKE)
        if near:
            return ResourceName(name.account, name.collection, near[0])
        if public:
            ids = [_id(row) for row in self._rows(PUBLIC_ACCOUNT, name.collection)]
            near = get_close_matches(name.id, ids, n=1, cutoff=LIKE)
        return ResourceName(PUBLIC_ACCOUNT, name.collection, near[0]) if near else None

    def _short(self, name: ResourceName) -> str:
        return name.id if name.account == self._client.account_id else str(name)

    def _exists(self, name: ResourceName) -> bool:
        try:
            return bool(self._get(f"/v1/{name}", {}))
        except ApiError as error:
            if error.code in (Code.NOT_FOUND, Code.PERMISSION_DENIED):
                return False
            raise

    def _rows(self, account: str, collection: str) -> list[Mapping[str, Any]]:
        rows = self._get(f"/v1/accounts/{account}/{collection}", {"pageSize": MOST_ROWS}).get(collection)
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []

    def _get(self, path: str, query: Mapping[str, int]) -> dict[str, Any]:
        left = self._end - time.monotonic()
        if left <= 0:
            raise ApiError(Code.DEADLINE_EXCEEDED, "no time left to look")
        return self._client.request("GET", path, query=query, timeout=left, max_retries=0)


def _id(row: Mapping[str, Any]) -> str:
    return str(row.get("name", "")).rpartition("/")[2]


def _of_model(model_id: str, rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the full name of the model with this ID in `rows` of deployed models, or None."""
    models = (str(row.get("model", "")) for row in rows)
    return next((model for model in models if model.rpartition("/")[2] == model_id), None)
