"""What every resource of the API can do: get, list, create, update, delete, built once.

A resource's own file gives path, schema and its odd verbs. Answers are schemas, never dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypedDict, TypeVar, Unpack, cast

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from firectl.client.wait import Wait
from firectl.errors import ApiError, Code, NetworkError, ResourceFailed
from firectl.schemas.base import Status, Wire

if TYPE_CHECKING:
    from firectl.client.api import Api, QueryValue

R = TypeVar("R", bound=Wire)
W = TypeVar("W", bound=Wire)

LARGEST_PAGE = 200
_List = list  # the name that `Resource.list` hides


@dataclass(frozen=True, kw_only=True)
class ListPage(Generic[R]):
    """One page of a list. `next_page_token` is None on the last one."""

    rows: tuple[R, ...]
    next_page_token: str | None
    total_size: int | None


class ListArgs(TypedDict, total=False):
    """What lists take. `filter` is AIP-160, `order_by` as `create_time desc, name`, `read_mask` as `name,state`."""

    account: str
    """Another account than the client's."""
    filter: str | None
    order_by: str | None
    page_size: int | None
    page_token: str | None
    read_mask: str | None
    show_deleted: bool | None
    """Deployments alone."""
    target_model: str | None
    """Shapes alone: those that fit a model, by its full name."""
    shape: str
    """Shape versions alone: those of one shape."""
    user: str
    """API keys alone: whose."""


class WaitArgs(TypedDict, Generic[R], total=False):
    """What waits take. `clock` is monotonic."""

    on_change: Callable[[R], None] | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]


class Resource(Generic[R]):
    """A collection of the API. `name` arguments are IDs, completed with the client's account, or full names."""

    collection: ClassVar[str]
    rows: ClassVar[str | None] = None
    """The list's key in an answer, where it is not the collection's name."""
    schema: type[R]
    look: ClassVar[str] = ""
    """The command that shows one, without its name: where a wait runs out, it is the hint."""

    def __init__(self, client: Api) -> None:
        self._client = client

    def full_name(self, name: str) -> str:
        """`my-model` → `accounts/a/models/my-model`; InputError for what cannot be a name in this collection."""
        return self._client.full_name(name, self.collection)

    def get(
        self, name: str, *, read_mask: str | None = None, timeout: float | None = None, max_retries: int | None = None
    ) -> R:
        full_name = self.full_name(name)
        path = f"/v1/{full_name}"
        query = {"readMask": read_mask}
        answer = self._client.request("GET", path, query=query, timeout=timeout, max_retries=max_retries)
        return self._one(answer, path)

    def describe(self, row: R) -> str:
        """Its state in a few words: `UPLOADING (checking the files)`."""
        status: Status | None = getattr(row, "status", None)
        state = getattr(row, "state", None)
        return f"{state} ({status.message})" if status and status.message else f"{state}"

    def _seen(self, row: R) -> Hashable:
        """What a wait counts as a change when it is another."""
        return self.describe(row)

    def _wait(
        self,
        full_name: str,
        timeout: float,
        wanted: str,
        done: Callable[[R], bool],
        *,
        gone: R | None = None,
        existed: bool = False,
        **args: Unpack[WaitArgs[R]],
    ) -> R:
        """Asks until `done`. `gone` stands for a row that is not there, once it `existed`; without one that raises."""

        def poll(seconds: float) -> R:
            nonlocal existed
            try:
                found = self.get(full_name, timeout=seconds, max_retries=0)
            except ApiError as error:
                if existed and gone is not None and error.code is Code.NOT_FOUND:
                    return gone
                raise
            existed = True
            return found

        return Wait(
            what=f"{full_name} is not {wanted}",
            timeout=timeout,
            poll=poll,
            done=done,
            seen=self._seen,
            describe=self.describe,
            hint=f"{self.look} {full_name}",
            **args,
        ).run()

    def _failed(self, full_name: str, status: Status | None) -> ResourceFailed:
        reason = (status and status.message) or "the server gives no reason"
        return ResourceFailed(f"{full_name} failed: {reason}", hint=f"{self.look} {full_name}")

    def left_of(self, name: str) -> R:
        """What there is of it after a delete: its row, or its name alone. Never an error: the delete did its work."""
        full_name = self.full_name(name)
        try:
            return self.get(full_name, max_retries=0)
        except ApiError:
            return self.schema.model_validate({"name": full_name})

    def _read(self, answer: object, path: str) -> R:
        """An answer as a resource of this collection; NetworkError when it is of another one."""
        found = read(self.schema, answer, path)
        name = getattr(found, "name", None) or ""
        if name.startswith("accounts/") and f"/{self.collection}/" not in f"/{name}":
            raise unreadable(path, f"{name} is none of {self.collection}")
        return found

    def _one(self, answer: Mapping[str, Any], path: str, *, made: bool = False) -> R:
        """The same for one resource: an answer that says nothing is none, nor, where it was made, one without name."""
        found = self._read(answer, path)
        if not answer or (made and not getattr(found, "name", None)):
            raise unreadable(path, f"it names none of {self.collection}")
        return found

    def list_page(self, **args: Unpack[ListArgs]) -> ListPage[R]:
        """One page of rows."""
        return self._page(self._parent(args), _query(args))

    def list(self, **args: Unpack[ListArgs]) -> Iterator[R]:
        """Every row of every page from `page_token` on, asked for as they are needed."""
        path, query = self._parent(args), {"pageSize": LARGEST_PAGE, **_query(args)}
        seen: set[str] = set()
        before: tuple[R, ...] = ()
        while True:
            page = self._page(path, query)
            if page.rows and page.rows == before:
                raise unreadable(path, "its pages go round in a circle")
            before = page.rows
            yield from page.rows
            token = page.next_page_token
            if token is None:
                return
            if token in seen:
                raise unreadable(path, "its pages go round in a circle")
            seen.add(token)
            query["pageToken"] = token

    def delete(self, name: str) -> None:
        self._delete(name, {})

    def _parent(self, args: ListArgs) -> str:
        return f"/v1/accounts/{args.get('account') or self._client.account}/{self.collection}"

    def _page(self, path: str, query: Mapping[str, QueryValue]) -> ListPage[R]:
        answer = self._client.request("GET", path, query=query)
        key = self.rows or self.collection
        rows = answer.get(key)
        rows = [] if rows is None else rows
        if not isinstance(rows, _List):
            raise unreadable(path, f"{key} is not a list")
        token = answer.get("nextPageToken")
        size = answer.get("totalSize")
        return ListPage(
            rows=tuple(self._read(row, path) for row in rows),
            next_page_token=token if isinstance(token, str) and token else None,
            total_size=int(size) if isinstance(size, int | str) and str(size).isdecimal() else None,
        )

    def _create(
        self,
        path: str,
        body: Wire,
        *,
        query: Mapping[str, QueryValue] | None = None,
        read_back: Callable[[], R | None],
        look: str,
    ) -> R:
        """A create that is safe to repeat. `read_back` finds what an earlier try made, None when that is not ours.

        `look` is the command that shows whether it was made, for when nobody knows.
        """

        def settled(error: ApiError) -> dict[str, Any] | None:
            if error.code is not Code.ALREADY_EXISTS:
                return None
            try:
                made = read_back()
            except ApiError as lost:
                if lost.code is not Code.NOT_FOUND:
                    raise
                return None
            return None if made is None else made.to_wire()

        try:
            answer = self._client.request(
                "POST", path, query=query, body=body.to_wire(), repeatable=True, settled=settled
            )
            if (query or {}).get("validateOnly"):
                return self._read(answer, path)
            return self._one(answer, path, made=True)
        except NetworkError as error:
            error.hint = error.hint or f"it may have been made all the same: {look}"
            raise

    def _update(
        self, name: str, resource: R, mask: Iterable[str] | None, query: Mapping[str, QueryValue] | None = None
    ) -> R:
        """PATCH of the fields named in `mask` (snake_case paths); of every field set on `resource` without one."""
        paths = [*_set_paths(resource)] if mask is None else [*mask]
        fields = {path.partition(".")[0] for path in paths}
        body = resource.model_dump(mode="json", by_alias=True, exclude_none=True, include=fields)
        path = f"/v1/{self.full_name(name)}"
        answer = self._client.request("PATCH", path, query={"updateMask": paths, **(query or {})}, body=body)
        return self._one(answer, path)

    def _delete(self, name: str, query: Mapping[str, QueryValue]) -> None:
        def gone(error: ApiError) -> dict[str, Any] | None:
            return {} if error.code is Code.NOT_FOUND else None

        self._client.request("DELETE", f"/v1/{self.full_name(name)}", query=query, settled=gone)


def _set_paths(resource: Wire) -> Iterator[str]:
    """The snake_case path of every field that was given a value: of a nested message its fields, not the whole."""
    for field in sorted(resource.model_fields_set):
        value = getattr(resource, field)
        if isinstance(value, Wire) and value.model_fields_set:
            yield from (f"{field}.{path}" for path in _set_paths(value))
        else:
            yield field


def _query(args: ListArgs) -> dict[str, QueryValue]:
    query: dict[str, QueryValue] = {}
    for key, value in args.items():
        if key not in ("account", "shape", "user"):
            query[to_camel(key)] = cast("QueryValue", value)
    return query


def read(schema: type[W], answer: object, path: str) -> W:
    """JSON of a 2xx answer as its schema; NetworkError naming the field that is of another kind."""
    try:
        return schema.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise unreadable(path, f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def unreadable(path: str, what: str) -> NetworkError:
    return NetworkError(Code.UNKNOWN, f"unexpected answer to {path}: {what}")
