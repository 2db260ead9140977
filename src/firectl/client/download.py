"""Fetches a model's files from signed URLs: several at once, each whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.client.files import create, target
from firectl.client.http import httpx
from firectl.client.parallel import Meter, Progress, run_all
from firectl.client.sender import Outgoing
from firectl.client.transfer import SECONDS, signed_url
from firectl.client.wait import passes
from firectl.errors import ApiError, InputError

if TYPE_CHECKING:
    from firectl.client.client import Client


def download(
    client: Client, name: str, folder: Path, *, on_progress: Callable[[Progress], None] | None = None
) -> tuple[Path, ...]:
    """Writes every file of the model `name` (a full name) below `folder`, in place of what is there; their paths.

    InputError when the server names a file that would land outside `folder`, before any is fetched.
    """
    urls = client.models.get_download_endpoint(name)
    paths = {file: target(folder, file) for file in sorted(urls)}
    meter = Meter(dict.fromkeys(paths), on_progress)
    jobs = [
        partial(_fetch, client, file, signed_url(client, urls[file], file), path, meter) for file, path in paths.items()
    ]
    run_all(jobs, meter.stop)
    return tuple(paths.values())


def _fetch(client: Client, file: str, url: httpx.URL, path: Path, meter: Meter) -> None:
    part = path.with_name(f".{path.name}.part")
    tries = 0
    try:
        while True:
            tries += 1
            try:
                _write(client, file, url, part, meter)
                break
            except ApiError as error:
                if not passes(error) or tries > client.max_retries:
                    raise
                client.sender.pause(tries)
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {(error.strerror or 'unknown error').lower()}") from None
    finally:
        part.unlink(missing_ok=True)


def _write(client: Client, file: str, url: httpx.URL, part: Path, meter: Meter) -> None:
    request = Outgoing(
        method="GET",
        url=url,
        what=f"GET {file}",
        headers={"Accept-Encoding": "identity"},
        repeatable=True,
        timeout=SECONDS,
        max_retries=0,
    )
    with client.sender.open(request) as incoming, create(part) as out:
        length = incoming.headers.get("content-length", "")
        if length.isdecimal():
            meter.is_size(file, int(length))
        done = 0
        for chunk in incoming.chunks():
            out.write(chunk)
            done += len(chunk)
            meter.at(file, done)
