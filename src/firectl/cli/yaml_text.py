"""JSON-like data as YAML, block style. Any YAML 1.1 or 1.2 reader gets the same data back.

Only what no reader can take for something else goes unquoted; every other string is double-quoted and escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./#@+-]*", re.ASCII)
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_WORDS = frozenset("y n yes no on off true false null none nan inf".split())  # noqa: SIM905
"""What some reader takes for a boolean, null or a number."""


def to_yaml(data: object) -> str:
    """The document, ending in a newline."""
    if isinstance(data, Mapping | list | tuple) and data:
        return "".join(f"{line}\n" for line in _block(data))
    return _flow(data) + "\n"


def _block(data: object) -> Iterator[str]:
    """The lines of a mapping or list that is not empty."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            name = _flow(str(key))
            if _is_block(value):
                yield f"{name}:"
                yield from (f"  {line}" for line in _block(value))
            else:
                yield f"{name}: {_flow(value)}"
    elif isinstance(data, Sequence):
        for item in data:
            if _is_block(item):
                first, *rest = _block(item)
                yield f"- {first}"
                yield from (f"  {line}" for line in rest)
            else:
                yield f"- {_flow(item)}"


def _is_block(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple) and len(value) > 0


def _flow(value: object) -> str:
    """A scalar, or an empty mapping or list, on one line."""
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value)


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS


def _quoted(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    return f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else f"\\u{ord(char):04x}"


def _number(value: float) -> str:
    # YAML 1.1 takes 1e-05 for a string: it wants a dot, and a sign after the e.
    text = json.dumps(value)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    dotted = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{dotted}e{exponent if exponent[0] in '+-' else '+' + exponent}"
