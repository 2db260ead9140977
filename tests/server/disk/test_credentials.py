"""The platform's secrets are made once, and only its owner can read them."""

from __future__ import annotations

import stat

import pytest

from firectl.errors import InputError
from firectl.server.disk.credentials import ensure_credentials, new_key
from firectl.server.disk.paths import Paths


def test_secrets_are_made_at_the_first_start_and_read_at_the_next(paths: Paths) -> None:
    made = ensure_credentials(paths)
    assert made.api_key.startswith("fw_")
    assert len(made.signing_key) == 32
    assert stat.S_IMODE(paths.credentials.stat().st_mode) == 0o600
    assert ensure_credentials(paths) == made
    assert made.api_key not in repr(made)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"apiKey": "k", "signingKey": "no hex"}'])
def test_a_file_in_another_format_is_refused_and_kept(paths: Paths, text: str) -> None:
    paths.credentials.write_text(text)
    with pytest.raises(InputError, match=r"credentials\.json is not a credential file of this platform"):
        ensure_credentials(paths)
    assert paths.credentials.read_text() == text


def test_no_two_keys_are_alike() -> None:
    assert len({new_key() for _ in range(100)}) == 100
