"""Convert Go durations (`1h30m`, `500ms`) to seconds and back. Uses only the standard library."""

from __future__ import annotations

import re

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)", re.ASCII)
LONGEST = 10 * 365 * 86400.0


def parse_duration(text: str) -> float:
    """Return a Go duration in seconds (0 or more). ValueError with an example if `text` is not a Go duration."""
    rest = text.removeprefix("+")
    if rest == "0":
        return 0.0
    parts = list(_PART.finditer(rest))
    if not parts or "".join(part.group() for part in parts) != rest:
        raise ValueError(f"{text!r} is not a duration such as 30s, 10m or 1h30m")
    seconds = sum(float(part.group(1)) * _UNITS[part.group(2)] for part in parts)
    if seconds > LONGEST:
        raise ValueError(f"{text!r} is longer than ten years")
    return seconds


def format_duration(seconds: float) -> str:
    """Format seconds as a short duration that Go can read: `1h30m`, `1m30s` for 90, `0s`, `1.5s`."""
    micros = round(seconds * 1e6)
    hours, micros = divmod(micros, 3_600_000_000)
    minutes, micros = divmod(micros, 60_000_000)
    rest = f"{micros / 1e6:.6f}".rstrip("0").rstrip(".")
    text = (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")
    return text + (f"{rest}s" if micros or not text else "")
