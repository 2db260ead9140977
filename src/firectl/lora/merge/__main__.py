"""Run a merge as a process: `python -m firectl.lora.merge ADAPTER BASE OUT`.

Prints progress as JSON lines on stdout. The last line is the merge record.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firectl.errors import FirectlError, to_wire
from firectl.lora.merge.inputs import Expected
from firectl.lora.merge.merge import merge

_INTERVAL = 0.2
"""Least number of seconds between two lines of progress."""


def main(arguments: list[str] | None = None) -> int:
    """Return exit code 0: done; 2: a folder is wrong; 1: any other error. An error is one JSON line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m firectl.lora.merge", description="Merge an adapter into its base.")
    parser.add_argument("adapter", type=Path, metavar="ADAPTER")
    parser.add_argument("base", type=Path, metavar="BASE")
    parser.add_argument("out", type=Path, metavar="OUT")
    for what in ("adapter", "base"):
        name = what.upper()
        parser.add_argument(f"--{what}-hash", default=None, help=f"{name} must hash to this")
        parser.add_argument(f"--{what}-file", action="append", help="a file of it that the hash covers; default: all")
    options = parser.parse_args(arguments)
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done == total or now - last >= _INTERVAL:
            last = now
            _print_line({"done": done, "total": total})

    try:
        record = merge(
            options.adapter,
            options.base,
            options.out,
            progress,
            expected_adapter=Expected(options.adapter_hash, options.adapter_file),
            expected_base=Expected(options.base_hash, options.base_file),
        )
    except FirectlError as error:
        return _fail(error)
    except OSError as error:
        return _fail(FirectlError(f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")))
    _print_line(record.to_document())
    return 0


def _fail(error: FirectlError) -> int:
    sys.stderr.write(json.dumps({"error": to_wire(error)}) + "\n")
    return int(error.exit_code)


def _print_line(document: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
