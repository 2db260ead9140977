"""What tensors does a model have? Fetches its config, its index and the header of each file of weights.

A few kilobytes tell names and shapes of a base's tensors before an adapter for it is sent.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.client.http.connections import httpx
from firectl.client.transfer.addresses import Addresses
from firectl.client.transfer.download import open_file, size_of_whole
from firectl.client.transfer.files import target
from firectl.errors import Code, NetworkError

if TYPE_CHECKING:
    from firectl.client.client import Client

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", ".safetensors"
MERGED = "firectl_merge.json"
"""The record of a merge, in a base that is the result of one."""
HEAD = 64 * 1024
"""Bytes of the first request; most headers are shorter."""
LARGEST_HEADER = 100 * 1024 * 1024
"""The limit of safetensors."""
MOST_SHARDS = 64


def fetch_outline(client: Client, name: str, folder: Path) -> None:
    """Writes the model `name` (a full name) into `folder`, with a hole in place of each file's numbers.

    ApiError if the server does not let its files be read, or cannot send parts of them.
    """
    addresses = Addresses(client.base_url, partial(client.models.get_download_endpoint, name))
    files = sorted(addresses.given.filename_to_signed_urls)
    shards = [file for file in files if file.endswith(WEIGHTS)]
    if len(shards) > MOST_SHARDS:
        raise NetworkError(
            Code.OUT_OF_RANGE, f"{name} has {len(shards)} files of weights: expected at most {MOST_SHARDS}"
        )

    def read(file: str, start: int, count: int) -> tuple[bytes, int]:
        """(At most `count` bytes of a file from `start` on, the size of the whole file.)"""
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


def _read(client: Client, file: str, url: httpx.URL, start: int, count: int) -> tuple[bytes, int]:
    headers = {"Range": f"bytes={start}-{start + count - 1}"}
    with open_file(client.sender, file, url, headers, client.max_retries) as answer:
        size = size_of_whole(answer)
        if answer.status != 206 or size is None:
            # It would send the whole file.
            raise NetworkError(Code.UNIMPLEMENTED, f"the server does not send parts of {file}")
        data = bytearray()
        for chunk in answer.chunks():
            data += chunk
            if len(data) > count:
                raise answer.unexpected("more bytes than were asked for")
    return bytes(data), size
