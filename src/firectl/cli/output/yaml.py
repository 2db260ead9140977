"""Convert JSON-like data to YAML in block style. Any YAML 1.1 or 1.2 reader gets the same data back."""

from __future__ import annotations

import re

_OTHER_READERS = re.compile(r"([yYnN]|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+)\Z")
"""Matches text that PyYAML reads as a string, and another YAML reader as a boolean or a number."""


def to_yaml(data: object) -> str:
    """Return `data` as YAML, ending in a newline. Keys keep their order, and unprintable characters are escaped."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, False)

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')

    Dumper.add_representer(str, text)
    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _OTHER_READERS, list("yYnN-+.0123456789"))
    written = yaml.dump(data, Dumper=Dumper, allow_unicode=True, sort_keys=False, width=float("inf"))
    # PyYAML escapes control characters, but not characters that reverse the direction of a line or have no width.
    return "".join(char if char == "\n" or char.isprintable() else f"\\u{ord(char):04x}" for char in written)
