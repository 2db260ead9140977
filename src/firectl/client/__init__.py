"""The typed client: everything the API can do, hosted or local. It speaks HTTP, never to people."""

from firectl.client.client import Client, DryRun, Planned
from firectl.client.http.sender import Exchange

__all__ = ["Client", "DryRun", "Exchange", "Planned"]
