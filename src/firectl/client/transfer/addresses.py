"""Where may each file be put or got, now? Signed URLs, asked for again when they have run out.

They are as good as keys: no message shows one, and none is sent our own key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from firectl.client.http.connections import httpx
from firectl.errors import ApiError, Code, NetworkError
from firectl.schemas.model import SignedUrls

T = TypeVar("T")
REFUSED = frozenset({400, 401, 403})


class Addresses:
    """`ask` gets them from the API, and again whenever one is refused."""

    def __init__(self, base_url: str, ask: Callable[[], SignedUrls]) -> None:
        self._base = httpx.URL(base_url)
        self._ask = ask
        self._lock = threading.Lock()
        self.given = ask()

    def use(self, file: str, send: Callable[[httpx.URL], T]) -> T:
        """What `send` makes of the file's address; of a new one when the first is refused as if it had run out."""
        used = self.given
        try:
            return send(self._url(file))
        except ApiError as error:
            # As storage does with one that has expired.
            if isinstance(error, NetworkError) or error.http_status not in REFUSED:
                raise
        with self._lock:
            # Files sent at once find out at once: the first that does asks for all.
            if self.given is used:
                self.given = self._ask()
        try:
            return send(self._url(file))
        except ApiError as error:
            if error.http_status in REFUSED and not isinstance(error, NetworkError):
                error.hint = "the address is new, so it has not expired; is the clock of this machine right?"
            raise

    def _url(self, file: str) -> httpx.URL:
        return checked(self.given.filename_to_signed_urls.get(file), file, self._base, self._base)


def checked(text: str | None, file: str, relative_to: httpx.URL, api: httpx.URL) -> httpx.URL:
    """The address for a file; NetworkError when the server gave none, or one that is less safe than the API's own."""
    if not text:
        raise NetworkError(Code.UNKNOWN, f"unexpected answer: the server gave no address for {file}")
    try:
        # Joining reads both again, which for hundreds of small files is a good part of their time.
        url = httpx.URL(text)
        url = relative_to.join(url) if url.is_relative_url else url
    except httpx.InvalidURL:
        raise NetworkError(Code.UNKNOWN, f"unexpected answer: the address for {file} is not a URL") from None
    if url.scheme not in ("http", "https") or (url.scheme == "http" and api.scheme == "https"):
        raise NetworkError(Code.UNKNOWN, f"the address for {file} is not https: nothing was sent to it")
    return url
