"""How is a settings file parsed, and how is a value changed while all other lines stay the same?

configparser is not used: it refuses lines before the first section and loses comments. An error must not quote a
line, because the line may contain an API key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from firectl.errors import InputError

DEFAULT_PROFILE = "default"
"""The section of the lines before the first header. A header `[default]` means this section too."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
_HEADER = re.compile(r"\[([^\]]*)\]\s*(?:[#;].*)?")
_ENTRY = re.compile(r"([^=:]+?)\s*[=:]\s*(.*)")
_QUOTED = re.compile(r"([\"'])(.*)\1(?:\s+[#;].*)?")
_COMMENT = re.compile(r"\s+[#;].*$")


@dataclass(frozen=True)
class Line:
    """One line of the file with its line end; `key` is empty for headers, comments and blank lines."""

    text: str
    section: str
    key: str = ""
    value: str = ""
    header: bool = False


def parse(text: str, path: str) -> list[Line]:
    """Split a file into lines. InputError with `path` and the line number if one is malformed."""
    lines: list[Line] = []
    section = DEFAULT_PROFILE
    for number, raw in enumerate((line for line in _LINE.findall(text) if line), start=1):
        content = raw.strip()
        if not content or content[0] in "#;":
            lines.append(Line(raw, section))
        elif content[0] == "[":
            header = _HEADER.fullmatch(content)
            if header is None or not header[1].strip():
                raise InputError(f"{path}, line {number}: expected a section, [NAME]")
            section = header[1].strip()
            lines.append(Line(raw, section, header=True))
        else:
            entry = _ENTRY.fullmatch(content)
            if entry is None:
                raise InputError(f"{path}, line {number}: expected KEY = VALUE, [SECTION] or a comment")
            lines.append(Line(raw, section, entry[1].lower(), _value(entry[2])))
    return lines


def values(lines: list[Line], section: str) -> dict[str, str]:
    """Return the values of a section. If a key is there more than once, its last value counts."""
    return {line.key: line.value for line in lines if line.section == section and line.key and line.value}


def sections(lines: list[Line]) -> set[str]:
    """Return the names of all sections that have a value or a header."""
    return {line.section for line in lines if line.key or line.header}


def update(lines: list[Line], section: str, changes: Mapping[str, str | None]) -> str:
    """Return the file's text after setting values of a section (None removes one). Other lines keep their bytes."""
    newline = "\r\n" if any(line.text.endswith("\r\n") for line in lines) else "\n"
    wanted = {key: f"{key} = {value}{newline}" for key, value in changes.items() if value is not None}
    # Replace the last line of a key, because its last value counts. Earlier lines of the key are removed.
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


def _value(text: str) -> str:
    """Remove the quotes around a value, or the comment after it."""
    quoted = _QUOTED.fullmatch(text)
    return quoted[2] if quoted else _COMMENT.sub("", text)
