"""How does an HTTP request become a function call in `control`, and its result JSON? The code that all doors share.

A door is a function that handles one HTTP method of one path: it takes a `Call` and returns a wire model, a dict or a
response. It runs in a thread, because `control` and `store` block.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from starlette.concurrency import run_in_threadpool
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from firectl.errors import invalid
from firectl.schemas.base import Wire
from firectl.server.access.auth import Caller
from firectl.server.control.accounts import access
from firectl.server.control.patch import Patch
from firectl.server.lists import pages
from firectl.server.platform import Platform

W = TypeVar("W", bound=Wire)
_PROBLEMS_SHOWN = 5
_MAX_INT32 = 2**31 - 1
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _IdConvertor(StringConvertor):
    """Matches one segment of a path, without the `:verb` that may follow it."""

    regex = "[^/:]+"


register_url_convertor("id", _IdConvertor())


@dataclass(frozen=True)
class Call:
    """A request in the form that a door receives."""

    platform: Platform
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]
    origin: str
    """`http://host:port` as the caller wrote it, for URLs in the answer."""
    document: Mapping[str, Any]
    """The JSON body; empty when the request has none."""

    @property
    def account(self) -> str:
        """The full name of the path's account; NOT_FOUND unless the caller may use it."""
        return access.account(self.caller, self.path["account"])

    def name(self, collection: str) -> str:
        """Return the full name of the resource in the path: `accounts/a/models/m`."""
        return f"{self.account}/{collection}/{self.path['id']}"

    def body(self, schema: type[W]) -> W:
        """Return the body as a wire model; INVALID_ARGUMENT names each field that does not fit."""
        try:
            return schema.model_validate(self.document)
        except ValidationError as error:
            problems = "; ".join(_problem(found) for found in error.errors()[:_PROBLEMS_SHOWN])
            raise invalid(f"request body: {problems}") from None

    def patch(self, schema: type[W]) -> Patch[W]:
        """Return the body and the update mask of a PATCH."""
        return Patch(self.body(schema), self.document, self.text("update_mask"))

    def text(self, name: str) -> str:
        """Return a query parameter, whose name may be in snake_case or camelCase; "" when it is absent."""
        return self.query.get(to_camel(name), self.query.get(name, ""))

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter; false when it is absent."""
        value = self.text(name).lower()
        if value not in ("", "true", "false", "1", "0"):
            raise invalid(f"query parameter {name}: {value!a} is neither true nor false")
        return value in ("true", "1")

    def number(self, name: str) -> int:
        """Return an integer query parameter; 0 when it is absent."""
        text = self.text(name) or "0"
        if not re.fullmatch(r"[+-]?[0-9]{1,10}", text) or abs(int(text)) > _MAX_INT32:
            raise invalid(f"query parameter {name}: {text[:40]!a} is not an integer")
        return int(text)

    def page(
        self,
        resources: Iterable[W],
        schema: type[W],
        collection: str,
        *,
        order: str = "name",
        unique: str = "name",
        scope: str = "",
    ) -> dict[str, Any]:
        """Return the requested page of a list; its items are under the key `collection`.

        A page token works only with the same collection, path and `scope`.
        """
        request = pages.ListRequest(
            page_size=self.number("page_size"),
            page_token=self.text("page_token"),
            filter=self.text("filter"),
            order_by=self.text("order_by"),
            read_mask=self.text("read_mask"),
            scope=(collection, self.path.get("account", ""), self.path.get("id", ""), scope),
        )
        mask = pages.parse_mask(request.read_mask, schema)
        found = pages.paginate(resources, schema, request, order, unique)
        return {
            collection: [pages.masked(item, mask) for item in found.items],
            "nextPageToken": found.next_page_token,
            "totalSize": found.total_size,
        }

    def masked(self, resource: Wire) -> dict[str, Any]:
        """Return the JSON of a resource, with only the fields that the query's read mask names."""
        return pages.masked(resource, pages.parse_mask(self.text("read_mask"), type(resource)))


Door = Callable[[Call], Wire | dict[str, Any] | Response]


def route(platform: Platform, path: str, **doors: Door) -> Route:
    """Make a route with one door per HTTP method: `route(platform, "/v1/x", GET=look, POST=make)`."""

    async def endpoint(request: Request) -> Response:
        # Starlette also sends HEAD requests here when there is a door for GET.
        door = doors[request.method if request.method in doors else "GET"]
        document = parse_body(await request.body()) if request.method in ("POST", "PATCH", "DELETE") else {}
        call = Call(
            platform=platform,
            caller=request.state.caller,
            path=request.path_params,
            query=request.query_params,
            origin=f"{request.url.scheme}://{request.url.netloc}",
            document=document,
        )
        answer = await run_in_threadpool(door, call)
        if isinstance(answer, Response):
            return answer
        return JSONResponse(answer.to_wire() if isinstance(answer, Wire) else answer)

    return Route(path, endpoint, methods=list(doors))


def parse_body(data: bytes) -> Mapping[str, Any]:
    """Parse the JSON object of a body, {} for an empty body; INVALID_ARGUMENT says where the body is not JSON."""
    if not data.strip():
        return {}
    try:
        document = json.loads(data, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise invalid(f"the request body is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise invalid(f"the request body is not JSON: {where}") from None
    except RecursionError:
        raise invalid("the request body is not JSON: nested too deeply") from None
    except ValueError as error:
        raise invalid(f"the request body is not JSON: {error}") from None
    if _SURROGATE.search(data):
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise invalid("the request body has an unpaired surrogate: it is not valid Unicode text") from None
    if not isinstance(document, dict):
        raise invalid(f"the request body must be a JSON object, it is {_json_type(document)}")
    return document


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _json_type(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _problem(found: Mapping[str, Any]) -> str:
    """Return a text such as `minReplicaCount: input should be a valid integer, it is "two"`."""
    field = ".".join(str(part) for part in found["loc"]) or "body"
    message = str(found["msg"]).removeprefix("Value error, ")
    if found["type"] == "missing":
        return f"{field} is missing"
    shown = json.dumps(found["input"], default=str)
    return f"{field}: {message[:1].lower()}{message[1:]}, it is {shown if len(shown) <= 80 else shown[:77] + '...'}"
