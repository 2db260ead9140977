from __future__ import annotations

import pytest

from firectl.errors import Code, FirectlError, from_wire, message_of, to_inference_wire, to_wire


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (to_wire(FirectlError("no")), "no"),
        (to_inference_wire(FirectlError("no")), "no"),
        ({"error": to_wire(FirectlError("no"))}, "no"),
        ({"error": "no"}, "no"),
        ({"object": "error", "message": "no", "code": 404}, "no"),
        ({"detail": "no"}, "no"),
        ({"error": {"code": 5}, "message": "no"}, "no"),
        ({"detail": [{"msg": "no"}]}, None),
        ({"error": {"message": 5}}, None),
        ({}, None),
        (["no"], None),
        (None, None),
    ],
)
def test_the_message_is_found_in_every_envelope(body: object, said: str | None) -> None:
    assert message_of(body) == said
    assert from_wire(404, body).message == (said or "the server answered HTTP 404 without a message")


@pytest.mark.parametrize(
    ("code", "known", "http_status"),
    [(15, Code.DATA_LOSS, 500), ("UNAVAILABLE", Code.UNAVAILABLE, 503), ("ENGINE_FAILED", Code.INTERNAL, 500)],
)
def test_an_error_without_an_http_status_has_that_of_its_code(code: object, known: Code, http_status: int) -> None:
    error = from_wire(None, {"error": {"code": code, "message": "no"}})
    assert (error.code, error.http_status, error.message) == (known, http_status, "no")
