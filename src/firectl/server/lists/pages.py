"""Which part of a list does a request ask for? Page size and token, filter, order and read mask work in every list.

Must not depend on any one kind of resource or on where the resources come from.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar

from firectl.errors import invalid
from firectl.schemas.base import Wire
from firectl.server.lists import fields
from firectl.server.lists.fields import FieldPath
from firectl.server.lists.filters import parse_filter

W = TypeVar("W", bound=Wire)

DEFAULT_SIZE = 50
MAX_SIZE = 200


@dataclass(frozen=True)
class ListRequest:
    """The arguments of a list call. `scope` has the other values that must not change from one page to the next."""

    page_size: int = 0
    page_token: str = ""
    filter: str = ""
    order_by: str = ""
    read_mask: str = ""
    scope: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        if self.page_size < 0:
            raise invalid(f"page_size must not be negative, it is {self.page_size}")
        return min(self.page_size, MAX_SIZE) or DEFAULT_SIZE

    def fingerprint(self) -> str:
        """Return a hash of the arguments that must not change from one page to the next."""
        same = [self.size, self.filter, self.order_by, self.read_mask, *self.scope]
        return hashlib.sha256(json.dumps(same).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Page(Generic[W]):
    """One page: its items, the token of the next page ("" at the end), and how many items match in total."""

    items: list[W]
    next_page_token: str
    total_size: int


class _Order(NamedTuple):
    path: FieldPath
    descending: bool


Key = list[list[Any]]


def paginate(
    resources: Iterable[W], schema: type[W], request: ListRequest, default_order: str = "name", unique: str = "name"
) -> Page[W]:
    """Return the requested page of `resources`. INVALID_ARGUMENT names the argument that is wrong.

    `unique` is a field whose values all differ. It is the last sort key, so that a token means exactly one position.
    """
    matches = parse_filter(request.filter, schema)
    orders = _parse_order(request.order_by or default_order, schema, unique)
    token = _decode(request, len(orders)) if request.page_token else None
    found = [(_key(resource, orders), resource) for resource in resources if matches(resource)]
    for position, order in reversed([*enumerate(orders)]):
        found.sort(key=lambda pair: pair[0][position], reverse=order.descending)
    start = 0
    if token is not None:
        start = next((i for i, (key, _) in enumerate(found) if _after(key, token, orders)), len(found))
    page = found[start : start + request.size]
    more = start + request.size < len(found)
    return Page([resource for _, resource in page], _encode(page[-1][0], request) if more else "", len(found))


def parse_mask(text: str, schema: type[Wire]) -> list[FieldPath] | None:
    """Return the fields that a read mask names; None for all fields. INVALID_ARGUMENT for an unknown field."""
    paths = [path.strip() for path in text.split(",") if path.strip()]
    return None if not paths or "*" in paths else [fields.find(schema, path) for path in paths]


def masked(resource: Wire, mask: list[FieldPath] | None) -> dict[str, Any]:
    """Return the JSON of a resource, with only the fields of the read mask; None means all fields."""
    return resource.to_wire() if mask is None else fields.pick(resource, mask)


def _parse_order(text: str, schema: type[Wire], unique: str) -> list[_Order]:
    orders: list[_Order] = []
    for part in text.split(","):
        match part.split():
            case []:
                raise invalid(f"order_by {text!r} has an empty part")
            case [name]:
                direction = "asc"
            case [name, word] if word.lower() in ("asc", "desc"):
                direction = word.lower()
            case _:
                raise invalid(f"order_by: {part.strip()!r} is not FIELD, FIELD asc or FIELD desc")
        path = fields.find(schema, name)
        if path.kind in (fields.MESSAGE, fields.MAP, fields.LIST):
            raise invalid(f"order_by: {path.text} has no order, name a field in it")
        orders.append(_Order(path, direction == "desc"))
    return [*orders, _Order(fields.find(schema, unique), False)]


def _key(resource: Wire, orders: Sequence[_Order]) -> Key:
    return [_sortable(fields.read(resource, order.path)) for order in orders]


def _sortable(value: Any) -> list[Any]:
    """Return a JSON value to sort by: absent values first, then numbers, then text."""
    match value:
        case None:
            return [0]
        case bool() | int() | float():
            return [1, value]
        case timedelta():
            return [1, value.total_seconds()]
        case datetime():
            return [1, value.timestamp()]
        case str() if value.isdecimal():
            return [1, int(value)]
        case _:
            return [2, str(value)]


def _after(key: Key, token: Key, orders: Sequence[_Order]) -> bool:
    """Whether the item with this key comes after the last item of the previous page, whose key is `token`."""
    for mine, last, order in zip(key, token, orders, strict=True):
        if mine != last:
            return (mine > last) != order.descending
    return False


def _encode(key: Key, request: ListRequest) -> str:
    document = {"after": key, "of": request.fingerprint()}
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def _decode(request: ListRequest, length: int) -> Key:
    token = request.page_token
    try:
        document = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        document = None
    key = document.get("after") if isinstance(document, dict) else None
    if document is None or not isinstance(key, list) or not all(map(_is_sortable, key)):
        raise invalid("page_token was not issued by this server")
    if document.get("of") != request.fingerprint() or len(key) != length:
        raise invalid(
            "page_token belongs to a list call with other arguments",
            hint="repeat filter, order and page size of that call, or start again without the token",
        )
    return key


def _is_sortable(part: object) -> bool:
    match part:
        case [0] | [1, int() | float()] | [2, str()]:
            return True
        case _:
            return False
