"""Where is each file sent to or fetched from? Signed URLs, renewed when they have expired.

Signed URLs are secrets: no message shows one. Requests to them do not carry the API key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import TypeVar

from firectl.client.http.connections import httpx
from firectl.errors import ApiError, Code, NetworkError
from firectl.schemas.model import SignedUrls

T = TypeVar("T")
EXPIRED = frozenset({400, 401, 403})
"""HTTP statuses with which a storage server may refuse an expired URL."""


class Addresses:
    """The signed URL of each file. `ask` requests all of them from the API, now and again after they expire."""

    def __init__(self, base_url: str, ask: Callable[[], SignedUrls]) -> None:
        self._base = httpx.URL(base_url)
        self._ask = ask
        self._lock = threading.Lock()
        self.given = ask()

    def use(self, file: str, send: Callable[[httpx.URL], T]) -> T:
        """Call `send` with the file's URL and return its result.

        If the URL may have expired, try once more with a new one.
        """
        used = self.given
        try:
            return send(self._url(file))
        except ApiError as error:
            if not refused(error, EXPIRED):
                raise
        with self._lock:
            # All URLs expire at about the same time; the first thread here renews them for the others.
            if self.given is used:
                self.given = self._ask()
        try:
            return send(self._url(file))
        except ApiError as error:
            if refused(error, EXPIRED):
                error.hint = "the address is new, so it has not expired; check the clock of this machine"
            raise

    def _url(self, file: str) -> httpx.URL:
        return checked(self.given.filename_to_signed_urls.get(file), file, self._base, self._base)


def refused(error: ApiError, statuses: Collection[int]) -> bool:
    """Whether the server answered with one of `statuses`."""
    return error.http_status in statuses and not isinstance(error, NetworkError)


def checked(text: str | None, file: str, relative_to: httpx.URL, api: httpx.URL) -> httpx.URL:
    """Return the URL for a file. NetworkError if the server gave no valid URL, or http although the API uses https."""
    if not text:
        raise NetworkError(Code.UNKNOWN, f"unexpected answer: the server gave no address for {file}")
    try:
        # `join` parses both URLs again: slow for hundreds of small files.
        url = httpx.URL(text)
        url = relative_to.join(url) if url.is_relative_url else url
    except httpx.InvalidURL:
        raise NetworkError(Code.UNKNOWN, f"unexpected answer: the address for {file} is not a URL") from None
    if url.scheme not in ("http", "https") or (url.scheme == "http" and api.scheme == "https"):
        raise NetworkError(Code.UNKNOWN, f"the address for {file} is not https: nothing was sent to it")
    return url
