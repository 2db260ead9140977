"""A model's files without their numbers: config, index, and each file of weights as its header and a hole behind it.

A few kilobytes say which tensors a base has and of which shapes, before an adapter for it is sent.
"""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.client.http.connections import httpx
from firectl.client.http.sender import Outgoing
from firectl.client.transfer.addresses import Addresses
from firectl.client.transfer.endpoints import download_endpoint
from firectl.client.transfer.files import target
from firectl.client.transfer.upload import SECONDS
from firectl.errors import Code, NetworkError

if TYPE_CHECKING:
    from firectl.client.api import Api

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", ".safetensors"
MERGED = "firectl_merge.json"
"""The record of what was merged into the base, where it is the result of a merge."""
HEAD = 64 * 1024
"""Bytes asked for first; most headers are shorter."""
LARGEST_HEADER = 100 * 1024 * 1024
"""As safetensors has it."""
MOST_SHARDS = 64
_CONTENT_RANGE = re.compile(r"bytes \d{1,18}-\d{1,18}/(\d{1,18})")


def fetch_outline(client: Api, name: str, folder: Path) -> None:
    """Write the outline of the model `name` (a full name) into `folder`, to be read as the model's own folder would.

    ApiError where the server does not let its files be read, or does not send parts of them.
    """
    addresses = Addresses(client.base_url, partial(download_endpoint, client, name))
    files = sorted(addresses.given.filename_to_signed_urls)
    shards = [file for file in files if file.endswith(WEIGHTS)]
    if len(shards) > MOST_SHARDS:
        raise NetworkError(Code.OUT_OF_RANGE, f"{name} has {len(shards)} files of weights")

    def read(file: str, start: int, count: int) -> tuple[bytes, int]:
        """(at most `count` bytes of a file from `start` on, the whole file's size)."""
        return addresses.use(file, lambda url: _read(client, file, url, start, count))

    for file in files:
        if file in (CONFIG, INDEX, MERGED):
            data, size = read(file, 0, LARGEST_HEADER)
            _write(folder, file, data, size)
        elif file in shards:
            data, size = read(file, 0, HEAD)
            end = 8 + min(int.from_bytes(data[:8], "little"), LARGEST_HEADER)
            if end > len(data) and size > len(data):
                data += read(file, len(data), end - len(data))[0]
            _write(folder, file, data[:end], size)


def _write(folder: Path, file: str, data: bytes, size: int) -> None:
    path = target(folder, file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.truncate(path, size)


def _read(client: Api, file: str, url: httpx.URL, start: int, count: int) -> tuple[bytes, int]:
    request = Outgoing(
        method="GET",
        url=url,
        what=f"GET {file}",
        headers={"Accept-Encoding": "identity", "Range": f"bytes={start}-{start + count - 1}"},
        repeatable=True,
        timeout=SECONDS,
        max_retries=client.max_retries,
    )
    with client.sender.open(request) as answer:
        span = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        if answer.status != 206 or span is None:
            # The whole file would come, however large.
            raise NetworkError(Code.UNIMPLEMENTED, f"the server does not send parts of {file}")
        data = bytearray()
        for chunk in answer.chunks():
            data += chunk
            if len(data) > count:
                raise answer.unexpected("more bytes than were asked for")
    return bytes(data), int(span[1])
