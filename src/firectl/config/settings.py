"""Which value does each setting have? The first of: flag, environment variable, profile, default.

Asks no server: the caller must find the account if no setting names it, and a platform that runs on this machine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from firectl.config.base_url import DEFAULT_BASE_URL
from firectl.config.ini import DEFAULT_PROFILE
from firectl.config.profiles import Profile, check_profile_name, check_value, read_profile

NOT_SET = "not set"

T_co = TypeVar("T_co", bound="str | None", covariant=True)


@dataclass(frozen=True)
class Origin:
    """A setting: its key, its flag, its environment variable and its default."""

    key: str
    flag: str
    variable: str
    default: str | None


SETTINGS = (
    Origin("api_key", "--api-key", "FIREWORKS_API_KEY", None),
    Origin("account_id", "--account-id", "FIREWORKS_ACCOUNT_ID", None),
    Origin("base_url", "--server", "FIREWORKS_BASE_URL", DEFAULT_BASE_URL),
    Origin("profile", "--profile", "FIREWORKS_PROFILE", DEFAULT_PROFILE),
)
_ORIGIN = {origin.key: origin for origin in SETTINGS}


@dataclass(frozen=True)
class Setting(Generic[T_co]):
    """The value of a setting, and its source: `--api-key`, `FIREWORKS_API_KEY`, `profile local in …`, `default`."""

    value: T_co
    source: str
    secret: bool = False

    def __repr__(self) -> str:
        value = "<secret>" if self.secret and self.value is not None else repr(self.value)
        return f"Setting(value={value}, source={self.source!r})"


@dataclass(frozen=True)
class Flags:
    """The flags of the command line, or the arguments of the client; None for those not given."""

    api_key: str | None = field(default=None, repr=False)
    account_id: str | None = None
    base_url: str | None = None
    profile: str | None = None
    arguments: bool = False
    """Whether the values are arguments of the client. Errors then say `argument api_key`, not `--api-key`."""

    def source(self, key: str) -> str:
        return f"argument {key}" if self.arguments else _ORIGIN[key].flag


@dataclass(frozen=True)
class Settings:
    """The values of all settings. `api_key.value` and `account_id.value` are None if nothing sets them."""

    api_key: Setting[str | None]
    account_id: Setting[str | None]
    base_url: Setting[str]
    profile: Setting[str]


def resolve(flags: Flags, env: Mapping[str, str] = os.environ) -> Settings:
    """Find each setting's value: flag, environment, profile or default. An empty variable counts as not set.

    InputError for an invalid value, an empty flag, a missing profile or a malformed file. Reads the files only if a
    value is missing.
    """
    profile = chosen_profile(flags, env)
    given = {key: _given(key, flags, env) for key in ("api_key", "account_id", "base_url")}
    asked_for = profile.source != "default"
    stored = read_profile(profile.value, env) if asked_for or None in given.values() else Profile(profile.value)
    key = given["api_key"] or _stored("api_key", stored)
    return Settings(
        api_key=Setting(key.value, key.source, secret=True) if key else Setting(None, NOT_SET, secret=True),
        account_id=given["account_id"] or _stored("account_id", stored) or Setting(None, NOT_SET),
        base_url=given["base_url"] or _stored("base_url", stored) or Setting(DEFAULT_BASE_URL, "default"),
        profile=profile,
    )


def chosen_profile(flags: Flags, env: Mapping[str, str] = os.environ) -> Setting[str]:
    """Return the name of the profile to use. The profile may not exist yet: a command may be about to write it."""
    return _given("profile", flags, env) or Setting(DEFAULT_PROFILE, "default")


def _given(key: str, flags: Flags, env: Mapping[str, str]) -> Setting[str] | None:
    value: str | None = getattr(flags, key)
    source = flags.source(key)
    if value is None:
        value, source = env.get(_ORIGIN[key].variable) or None, _ORIGIN[key].variable
    if value is None:
        return None
    checked = check_profile_name(value) if key == "profile" else check_value(key, value, source)
    return Setting(checked, source, secret=key == "api_key")


def _stored(key: str, profile: Profile) -> Setting[str] | None:
    value: str | None = getattr(profile, key)
    return Setting(value, profile.sources[key], secret=key == "api_key") if value else None
