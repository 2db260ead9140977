"""Did the bytes arrive unchanged? Reads the hashes that servers state, and hashes bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping

SHA256 = "sha256"
MD5 = "md5"
_STATED = (("repr-digest", "sha-256", SHA256), ("x-goog-hash", "md5", MD5))
"""(HTTP header, the hash's name in that header, algorithm).

Google's crc32c is left out: in pure Python it is slower than any network.
"""


def stated(headers: Mapping[str, str]) -> dict[str, str]:
    """Read the whole file's hashes from the headers of an answer: algorithm → hexadecimal digest."""
    found = {}
    for header, wanted, algorithm in _STATED:
        for item in headers.get(header, "").split(","):
            name, _, value = item.strip().partition("=")
            if name == wanted and (digest := _hex(value.strip(":"))):
                found[algorithm] = digest
    return found


def _hex(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):
        return ""


def hashed(chunks: Iterable[bytes], algorithm: str, check: Callable[[], None]) -> str:
    """Return the hexadecimal digest of all chunks. `check` is called before each chunk and may raise."""
    hash = hashlib.new(algorithm, usedforsecurity=False)
    for chunk in chunks:
        check()
        hash.update(chunk)
    return hash.hexdigest()
