"""A model's tensors, learnt from the start of each file (`client/transfer/outline.py`)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from firectl import Client
from firectl.client.transfer.outline import HEAD, MOST_SHARDS, fetch_outline
from firectl.errors import NetworkError
from tests.client.storage import Storage

NAME = "accounts/acme/models/base"


def shard(tensors: int) -> bytes:
    """A file of weights: the length of its header, the header, and numbers."""
    header = json.dumps({f"layer.{n}": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in range(tensors)})
    return len(header).to_bytes(8, "little") + header.encode() + os.urandom(300_000)


@pytest.fixture
def storage(storage: Storage) -> Storage:
    storage.says_hashes = True
    storage.files = {"config.json": b'{"hidden_size": 8}', "a.safetensors": shard(3), "b.safetensors": shard(3000)}
    storage.files["tokenizer.json"] = b"{}"
    return storage


def test_headers_are_fetched_and_numbers_are_holes(client: Client, storage: Storage, tmp_path: Path) -> None:
    fetch_outline(client, NAME, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors", "config.json"]
    assert (tmp_path / "config.json").read_bytes() == storage.files["config.json"]
    for name in ("a.safetensors", "b.safetensors"):
        whole, found = storage.files[name], (tmp_path / name).read_bytes()
        end = 8 + int.from_bytes(whole[:8], "little")
        assert (len(found), found[:end]) == (len(whole), whole[:end])
        assert not any(found[end:])
    sent = sum(len(storage.reply(request).raw) for request in storage.requests if "/store/" in request.path)
    assert len(storage.files["b.safetensors"]) > 2 * HEAD
    assert sent < len(storage.files["b.safetensors"])


def test_a_server_without_ranges_is_not_asked_for_whole_files(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.says_hashes = False
    with pytest.raises(NetworkError, match=r"does not send parts of a\.safetensors"):
        fetch_outline(client, NAME, tmp_path)


def test_a_model_of_too_many_files_is_not_looked_at(client: Client, storage: Storage, tmp_path: Path) -> None:
    storage.files = {f"{number}.safetensors": b"" for number in range(MOST_SHARDS + 1)}
    with pytest.raises(NetworkError, match="has 65 files of weights: expected at most 64"):
        fetch_outline(client, NAME, tmp_path)
