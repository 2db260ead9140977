"""Which class reads and writes HTTP? The one of uvicorn that parses with httptools. Put changes of its limits here."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Protocol(HttpToolsProtocol):
    """The HTTP protocol of one connection to the platform."""
