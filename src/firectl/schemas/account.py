"""Which fields do accounts, users and API keys have on the wire?"""

from __future__ import annotations

from firectl.schemas.base import Status, Time, Wire


class Account(Wire):
    name: str | None = None
    display_name: str | None = None
    email: str | None = None
    account_type: str | None = None
    state: str | None = None
    status: Status | None = None
    suspend_state: str | None = None
    create_time: Time | None = None
    update_time: Time | None = None


class User(Wire):
    name: str | None = None
    display_name: str | None = None
    email: str | None = None
    role: str | None = None
    service_account: bool | None = None
    state: str | None = None
    status: Status | None = None
    create_time: Time | None = None
    update_time: Time | None = None


class ApiKey(Wire):
    """An API key. `key` is the secret; only the response to its creation contains it."""

    key_id: str | None = None
    display_name: str | None = None
    email: str | None = None
    prefix: str | None = None
    secure: bool | None = None
    create_time: Time | None = None
    expire_time: Time | None = None
    key: str | None = None


class CreateApiKey(Wire):
    api_key: ApiKey | None = None


class DeleteApiKey(Wire):
    key_id: str
