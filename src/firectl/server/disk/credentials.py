"""The one file with secrets: the key of the platform's own user, and the key that signs file URLs."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field

from firectl.config import write_private
from firectl.errors import InputError
from firectl.server.disk.paths import Paths

KEY_PREFIX = "fw_"


@dataclass(frozen=True)
class Credentials:
    api_key: str = field(repr=False)
    signing_key: bytes = field(repr=False)


def read_credentials(paths: Paths) -> Credentials | None:
    """What an earlier start wrote; None where there was none. InputError for a file that is not one of ours."""
    try:
        document = json.loads(paths.credentials.read_bytes())
        return Credentials(str(document["apiKey"]), bytes.fromhex(document["signingKey"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{paths.credentials} is not a credential file of this platform",
            hint="move it away; a new key is made at the next start",
        ) from error


def ensure_credentials(paths: Paths) -> Credentials:
    """The platform's secrets, made at the first start. Call it with the platform's lock held."""
    found = read_credentials(paths)
    if found is not None:
        return found
    made = Credentials(new_key(), secrets.token_bytes(32))
    document = {"apiKey": made.api_key, "signingKey": made.signing_key.hex()}
    write_private(paths.credentials, json.dumps(document))
    return made


def new_key() -> str:
    """A fresh API key: 256 random bits."""
    return KEY_PREFIX + secrets.token_urlsafe(32)
