"""Open only safe files of an adapter or base folder, and parse strict JSON from them.

Follows no link out of the folder, opens only regular files, and never writes.
"""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from firectl.errors import AdapterError

MAX_JSON = 32 * 2**20
"""Largest JSON file, in bytes. The index of a base with a thousand shards is much smaller."""


def open_folder(path: Path, what: str) -> Path:
    """Return `path` if it is a folder, else raise AdapterError. `what` is for the error: "adapter" or "base model"."""
    if path.is_dir():
        return path
    if path.exists():
        raise AdapterError(f"{what} {printable(str(path))} is a file, not a folder")
    raise AdapterError(f"{what} folder {printable(str(path))} does not exist")


def check_file_name(name: str, where: str) -> None:
    """Raise AdapterError, beginning with `where`, unless `name` is a plain file name that cannot leave its folder."""
    problem = None
    if not name:
        problem = "is empty"
    elif "/" in name or "\\" in name or name in (".", ".."):
        problem = "is not a plain file name"
    elif not name.isprintable():
        problem = "has unprintable characters"
    elif len(name.encode(errors="replace")) > 255:
        problem = "is longer than 255 bytes"
    if problem:
        raise AdapterError(f"{where}: file name {quoted(name)} {problem}", hint="name files in the folder itself")


def regular_file(folder: Path, name: str) -> Path | None:
    """Return the path of `folder/name`, or None if missing. AdapterError if it is not a regular file of this folder."""
    path = folder / name
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISLNK(mode):
        mode = _linked_mode(folder, path)
    if not stat.S_ISREG(mode):
        raise AdapterError(f"{quoted(name)} is not a regular file")
    return path


def refuse_outside_links(folder: Path) -> None:
    """Raise AdapterError that names the first entry of `folder` that links to a target outside the folder."""
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            _linked_mode(folder, path)


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file. AdapterError if it is not UTF-8, too deep, has NaN or the same key twice."""
    with path.open("rb") as file:
        data = file.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise AdapterError(f"{path.name} is larger than {MAX_JSON // 2**20} MiB: it is not a configuration file")
    return parse_json(data, path.name)


def parse_json(data: bytes, where: str) -> dict[str, Any]:
    """Parse the JSON object in `data` as strictly as `read_json`. The error begins with `where`."""
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise AdapterError(f"{where} is nested too deeply") from None
    except _BadJsonError as error:
        raise AdapterError(f"{where} {error}") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, an integer of too many digits
        raise AdapterError(f"{where} is not JSON: {error}") from None
    if not isinstance(document, dict):
        kinds = {list: "array", str: "string", bool: "boolean", type(None): "null"}
        raise AdapterError(f"{where} holds a JSON {kinds.get(type(document), 'number')}, not an object")
    return document


def quoted(name: str) -> str:
    """Return a name from a file in quotes, made safe and short enough for a message."""
    return f"'{printable(name)}'"


def printable(text: str, limit: int = 160) -> str:
    """Return `text` without characters that would disturb a terminal or a log, and cut to `limit` characters."""
    clean = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"


def some(names: Sequence[str]) -> str:
    """Return the first three of `names` and the number of the others, for a message."""
    shown = ", ".join(quoted(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


class _BadJsonError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _BadJsonError(f"has the key {quoted(twice)} twice")
    return result


def _refuse_constant(text: str) -> Any:
    raise _BadJsonError(f"holds {text}, which is not JSON")


def _linked_mode(folder: Path, path: Path) -> int:
    """Return the mode of the target of a link. AdapterError unless it is in `folder` or a blob of its hub cache."""
    target = path.resolve()
    home = folder.resolve()
    # A hub cache keeps the files of snapshots/<revision> as links to ../../blobs/<hash>.
    in_cache = home.parent.name == "snapshots" and target.parent == home.parent.parent / "blobs"
    if not (in_cache or target.is_relative_to(home)):
        raise AdapterError(
            f"{quoted(path.name)} is a link to something outside the folder",
            hint="copy the file itself there, for example with cp -L",
        )
    try:
        return target.stat().st_mode
    except OSError:
        raise AdapterError(f"{quoted(path.name)} is a broken link") from None
