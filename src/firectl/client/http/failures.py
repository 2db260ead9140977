"""What error does a failed request become? Reads httpx's exceptions and answers that are not the API's.

Never quotes a request header, a signed URL or an exception's text: they could hold a secret.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping

from firectl.client.http.connections import host_of, httpx, is_loopback
from firectl.errors import ApiError, Code, NetworkError, from_wire

REQUEST_ID = "x-request-id"
UNDECODABLE = "a body that cannot be decompressed or is too large"


def no_answer(error: httpx.TransportError, url: httpx.URL, what: str, seconds: float) -> NetworkError:
    """Return the error for an attempt without an answer. `what` names the request; `seconds` was its time limit."""
    host = host_of(url)
    if isinstance(error, httpx.ConnectTimeout):
        return NetworkError(Code.UNAVAILABLE, f"cannot reach {host}: the connection timed out")
    if isinstance(error, httpx.ProxyError):
        return NetworkError(Code.UNAVAILABLE, f"cannot reach {host}: the proxy refused the connection")
    if isinstance(error, httpx.ConnectError):
        hint = "firectl local up" if is_loopback(url) else None
        return NetworkError(Code.UNAVAILABLE, f"cannot reach {host}: {_reason(error)}", hint=hint)
    if isinstance(error, httpx.TimeoutException):
        return NetworkError(Code.DEADLINE_EXCEEDED, f"{host} did not answer {what} within {seconds:g} s")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return NetworkError(Code.UNKNOWN, f"cannot send {what} to {host}: it is not valid HTTP")
    return NetworkError(Code.UNAVAILABLE, f"{host} closed the connection before its answer to {what} was complete")


def never_sent(error: httpx.TransportError) -> bool:
    """Whether the request cannot have reached the server."""
    return isinstance(
        error,
        httpx.ConnectError
        | httpx.ConnectTimeout
        | httpx.PoolTimeout
        | httpx.ProxyError
        | httpx.UnsupportedProtocol
        | httpx.LocalProtocolError,
    )


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "the TLS handshake failed"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
        cause = cause.__cause__ or cause.__context__
    return "connection failed"


def error_answer(status: int, headers: Mapping[str, str], content: bytes, url: httpx.URL, what: str) -> ApiError:
    """Return the error for an answer other than 2xx, whether or not its body is an API error."""
    request_id = headers.get(REQUEST_ID)
    if status < 400:
        return unexpected(url, what, _redirect(headers, url) if status >= 300 else f"HTTP {status}", headers)
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        form = _form(content, headers)
        body = {"message": f"{host_of(url)} answered {what} with HTTP {status} and {form} instead of an API error"}
    error = from_wire(status, body, request_id)
    if error.code is Code.UNAUTHENTICATED and error.hint is None:
        error.hint = "see where the key comes from: firectl whoami"
    return error


def _redirect(headers: Mapping[str, str], url: httpx.URL) -> str:
    try:
        target = host_of(url.join(headers.get("location", "")))
    except httpx.InvalidURL:
        target = "an unreadable address"
    return f"a redirect to {target}, which is not followed"


def _form(content: bytes, headers: Mapping[str, str]) -> str:
    start = content[:512].lstrip().lower()
    if not start:
        return "an empty body"
    if start.startswith(b"<?xml"):
        return "XML"
    if start.startswith(b"<") or "html" in headers.get("content-type", ""):
        return "a web page"
    if start.startswith((b"{", b"[")):
        return "JSON that is cut short or broken"
    return "text that is not JSON"


def unexpected(url: httpx.URL, what: str, answer: str, headers: Mapping[str, str]) -> NetworkError:
    """Return the error (exit code 1) for an answer that the API does not send."""
    return NetworkError(
        Code.UNKNOWN,
        f"unexpected answer from {host_of(url)} to {what}: {answer}",
        hint="check that the base URL is the API's: firectl whoami",
        request_id=headers.get(REQUEST_ID),
    )


def read_json(content: bytes, headers: Mapping[str, str], url: httpx.URL, what: str) -> dict[str, object]:
    """Return the JSON object of a 2xx answer. NetworkError, saying what was received, for any other content."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise unexpected(url, what, _form(content, headers), headers) from None
    if not isinstance(body, dict):
        raise unexpected(url, what, f"JSON that is {_kind(body)}, not an object", headers)
    return body


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "an array"
    if value is None:
        return "null"
    return {bool: "a boolean", str: "a string"}.get(type(value), "a number")
