"""What can go wrong, and which exit code does it give?

FirectlError                     code, message, hint, details; to_wire() and from_wire() are inverse
├── InputError                   the command line or a local file is wrong, nothing was sent      exit 2
│   └── AdapterError             an adapter or a base model cannot be used                        exit 2
├── ApiError                     the server refused                                               exit by code
│   └── NetworkError             no usable answer (refused, reset, timed out, not JSON)           exit 7 or 1
├── ResourceFailed               a wait ended: the resource became FAILED                         exit 1
├── NotProven                    it is READY, but the adapter does not answer                     exit 1
└── WaitTimeout                  the time of --wait-timeout is over                               exit 8
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any

ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class Code(Enum):
    """gRPC status codes: (number, HTTP status), as in google/rpc/code.proto."""

    CANCELLED = (1, 499)
    UNKNOWN = (2, 500)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    OUT_OF_RANGE = (11, 400)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    DATA_LOSS = (15, 500)
    UNAUTHENTICATED = (16, 401)

    @property
    def number(self) -> int:
        return self.value[0]

    @property
    def http_status(self) -> int:
        return self.value[1]

    @property
    def title(self) -> str:
        """Return the code's name as messages show it: `NotFound`."""
        return "".join(word.capitalize() for word in self.name.split("_"))

    @classmethod
    def of(cls, value: object, http_status: int | None = None) -> Code:
        """Return the code of a gRPC number or name; if `value` is neither, derive the code from the HTTP status."""
        for code in cls:
            if value == code.number and not isinstance(value, bool):
                return code
            if isinstance(value, str) and value.upper() == code.name:
                return code
        return _of_status(http_status or 0)


_BY_STATUS = {
    400: Code.INVALID_ARGUMENT,
    402: Code.FAILED_PRECONDITION,
    405: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ALREADY_EXISTS,
    412: Code.FAILED_PRECONDITION,
    500: Code.INTERNAL,
    502: Code.UNAVAILABLE,
}
"""HTTP status → code, where several codes share the status or no code has it."""


def _of_status(http_status: int) -> Code:
    by_class = Code.INTERNAL if http_status >= 500 else Code.INVALID_ARGUMENT if http_status >= 400 else Code.UNKNOWN
    by_number = next((code for code in Code if code.http_status == http_status), by_class)
    return _BY_STATUS.get(http_status, by_number)


class Exit(IntEnum):
    """Exit codes of the command line. A test compares docs/errors.md with them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    CONFLICT = 5
    INVALID = 6
    RETRY_LATER = 7
    WAIT_TIMEOUT = 8
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_OF_CODE: Mapping[Code, Exit] = {
    Code.NOT_FOUND: Exit.NOT_FOUND,
    Code.UNAUTHENTICATED: Exit.DENIED,
    Code.PERMISSION_DENIED: Exit.DENIED,
    Code.ALREADY_EXISTS: Exit.CONFLICT,
    Code.ABORTED: Exit.CONFLICT,
    Code.FAILED_PRECONDITION: Exit.CONFLICT,
    Code.INVALID_ARGUMENT: Exit.INVALID,
    Code.OUT_OF_RANGE: Exit.INVALID,
    Code.UNAVAILABLE: Exit.RETRY_LATER,
    Code.RESOURCE_EXHAUSTED: Exit.RETRY_LATER,
    Code.DEADLINE_EXCEEDED: Exit.RETRY_LATER,
}


class FirectlError(Exception):
    """Base of all errors shown to users: a message that says what happened, and a hint that says what to do."""

    exit_code: Exit = Exit.FAILED

    def __init__(
        self,
        message: str,
        *,
        code: Code = Code.UNKNOWN,
        hint: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.details = tuple(details)


class InputError(FirectlError):
    """The command line or a local file is wrong. Nothing was sent or written."""

    exit_code = Exit.USAGE

    def __init__(self, message: str, *, hint: str | None = None, details: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message, code=Code.INVALID_ARGUMENT, hint=hint, details=details)


class AdapterError(InputError):
    """An adapter or base model cannot be used. The message names the file, the field or the tensor."""


class ApiError(FirectlError):
    """An error answer of a server. The local platform raises it to send one."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        hint: str | None = None,
        details: Sequence[Mapping[str, Any]] = (),
        http_status: int | None = None,
        request_id: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint, details=details)
        self.http_status = http_status if http_status is not None else code.http_status
        self.request_id = request_id
        self.reason = reason
        """A finer code than gRPC's, in inference errors: `DEPLOYMENT_SCALING_UP`."""
        self.maybe_done = False
        """Whether an earlier attempt of this request may have succeeded although its answer was lost."""
        self.exit_code = EXIT_OF_CODE.get(code, Exit.FAILED)
        if self.http_status == 412:
            self.exit_code = Exit.CONFLICT


def invalid(message: str, hint: str | None = None) -> ApiError:
    """Make an INVALID_ARGUMENT error: the request itself is wrong, whatever the state of the platform."""
    return ApiError(Code.INVALID_ARGUMENT, message, hint=hint)


def failed_precondition(message: str, hint: str | None = None) -> ApiError:
    """Make a FAILED_PRECONDITION error: the request is valid, but the resource's current state does not allow it."""
    return ApiError(Code.FAILED_PRECONDITION, message, hint=hint)


def not_found(what: str) -> ApiError:
    """Make a NOT_FOUND error. `what` is a kind and a name: `model accounts/a/models/m`."""
    return ApiError(Code.NOT_FOUND, f"{what} not found")


class NetworkError(ApiError):
    """No usable answer arrived: the connection failed or timed out, or the answer is not in the API's form."""


class ResourceFailed(FirectlError):
    """A resource became FAILED during a wait. The message has the server's reason."""


class NotProven(FirectlError):
    """A deployment is READY, but the adapter does not answer through its route."""


class WaitTimeout(FirectlError):
    """A wait took longer than its timeout. The message names the resource; the wait's end does not change it."""

    exit_code = Exit.WAIT_TIMEOUT

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, code=Code.DEADLINE_EXCEEDED, hint=hint)


def to_wire(error: FirectlError, request_id: str | None = None) -> dict[str, Any]:
    """Return an error in the form of the control plane, `{"code": <grpc int>, "message", "details"}`.

    Hint and reason are in `details` as an ErrorInfo, for `from_wire`.
    """
    details = [dict(detail) for detail in error.details]
    reason = getattr(error, "reason", None)
    if error.hint or reason:
        metadata = {"hint": error.hint} if error.hint else {}
        reason = reason or error.code.name
        details.append({"@type": ERROR_INFO, "domain": "firectl", "reason": reason, "metadata": metadata})
    body: dict[str, Any] = {"code": error.code.number, "message": error.message, "details": details}
    if request_id:
        body["request_id"] = request_id
    return body


def to_inference_wire(error: FirectlError, param: str | None = None) -> dict[str, Any]:
    """Return an error in the form of the inference API: `{"error": {"message", "type", "param", "code"}}`."""
    reason = getattr(error, "reason", None)
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    kind = "invalid_request_error" if error.code.http_status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": reason or error.code.name}}


def from_wire(http_status: int | None, body: object, request_id: str | None = None) -> ApiError:
    """Return the error that a JSON error answer describes, in any of the API's three forms.

    `body` is any decoded JSON. If it names no code, the HTTP status decides. `http_status` is None for an error in a
    stream or in the output of a process; the error then gets the HTTP status of its code.
    """
    fields: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
    inner = fields.get("error")
    request_id = request_id or _text(fields.get("request_id"))
    if isinstance(inner, Mapping):
        fields = inner
    raw_code = fields.get("code")
    code = Code.of(raw_code, 500 if http_status is None else http_status)
    http_status = code.http_status if http_status is None else http_status
    reason = raw_code if isinstance(raw_code, str) and raw_code != code.name else None
    hint = None
    kept = []
    raw_details = fields.get("details")
    for detail in raw_details if isinstance(raw_details, list) else []:
        if not isinstance(detail, Mapping):
            continue
        if detail.get("@type") == ERROR_INFO and detail.get("domain") == "firectl":
            metadata = detail.get("metadata")
            hint = _text(metadata.get("hint")) if isinstance(metadata, Mapping) else None
            reason = _text(detail.get("reason")) if detail.get("reason") != code.name else reason
        else:
            kept.append(detail)
    message = message_of(body) or f"the server answered HTTP {http_status} without a message"
    return ApiError(
        code, message, hint=hint, details=kept, http_status=http_status, request_id=request_id, reason=reason
    )


def message_of(body: object) -> str | None:
    """Return the message of a JSON error answer, in any form of the API or an engine; None if there is no message."""
    if not isinstance(body, Mapping):
        return None
    inner = body.get("error")
    said = inner.get("message") if isinstance(inner, Mapping) else inner
    return _text(said) or _text(body.get("message")) or _text(body.get("detail"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
