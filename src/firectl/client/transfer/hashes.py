"""Are the bytes there the bytes here? What servers say that a file hashes to, and what bytes hash to."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping

SHA256 = "sha256"
MD5 = "md5"


def stated(headers: Mapping[str, str]) -> dict[str, str]:
    """Algorithm → hexadecimal digest of the whole file, as an answer states it: `Repr-Digest`, or Google's header.

    crc32c, which Google has for every file, is left out: without a library it is slower than any network.
    """
    found = {}
    for item in headers.get("repr-digest", "").split(","):
        name, _, value = item.strip().partition("=")
        if name == "sha-256":
            found[SHA256] = _hex(value.strip(":"))
    for item in headers.get("x-goog-hash", "").split(","):
        name, _, value = item.strip().partition("=")
        if name == "md5":
            found[MD5] = _hex(value)
    return {algorithm: digest for algorithm, digest in found.items() if digest}


def _hex(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).hex()
    except (binascii.Error, ValueError):
        return ""


def hashed(chunks: Iterable[bytes], algorithm: str, check: Callable[[], None]) -> str:
    """The hexadecimal digest of `chunks` together. `check` is called for each, and may raise."""
    hash = hashlib.new(algorithm, usedforsecurity=False)
    for chunk in chunks:
        check()
        hash.update(chunk)
    return hash.hexdigest()
