"""What tensors does a model have? Fetches its config, its index and the header of each file of weights.

These few kilobytes show the names and shapes of a base model's tensors before an adapter for it is uploaded.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firectl.client.http.connections import httpx
from firectl.client.transfer.addresses import Addresses
from firectl.client.transfer.download import open_file, size_of_whole
from firectl.client.transfer.endpoints import download_endpoint
from firectl.client.transfer.files import target
from firectl.errors import Code, NetworkError

if TYPE_CHECKING:
    from firectl.client.api import Api

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", ".safetensors"
MERGED = "firectl_merge.json"
"""The file that describes the merge, in a model that a merge has produced."""
HEAD = 64 * 1024
"""Bytes of the first request; most headers are shorter."""
LARGEST_HEADER = 100 * 1024 * 1024
"""The largest header that the safetensors format allows, in bytes."""
MOST_SHARDS = 64


def fetch_outline(client: Api, name: str, folder: Path) -> None:
    """Write the files of the model `name` (a full name) into `folder`, with zeros in place of the weights.

    ApiError if the server does not let its files be read, or cannot send parts of them.
    """
    addresses = Addresses(client.base_url, partial(download_endpoint, client, name))
    files = sorted(addresses.given.filename_to_signed_urls)
    shards = [file for file in files if file.endswith(WEIGHTS)]
    if len(shards) > MOST_SHARDS:
        raise NetworkError(
            Code.OUT_OF_RANGE, f"{name} has {len(shards)} files of weights: expected at most {MOST_SHARDS}"
        )

    def read(file: str, start: int, count: int) -> tuple[bytes, int]:
        """Return (at most `count` bytes of a file from `start` on, the size of the whole file)."""
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
    headers = {"Range": f"bytes={start}-{start + count - 1}"}
    with open_file(client.sender, file, url, headers, client.max_retries) as answer:
        size = size_of_whole(answer)
        if answer.status != 206 or size is None:
            # The server ignored the range, and would send the whole file.
            raise NetworkError(Code.UNIMPLEMENTED, f"the server does not send parts of {file}")
        data = bytearray()
        for chunk in answer.chunks():
            data += chunk
            if len(data) > count:
                raise answer.unexpected("more bytes than were asked for")
    return bytes(data), size
