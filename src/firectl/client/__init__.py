"""The typed client: everything the API can do, hosted or local. It speaks HTTP, never to people."""

from firectl.client.api import DryRun, Planned
from firectl.client.client import Client
from firectl.client.http.sender import Exchange

__all__ = ["Client", "DryRun", "Exchange", "Planned"]
