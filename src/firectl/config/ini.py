"""The lines of a settings file: read as the official tool writes them, changed without touching any other line.

configparser is no use here: before Python 3.13 it refuses lines before the first section, and it writes no comments.
Never repeats a line in an error: it may hold a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from firectl.errors import InputError

DEFAULT_PROFILE = "default"
"""The section of lines before any header; `[default]` is the same."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_HEADER = re.compile(r"\[([^\]]*)\]\s*(?:[#;].*)?")
_ENTRY = re.compile(r"([^=:]+?)\s*[=:]\s*(.*)")
_QUOTED = re.compile(r"([\"'])(.*)\1(?:\s+[#;].*)?")
_REMARK = re.compile(r"\s+[#;].*$")


@dataclass(frozen=True)
class Line:
    """One line as it stands in the file, end of line included; `key` is empty for headers, remarks and blank lines."""

    text: str
    section: str
    key: str = ""
    value: str = ""
    header: bool = False


def parse(text: str, path: str) -> list[Line]:
    """The lines of a file; InputError with `path` and the line's number where one is malformed."""
    lines: list[Line] = []
    section = DEFAULT_PROFILE
    for number, raw in enumerate((line for line in _LINE.findall(text) if line), start=1):
        content = raw.strip()
        if not content or content[0] in "#;":
            lines.append(Line(raw, section))
        elif content[0] == "[":
            header = _HEADER.fullmatch(content)
            if header is None or not header[1].strip():
                raise InputError(f"{path}, line {number}: a section is written [NAME]")
            section = header[1].strip()
            lines.append(Line(raw, section, header=True))
        else:
            entry = _ENTRY.fullmatch(content)
            if entry is None:
                raise InputError(f"{path}, line {number}: neither KEY = VALUE, nor [SECTION], nor a remark")
            lines.append(Line(raw, section, entry[1].lower(), _value(entry[2])))
    return lines


def values(lines: list[Line], section: str) -> dict[str, str]:
    """The values of a section, however often it is opened. A key given twice has its last value."""
    return {line.key: line.value for line in lines if line.section == section and line.key and line.value}


def sections(lines: list[Line]) -> set[str]:
    """The sections that hold at least one value, or are opened by a header."""
    return {line.section for line in lines if line.key or line.header}


def update(lines: list[Line], section: str, changes: Mapping[str, str | None]) -> str:
    """The file with values of a section set, or removed where None; every other line stays as it is, byte for byte."""
    newline = "\r\n" if any(line.text.endswith("\r\n") for line in lines) else "\n"
    wanted = {key: f"{key} = {value}{newline}" for key, value in changes.items() if value is not None}
    # A key that is there already keeps the place where it stood last: that is the one that counts.
    places = {line.key: at for at, line in enumerate(lines) if line.section == section and line.key in wanted}
    out: list[str] = []
    home: int | None = None
    for at, line in enumerate(lines):
        mine = line.section == section
        if mine and line.key in changes:
            if places.get(line.key) == at:
                out.append(wanted.pop(line.key))
                home = len(out)
        else:
            out.append(line.text)
            if mine and (line.key or line.header):
                home = len(out)
    block = "".join(wanted.values())
    if home is None and section == DEFAULT_PROFILE:
        return block + newline * bool(block and out) + "".join(out)
    if home is None and block:
        block = f"{newline * bool(out)}[{section}]{newline}{block}"
        home = len(out)
    head, tail = "".join(out[:home]), "".join(out[home:]) if home is not None else ""
    if head and block and not head.endswith(("\n", "\r")):
        head += newline
    return head + block + tail


def without(lines: list[Line], section: str, keys: frozenset[str]) -> str:
    """The file without a section, or without `keys` of the default one, which has no end of its own."""
    if section == DEFAULT_PROFILE:
        return "".join(line.text for line in lines if line.section != section or line.key not in keys)
    return "".join(line.text for line in lines if line.section != section)


def _value(text: str) -> str:
    """A value without the remark behind it and the quotes around it."""
    quoted = _QUOTED.fullmatch(text)
    return quoted[2] if quoted else _REMARK.sub("", text)
