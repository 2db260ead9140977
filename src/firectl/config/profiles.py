"""Which profiles are there, and what does each set? A profile is a named key, account and base URL.

Reads `auth.ini` and `settings.ini` in the official tool's format; writes only `auth.ini`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from firectl.config import ini
from firectl.config.base_url import normalise_base_url
from firectl.config.files import home, one_writer, private_folder, read_text, shown, write_private
from firectl.config.ini import DEFAULT_PROFILE
from firectl.errors import InputError

KEYS = ("api_key", "account_id", "base_url")
_FILES = ("auth.ini", "settings.ini")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ACCOUNT = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Profile:
    """The values of a profile; None if it does not set one.

    `sources`: key → where its value was found, for messages.
    """

    name: str
    api_key: str | None = field(default=None, repr=False)
    account_id: str | None = None
    base_url: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def profiles(env: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names of all profiles. `default` is always among them."""
    names = {DEFAULT_PROFILE}
    for file in _FILES:
        names |= ini.sections(_lines(home(env) / file, env))
        names |= {path.parent.name for path in (home(env) / "profiles").glob(f"*/{file}")}
    return sorted(names)


def has_profile(name: str, env: Mapping[str, str] = os.environ) -> bool:
    """Whether a profile exists; `default` always does."""
    return name in profiles(env)


def read_profile(name: str, env: Mapping[str, str] = os.environ) -> Profile:
    """Read a profile: its section of `auth.ini`, then of `settings.ini`, then the files in `profiles/NAME`.

    First value wins.

    InputError if the profile does not exist, a file is malformed (with the line number), or a value is invalid.
    """
    if not has_profile(check_profile_name(name), env):
        raise InputError(
            f"profile {name!r} not found in {shown(home(env) / _FILES[0], env)}",
            hint=f"choose one of: {', '.join(profiles(env))}",
        )
    places = [(home(env) / file, name) for file in _FILES]
    if name != DEFAULT_PROFILE:
        places += [(home(env) / "profiles" / name / file, DEFAULT_PROFILE) for file in _FILES]
    found: dict[str, str] = {}
    sources: dict[str, str] = {}
    for path, section in places:
        for key, value in ini.values(_lines(path, env), section).items():
            if key in KEYS and key not in found:
                sources[key] = f"profile {name} in {shown(path, env)}"
                found[key] = check_value(key, value, sources[key])
    return Profile(name, sources=sources, **found)


def write_profile(name: str, values: Mapping[str, str | None], env: Mapping[str, str] = os.environ) -> Path:
    """Set values of a profile in `auth.ini` (None removes one), and return the path of that file.

    The keys of `values` are api_key, account_id and base_url, each optional. Other lines keep their bytes. The new file
    has mode 0600, a new folder 0700.
    """
    check_profile_name(name)
    unknown = set(values) - set(KEYS)
    if unknown:
        raise InputError(f"a profile sets {', '.join(KEYS)}, got {', '.join(sorted(unknown))}")
    path = home(env) / _FILES[0]
    checked = {
        key: check_value(key, value, f"profile {name}") if value is not None else None for key, value in values.items()
    }
    with one_writer(private_folder(path.parent)):
        write_private(path, ini.update(_lines(path, env), name, checked))
    return path


def check_profile_name(name: str) -> str:
    """Return `name`. InputError if it is not valid as the name of a section and of a folder."""
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"{name!a} is not a valid profile name",
            hint="use letters, digits, '-', '_' and '.'; begin with a letter, a digit or '_'",
        )
    return name


def check_value(key: str, value: str, source: str) -> str:
    """Check a value and return its normal form.

    InputError, with `source`, if it is invalid; it never quotes an API key.
    """
    if not value:
        if source.startswith("--"):
            raise InputError(f"{source} is empty", hint="leave it out: firectl whoami shows the value that applies")
        raise InputError(f"{source}: {key} is empty")
    if key == "base_url":
        return normalise_base_url(value, source)
    if key == "api_key":
        return _check_key(value, source)
    if _ACCOUNT.fullmatch(value) is None:
        last = value.strip().rstrip("/").rpartition("/")[2]
        hint = f"write {last}" if _ACCOUNT.fullmatch(last) else None
        raise InputError(f"{source}: {value!a} is not an account ID", hint=hint)
    return value


def _check_key(key: str, source: str) -> str:
    at = next((at for at, char in enumerate(key) if not "!" <= char <= "~"), None)
    if at is None:
        return key
    found = "a line break" if key[at] in "\r\n" else "a space" if key[at] in " \t" else "an invalid character"
    message = f"{source}: the API key has {found} (character {at} of {len(key)})"
    raise InputError(message, hint="copy the key again, without other characters")


def _lines(path: Path, env: Mapping[str, str]) -> list[ini.Line]:
    return ini.parse(read_text(path) or "", shown(path, env))
