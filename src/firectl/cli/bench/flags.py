"""Define the types of the flags of `bench`, and build the load (which requests to send, and when) from the flags.

Flags that cannot work are refused before any request is sent.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.grammar.types import TypedValue
from firectl.errors import InputError

if TYPE_CHECKING:
    from firectl.bench import Lengths, Load, Mix

SECONDS = 10.0
"""The default number of seconds to measure each target at each level (number of streams, or request rate)."""
TIMEOUT = 60.0
MOST_LEVELS = 32
MOST_STREAMS = 4096
MOST_RATE = 10_000.0
LARGEST_FILE = 64 << 20
EXAMPLE = "firectl bench --compare live-merge,multi-lora --model LORA"
_FIELDS = (
    "concurrency", "arrival", "requests", "rounds", "warmup", "max_tokens", "ignore_eos", "stream", "temperature",
    "max_in_flight", "seed",
)  # fmt: skip
"""Flags that have the same name as the field of Load that they set."""


class LengthsType(TypedValue):
    """Convert a distribution of lengths: `200`, `uniform:50-150`, `normal:200,40` or `exponential:200`."""

    name = "lengths"

    def read(self, text: str) -> Lengths:
        from firectl.bench import parse_lengths

        return parse_lengths(text)


class Levels(TypedValue):
    """Convert numbers above 0, separated by commas. `most`: the largest allowed. `whole`: only whole numbers."""

    name = "numbers"

    def __init__(self, most: float, *, whole: bool) -> None:
        self.most = most
        self.whole = whole

    def read(self, text: str) -> tuple[float, ...]:
        numbers: list[float] = []
        for piece in text.split(","):
            try:
                number = float(piece)
            except ValueError:
                raise ValueError(f"{piece!r} is not a number, in {text!r}") from None
            if not 0 < number <= self.most:
                raise ValueError(f"{piece!r} is out of range: expected above 0 and at most {self.most:g}")
            if self.whole and number != int(number):
                raise ValueError(f"{piece!r} is not a whole number")
            numbers.append(int(number) if self.whole else number)
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"{text!r} names a level twice")
        if len(numbers) > MOST_LEVELS:
            raise ValueError(f"{len(numbers)} levels: one run measures at most {MOST_LEVELS}")
        return tuple(numbers)


class MixType(TypedValue):
    """Convert `each` to None (measure every route alone), or parse how one load is spread over the routes."""

    name = "mix"

    def read(self, text: str) -> Mix | None:
        from firectl.bench import parse_mix

        try:
            return None if text == "each" else parse_mix(text)
        except ValueError as error:
            raise ValueError(f"{error}; or each, to measure every route by itself") from None


class Allowance(TypedValue):
    """Convert the number of allowed errors, or their share of all requests, such as `5%`."""

    name = "n|n%"

    def read(self, text: str) -> tuple[float, str]:
        share = text.endswith("%")
        digits = text.removesuffix("%")
        if not (digits.isascii() and digits.replace(".", "", 1 if share else 0).isdigit() and len(digits) < 10):
            raise ValueError(f"{text!r} is neither a number of requests nor a share such as 5%")
        if share and float(digits) > 100:
            raise ValueError(f"{text!r} is more than 100%")
        return (float(digits) / 100, "share") if share else (float(digits), "number")


def build_load(app: App, given: Mapping[str, Any]) -> Load:
    """Return the load that the flags describe. InputError for flags that exclude each other."""
    from firectl.bench import Load

    set_ = {name: value for name, value in given.items() if value is not None}
    for one, other in (
        ("concurrency", "rate"),
        ("prompt_tokens", "prompt_characters"),
        ("prompt_tokens", "prompts"),
        ("prompt_characters", "prompts"),
    ):
        if one in set_ and other in set_:
            flags = " and ".join(f"--{name.replace('_', '-')}" for name in (one, other))
            raise InputError(f"{flags} exclude each other", hint="firectl bench --help")
    for name in ("arrival", "max_in_flight"):
        if name in set_ and "rate" not in set_:
            flag = f"--{name.replace('_', '-')}"
            raise InputError(f"{flag} needs --rate: a stream sends when it was answered", hint="add --rate 5")
    fields = {name: set_[name] for name in _FIELDS if name in set_}
    if "rate" in set_:
        fields |= {"concurrency": (), "rates": set_["rate"]}
    if "requests" not in set_ or "duration" in set_:
        fields["seconds"] = set_.get("duration", SECONDS)
    for name in ("prompt_characters", "prompt_tokens"):
        if name in set_:
            fields |= {"prompt": set_[name], "prompt_in_tokens": name == "prompt_tokens"}
    if "prompts" in set_:
        fields["prompts"] = read_prompts(set_["prompts"])
    # Use a new seed for each run, so that no server has cached its texts. The seed is short enough to type.
    fields.setdefault("seed", secrets.randbelow(1_000_000))
    return Load(**fields, chat=set_.get("api", "chat") == "chat", timeout=app.flags.get("timeout") or TIMEOUT)


def refuse_without_compare(routes: Sequence[str], models: Sequence[str], base: str | None, keep: bool | None) -> None:
    """Raise InputError if no route is given, or if a flag that needs --compare is given."""
    if models or base is not None or keep is not None:
        flag = "--model" if models else "--base" if base is not None else "--keep"
        raise InputError(f"{flag} needs --compare", hint=EXAMPLE)
    for word in routes:
        if word in ("true", "false"):
            raise InputError(f"{word!r} is not a route: a switch takes its value after =", hint=f"--stream={word}")
    if not routes:
        raise InputError("no route to measure", hint="firectl bench MODEL#DEPLOYMENT, or --compare with --model LORA")


def read_prompts(path: Path) -> tuple[str, ...]:
    """Return the prompts in a file, one per line. A line of .jsonl is a JSON string or an object with `prompt`."""
    if path.stat().st_size > LARGEST_FILE:
        raise InputError(f"{path} is too large: at most {LARGEST_FILE >> 20} MiB")
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None
    if path.suffix == ".jsonl":
        lines = [_prompt_of(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
    if not lines:
        raise InputError(f"{path} holds no prompts", hint="write one per line")
    return tuple(lines)


def _prompt_of(line: str, where: str) -> str:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(f"{where} is not JSON") from None
    prompt = found.get("prompt") if isinstance(found, dict) else found
    if not isinstance(prompt, str) or not prompt:
        raise InputError(f"{where}: expected a JSON string, or an object with a string in `prompt`")
    return prompt


def check_files(csv: Path | None, plot: Path | None) -> None:
    """Raise InputError if a result file could not be written at the end of the run."""
    for path in filter(None, (csv, plot)):
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise InputError(f"{path} cannot be written: " + ("a folder" if path.is_dir() else "no such folder"))
    if plot is None:
        return
    from importlib.util import find_spec

    from firectl.bench.files import PLOTS

    if plot.suffix.lower() not in PLOTS:
        raise InputError(
            f"{plot}: expected a file name that ends in {' or '.join(PLOTS)}", hint=f"--plot {plot.stem}.png"
        )
    if find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib, which is not installed", hint="pip install 'firectl[plot]'")
