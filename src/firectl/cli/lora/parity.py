"""Implement `lora parity`: read the prompts, show the comparison, and decide whether it is an error."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from firectl.cli.output.output import View
from firectl.errors import InputError

_COLUMNS = ("LEFT", "RIGHT", "MAX DIFFERENCE", "MEAN DIFFERENCE", "SAME NEXT TOKEN")


def compare_ways(adapter: Path, base: Path, prompts: Sequence[str], file: Path | None) -> dict[str, Any]:
    """Return the report on one adapter, for `prompts` and the lines of `file`. Without both, use built-in sentences."""
    from firectl.lora.parity import PROMPTS, parity

    asked = [*prompts, *(_lines_of(file) if file is not None else ())]
    return parity(adapter, base, asked or PROMPTS)


def judge(report: Mapping[str, Any], adapter: Path) -> None:
    """Raise InputError (exit code 2) if the report is not valid."""
    if report["valid"]:
        return
    if not report["changes"]:
        raise InputError(
            f"{adapter} changes no answer: on these prompts it answers as its base does",
            hint=f"firectl lora check {shlex.quote(str(adapter))} --deep",
        )
    if report["agrees"] is None:
        raise InputError(
            f"{adapter}: fewer than two ways could be compared", hint="the report says which were not, and why"
        )
    raise InputError(f"{adapter}: the ways to apply it give different answers")


def _lines_of(file: Path) -> list[str]:
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except ValueError:
        raise InputError(f"{file} is not UTF-8 text", hint="write one prompt per line") from None
    if not lines:
        raise InputError(f"{file} holds no prompts", hint="write one prompt per line")
    return lines


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    from firectl.cli.output.render import scalar, table

    yield f"Valid: {scalar(report['valid'])}"
    yield f"Changes Answers: {scalar(report['changes'])}"
    if report["agrees"] is not None:
        yield f"Ways Agree: {scalar(report['agrees'])}"
    yield f"Tokens: {report['tokens']}"
    rows = [
        (
            found["left"],
            found["right"],
            f"{found['max_difference']:.3g}",
            f"{found['mean_difference']:.3g}",
            f"{100 * found['top1_agreement']:.1f}%",
        )
        for found in report["comparisons"]
    ]
    yield from table(_COLUMNS, rows)
    before, after = report["loss"]["base"], report["loss"]["merged"]
    if before is not None and after is not None:
        yield f"Loss On The Prompts: {before:.3f} without the adapter, {after:.3f} with it"
    for way, why in report["skipped"].items():
        yield f"Not Compared: {way}: {scalar(why)}"


VIEW = View(text=_lines)
