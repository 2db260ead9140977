"""A signature holds for exactly what was signed, until it expires."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from firectl.errors import ApiError, Code
from firectl.server.access.signing import LIFETIME, Signer

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ALLOWED = ("PUT", "accounts/a/models/m", "f", "3")


def signer(at: datetime = NOW, key: bytes = b"secret") -> Signer:
    return Signer(key, lambda: at)


def denied(expires: str, signature: str, *allowed: str, at: datetime = NOW, key: bytes = b"secret") -> str:
    with pytest.raises(ApiError) as raised:
        signer(at, key).check(expires, signature, *allowed)
    assert raised.value.code is Code.PERMISSION_DENIED
    return raised.value.message


def test_what_was_signed_is_allowed_for_a_day() -> None:
    expires, signature = signer().sign(*ALLOWED)
    assert expires == int((NOW + LIFETIME).timestamp())
    signer(NOW + LIFETIME - timedelta(seconds=1)).check(str(expires), signature, *ALLOWED)
    assert denied(str(expires), signature, *ALLOWED, at=NOW + LIFETIME) == "this URL has expired"


@pytest.mark.parametrize(
    "allowed",
    [
        ("GET", *ALLOWED[1:]),
        (*ALLOWED[:3], "4"),
        (*ALLOWED, ""),
        ("PUTaccounts", "/a/models/m", "f", "3"),
    ],
    ids=["method", "size", "one more", "other borders"],
)
def test_anything_else_is_denied(allowed: tuple[str, ...]) -> None:
    expires, signature = signer().sign(*ALLOWED)
    assert "is not valid for this request" in denied(str(expires), signature, *allowed)


def test_another_expiry_signature_or_key_is_denied() -> None:
    expires, signature = signer().sign(*ALLOWED)
    for end in (str(expires + 1), "", "-1", "²", "9" * 20):
        assert "is not valid" in denied(end, signature, *ALLOWED)
    assert "is not valid" in denied(str(expires), "é", *ALLOWED)
    assert "is not valid" in denied(str(expires), signature, *ALLOWED, key=b"other")
