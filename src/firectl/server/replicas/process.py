"""How does a child process start and end? As leader of its own process group, without our secrets.

Only this process has the other end of the child's stdin. When this process ends in any way, that
stdin closes, so the child can end too.
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
    """Return the environment for a child: `environ` without variables that look like secrets, plus `extra`."""
    kept = {name: value for name, value in environ.items() if not _SECRET_NAMES.search(name)}
    if "PYTHONPATH" in kept:
        # Children run in another folder, so relative paths become absolute.
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, kept["PYTHONPATH"].split(os.pathsep)))
    kept |= {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    return kept | extra


async def start(argv: Sequence[str], cwd: Path, environment: Mapping[str, str], stderr: int | IO[bytes]) -> Process:
    """Start a child in a process group of its own; stdin and stdout are pipes. Raises OSError on failure."""
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
    """Signal a child and its own children. Does nothing if the child ended: its ID may belong to another process."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


async def end(process: Process, grace: float) -> None:
    """Ask a child's process group to end (SIGTERM), kill it after `grace` seconds, and wait until the child ended."""
    signal_group(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(grace):
            await process.wait()
    except TimeoutError:
        signal_group(process, signal.SIGKILL)
        # `wait` also waits for the pipes, which children of an ended process may keep open.
        if process.returncode is None:
            await process.wait()


def error_in(line: str) -> ApiError | None:
    """Parse an `{"error": …}` line, which our processes print before they fail; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return from_wire(None, document) if "error" in document and message_of(document) else None
