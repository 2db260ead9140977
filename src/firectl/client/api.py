"""How does a call become an HTTP request, and its answer JSON? With which base URL, key and account?

Must not depend on any resource: each resource is built on this. Retries are in http/sender.py and http/retry.py.
"""

from __future__ import annotations

import json
import os
import random as _random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self
from urllib.parse import quote, urlencode

from firectl import config, names
from firectl.client.http import failures
from firectl.client.http.connections import Connections, httpx
from firectl.client.http.sender import Exchange, HttpRequest, Sender, StreamedResponse
from firectl.errors import ApiError, InputError

TIMEOUT = 60.0
MAX_RETRIES = 2

QueryValue = str | int | bool | Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A request as a dry run shows it, without the key."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None


class DryRun(Exception):
    """Not an error: a client with `dry_run=True` raises it in place of a request that would change something."""

    def __init__(self, request: Planned) -> None:
        super().__init__(f"not sent: {request.method} {request.path}")
        self.request = request


class Api:
    """The API, hosted or local. Missing arguments come from the environment and the profile (docs/configuration.md).

    `timeout`: seconds for one attempt. `on_response` gets an Exchange after every attempt. `sleep`, `clock` (Unix
    seconds) and `random` are used for retries. Use the object in a `with`, or call `close()`.
    """

    def __init__(
        self,
        api_key: str | None = None,
        account_id: str | None = None,
        base_url: str | None = None,
        *,
        profile: str | None = None,
        timeout: float | None = None,
        max_retries: int = MAX_RETRIES,
        transport: httpx.BaseTransport | None = None,
        on_response: Callable[[Exchange], None] | None = None,
        dry_run: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = _random.random,
    ) -> None:
        flags = config.Flags(api_key, account_id, base_url, profile, arguments=True)
        settings = config.resolve(flags, os.environ)
        self.base_url = settings.base_url.value
        self._url = _url(self.base_url)
        self._key = settings.api_key.value
        self.account_id = settings.account_id.value
        """The account given or configured. If None, `account` asks the API."""
        self.timeout = timeout
        self.max_retries = max_retries
        self.dry_run = dry_run
        self._connections = Connections(transport)
        self.sender = Sender(
            self._connections,
            secret=self._key,
            on_response=on_response,
            sleep=sleep,
            clock=clock,
            random=random,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r}, account_id={self.account_id!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self._connections.close()

    @cached_property
    def account(self) -> str:
        """The account's ID: `account_id`, or if that is None the only account that the API lists for the key."""
        if self.account_id:
            return self.account_id
        rows = self.request("GET", "/v1/accounts").get("accounts") or []
        found = [row.get("name") for row in rows if isinstance(row, dict)]
        seen = [name.removeprefix("accounts/") for name in found if isinstance(name, str)]
        if len(seen) == 1:
            return seen[0]
        if not seen:
            raise InputError("the key can see no account", hint="firectl whoami")
        raise InputError(
            f"the key can see {len(seen)} accounts: {', '.join(seen)}", hint=f"choose one: --account-id {seen[0]}"
        )

    def full_name(self, name: str, collection: str) -> str:
        """`my-model` → `accounts/a/models/my-model`; InputError if `name` is not valid in this collection."""
        account = self.account if names.is_id(name) else self.account_id
        return names.resolve(name, collection, account)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, QueryValue] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        changes: bool | None = None,
        settled: Callable[[ApiError], dict[str, Any] | None] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of the answer.

        ApiError if the API answers with an error, NetworkError if there is no answer or it is not valid.

        `repeatable`: whether sending it twice has the effect of sending it once (default: all but POST).
        `changes`: whether it changes anything, so that a dry run does not send it (default: all but GET).
        `settled`: called with the error of a retry when an earlier attempt may have succeeded. It returns the answer to
        use instead of the error, or None to raise the error.
        """
        pairs = _query(query)
        if self.dry_run and (method != "GET" if changes is None else changes):
            raise DryRun(Planned(method=method, path=path, query=pairs, body=body))
        request = self._http_request(
            method,
            path,
            pairs,
            body,
            headers,
            timeout,
            max_retries,
            method != "POST" if repeatable is None else repeatable,
        )
        try:
            answer = self.sender.send(request)
        except ApiError as error:
            found = settled(error) if settled is not None and error.maybe_done else None
            if found is None:
                raise
            return found
        if answer.status == 204 and method == "DELETE":
            return {}
        return failures.read_json(answer.content, answer.headers, self._url, request.what)

    def stream(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> StreamedResponse:
        """Send a POST that changes nothing, and return the answer before its body is read."""
        return self.sender.open(self._http_request("POST", path, {}, body, headers, timeout, None, True))

    def _http_request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        timeout: float | None,
        max_retries: int | None,
        repeatable: bool,
    ) -> HttpRequest:
        if self._key is None:
            raise InputError("no API key", hint="firectl set-api-key KEY, or set FIREWORKS_API_KEY")
        own = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        if body is not None:
            own["Content-Type"] = "application/json"
        target = quote(path, safe="/:") + (f"?{urlencode(query)}" if query else "")
        return HttpRequest(
            method=method,
            url=httpx.URL(self.base_url + target),
            what=f"{method} {path}",
            headers={**own, **(headers or {})},
            content=json.dumps(body, ensure_ascii=False).encode() if body is not None else None,
            repeatable=repeatable,
            timeout=timeout or self.timeout or TIMEOUT,
            max_retries=self.max_retries if max_retries is None else max_retries,
        )


def _url(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL:
        raise InputError(f"{text} is not a URL", hint="write it as https://HOST") from None


def _query(query: Mapping[str, QueryValue] | None) -> dict[str, str]:
    """Convert the query's values to text: omit None, write booleans as `true` or `false`, join lists with commas."""
    return {name: _text(value) for name, value in (query or {}).items() if value is not None}


def _text(value: str | int | Sequence[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ",".join(value)
