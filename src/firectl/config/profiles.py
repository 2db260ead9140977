"""Profiles: named sets of a key, an account and a base URL, in `auth.ini` and `settings.ini`.

Reads the official tool's files as they are, and writes to `auth.ini` alone.
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
    """What a profile sets; None where it does not. `sources` says in words where each value stands."""

    name: str
    api_key: str | None = field(default=None, repr=False)
    account_id: str | None = None
    base_url: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def profiles(env: Mapping[str, str] = os.environ) -> list[str]:
    """The names of the profiles there are; `default` is always one."""
    names = {DEFAULT_PROFILE}
    for file in _FILES:
        names |= ini.sections(_lines(home(env) / file, env))
    folders = home(env) / "profiles"
    for file in _FILES:
        names |= {path.parent.name for path in folders.glob(f"*/{file}")}
    return sorted(names)


def has_profile(name: str, env: Mapping[str, str] = os.environ) -> bool:
    """Whether a profile is there. `default` always is, be it empty."""
    return name in profiles(env)


def read_profile(name: str, env: Mapping[str, str] = os.environ) -> Profile:
    """What the files say of a profile: its section of `auth.ini`, of `settings.ini`, then the folder `profiles/NAME`.

    InputError where there is none of that name, where a file is malformed (with its line) or a value cannot be used.
    """
    if not has_profile(check_profile_name(name), env):
        raise InputError(
            f"there is no profile named {name!r} in {shown(home(env) / _FILES[0], env)}",
            hint=f"profiles that there are: {', '.join(profiles(env))}",
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
    """Set values of a profile in `auth.ini` (None removes one), and give back that file's path.

    `values` has any of api_key, account_id, base_url. All else in the file stays byte for byte, other values of the
    profile too. The file is replaced as a whole and is 0600, its folder 0700, from their creation.
    """
    check_profile_name(name)
    unknown = set(values) - set(KEYS)
    if unknown:
        raise InputError(f"a profile has no setting named {', '.join(sorted(unknown))}: only {', '.join(KEYS)}")
    path = home(env) / _FILES[0]
    checked = {
        key: check_value(key, value, f"profile {name}") if value is not None else None for key, value in values.items()
    }
    with one_writer(private_folder(path.parent)):
        write_private(path, ini.update(_lines(path, env), name, checked))
    return path


def delete_profile(name: str, env: Mapping[str, str] = os.environ) -> bool:
    """Remove a profile's sections from both files; False where there were none. Of `default`, only our three settings.

    A folder `profiles/NAME` is the official tool's, and stays.
    """
    folder = home(env)
    if not folder.is_dir():
        return False
    deleted = False
    with one_writer(folder):
        for file in _FILES:
            lines = _lines(folder / file, env)
            kept = ini.without(lines, name, frozenset(KEYS))
            if kept != "".join(line.text for line in lines):
                write_private(folder / file, kept)
                deleted = True
    return deleted


def check_profile_name(name: str) -> str:
    """The name; InputError unless it can be a section's and a folder's."""
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"{name!a} cannot be the name of a profile",
            hint="use letters, digits, '-', '_' and '.', the first one no '-' or '.'",
        )
    return name


def check_value(key: str, value: str, source: str) -> str:
    """The value as it is used; InputError, naming `source` and never repeating a key, where it cannot be."""
    if not value:
        if source.startswith("--"):
            raise InputError(f"{source} is empty", hint="leave it out: firectl whoami shows what is used then")
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
    found = "a line break" if key[at] in "\r\n" else "a space" if key[at] in " \t" else "a character that no key has"
    raise InputError(
        f"{source}: the API key has {found} (character {at} of {len(key)})", hint="copy the key again, alone"
    )


def _lines(path: Path, env: Mapping[str, str]) -> list[ini.Line]:
    return ini.parse(read_text(path) or "", shown(path, env))
