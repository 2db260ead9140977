"""Are the bytes there the bytes here? What servers say that a file hashes to, and the hash of a file on its way."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping

from firectl.client.files import LocalFile, read_range

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


class FileHash:
    """Follows a file from its first byte on, whichever of its parts are sent, and sent again."""

    def __init__(self, file: LocalFile, algorithm: str, check: Callable[[], None]) -> None:
        self._file = file
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._at = 0
        self._check = check

    def feed(self, offset: int, chunk: bytes) -> None:
        """`chunk` stands at `offset`. InputError when the file of that name has been replaced meanwhile."""
        self.up_to(offset)
        new = chunk[self._at - offset :] if self._at > offset else chunk
        self._hash.update(new)
        self._at += len(new)

    def up_to(self, offset: int) -> None:
        """Read what has been passed over so far, up to `offset`. InputError when the file is not what it was."""
        for chunk in read_range(self._file, self._at, offset):
            self._check()
            self._hash.update(chunk)
            self._at += len(chunk)

    def digest(self) -> str:
        """Hexadecimal, of the whole file."""
        self.up_to(self._file.size)
        return self._hash.hexdigest()
