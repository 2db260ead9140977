"""What servers state of a file's hash, and what bytes hash to (`client/transfer/hashes.py`)."""

from __future__ import annotations

import base64
import hashlib

import pytest

from firectl.client.transfer.hashes import MD5, SHA256, hashed, stated

DIGEST = hashlib.sha256(b"whole").digest()
SUM = hashlib.md5(b"whole", usedforsecurity=False).digest()


def coded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"repr-digest": f"sha-256=:{coded(DIGEST)}:"}, {SHA256: DIGEST.hex()}),
        ({"repr-digest": f"md5=:{coded(SUM)}:, sha-256=:{coded(DIGEST)}:"}, {SHA256: DIGEST.hex()}),
        ({"x-goog-hash": f"crc32c=AAAAAA==,md5={coded(SUM)}"}, {MD5: SUM.hex()}),
        ({"x-goog-hash": "crc32c=AAAAAA=="}, {}),
        ({"x-goog-hash": "md5=not base64"}, {}),
        ({"repr-digest": "sha-256=::"}, {}),
        ({}, {}),
    ],
)
def test_the_hash_is_read_from_the_header_of_either_server(headers: dict[str, str], found: dict[str, str]) -> None:
    assert stated(headers) == found


@pytest.mark.parametrize("algorithm", [SHA256, MD5])
def test_chunks_hash_as_the_whole_does(algorithm: str) -> None:
    assert hashed([b"wh", b"", b"ole"], algorithm, lambda: None) == {SHA256: DIGEST, MD5: SUM}[algorithm].hex()


def test_a_check_ends_the_hashing() -> None:
    left = [None, None]

    def check() -> None:
        left.pop()

    with pytest.raises(IndexError):
        hashed([b"a", b"b", b"c"], SHA256, check)
