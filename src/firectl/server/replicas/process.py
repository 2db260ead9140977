"""How does a child process start and end? At the head of its own process group, without our secrets.

Its stdin is a pipe that only this process holds, so that it can end when we do, however we end.
Must not depend on what the child runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from firectl.errors import ApiError, from_wire, message_of

_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL|^FIREWORKS_", re.IGNORECASE)
_LINE_LIMIT = 1 << 20


def child_environment(environ: Mapping[str, str], **extra: str) -> dict[str, str]:
    """The environment for a child: `environ` without variables that look like secrets, plus `extra`."""
    kept = {name: value for name, value in environ.items() if not _SECRET_NAMES.search(name)}
    if "PYTHONPATH" in kept:
        # Children run in another folder.
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, kept["PYTHONPATH"].split(os.pathsep)))
    kept |= {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    return kept | extra


async def start(argv: Sequence[str], cwd: Path, environment: Mapping[str, str], stderr: int | IO[bytes]) -> Process:
    """Start a child in a process group of its own; stdin and stdout are pipes. OSError when it cannot start."""
    return await asyncio.create_subprocess_exec(
        *argv,
        stdin=PIPE,
        stdout=PIPE,
        stderr=stderr,
        limit=_LINE_LIMIT,
        cwd=cwd,
        env=environment,
        start_new_session=True,
    )


def signal_group(process: Process, number: signal.Signals) -> None:
    """Signal a child and its own children, unless it was already reaped: then its ID may be another process's."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


async def end(process: Process, grace: float) -> None:
    """Ask a child's process group to end (SIGTERM), and kill it after `grace` seconds. Returns when the child ended."""
    signal_group(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(grace):
            await process.wait()
    except TimeoutError:
        signal_group(process, signal.SIGKILL)
        # `wait` also waits for the pipes, which children of a reaped process may hold.
        if process.returncode is None:
            await process.wait()


def error_in(line: str) -> ApiError | None:
    """The error of an `{"error": …}` line, which our processes print before they fail; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return from_wire(None, document) if "error" in document and message_of(document) else None
