"""Did the platform issue this URL? A signature covers everything that the URL allows, and its expiry."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta

from firectl.errors import ApiError, Code

LIFETIME = timedelta(hours=24)


class Signer:
    """Signs and checks tuples of strings with one secret key."""

    def __init__(self, key: bytes, now: Callable[[], datetime]) -> None:
        self._key = key
        self._now = now

    def sign(self, *allowed: str) -> tuple[int, str]:
        """Return the expiry (unix seconds) and the signature of a URL. `allowed` says what the URL allows."""
        expires = int((self._now() + LIFETIME).timestamp())
        return expires, self._signature(expires, allowed)

    def check(self, expires: str, signature: str, *allowed: str) -> None:
        """Raise PERMISSION_DENIED unless the signature is for exactly these `allowed` strings and has not expired."""
        until = int(expires) if expires.isascii() and expires.isdecimal() and len(expires) < 15 else 0
        if not hmac.compare_digest(self._signature(until, allowed).encode(), signature.encode()):
            raise ApiError(Code.PERMISSION_DENIED, "the signature of this URL is not valid for this request")
        if until <= self._now().timestamp():
            raise ApiError(
                Code.PERMISSION_DENIED,
                "this URL has expired",
                hint="request a new upload or download endpoint of the model",
            )

    def _signature(self, expires: int, allowed: tuple[str, ...]) -> str:
        # The length of each part is included, so that two different tuples never give the same message.
        message = "".join(f"{len(part)}:{part}" for part in (str(expires), *allowed))
        return hmac.new(self._key, message.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
