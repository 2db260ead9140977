"""Where are the platform's secrets? In one file: the API key of its own user, and the key that signs file URLs."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field

from firectl.config import write_private
from firectl.errors import InputError
from firectl.server.disk.paths import Paths


@dataclass(frozen=True)
class Credentials:
    api_key: str = field(repr=False)
    signing_key: bytes = field(repr=False)


def ensure_credentials(paths: Paths) -> Credentials:
    """Return the platform's secrets; make them at the first start. The caller must hold the platform's lock.

    InputError for a file in another format.
    """
    try:
        document = json.loads(paths.credentials.read_bytes())
        return Credentials(str(document["apiKey"]), bytes.fromhex(document["signingKey"]))
    except FileNotFoundError:
        made = Credentials(new_key(), secrets.token_bytes(32))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{paths.credentials} is not a credential file of this platform",
            hint="move it away; a new key is made at the next start",
        ) from error
    write_private(paths.credentials, json.dumps({"apiKey": made.api_key, "signingKey": made.signing_key.hex()}))
    return made


def new_key() -> str:
    """Make a new API key: 256 random bits."""
    return f"fw_{secrets.token_urlsafe(32)}"
