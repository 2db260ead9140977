"""Which HTTP protocol does the platform serve? uvicorn's, with httptools as its parser. Its limits belong here."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Protocol(HttpToolsProtocol):
    """One connection to the platform."""
