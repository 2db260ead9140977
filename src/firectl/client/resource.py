"""What can every resource of the API do? Get, list, create, update, delete and wait.

The module of each resource adds its path, its schema and its own calls. Results are schemas, never dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypedDict, TypeVar, Unpack, cast

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from firectl.client.wait import wait_for
from firectl.errors import ApiError, Code, NetworkError, ResourceFailed
from firectl.schemas.base import Status, Wire

if TYPE_CHECKING:
    from firectl.client.api import Api, QueryValue

R = TypeVar("R", bound=Wire)
W = TypeVar("W", bound=Wire)

LARGEST_PAGE = 200
CLOCK_SLACK = timedelta(minutes=5)
"""How far the server's clock may be behind the clock of this machine."""
_List = list  # inside Resource, `list` is the method


@dataclass(frozen=True, kw_only=True)
class ListPage(Generic[R]):
    """One page of a list. `next_page_token` is None on the last page."""

    rows: tuple[R, ...]
    next_page_token: str | None
    total_size: int | None


class ListArgs(TypedDict, total=False):
    """Arguments of lists. `filter`: AIP-160; `order_by`: `create_time desc, name`; `read_mask`: `name,state`."""

    account: str
    """ID of an account. Default: the client's account."""
    filter: str | None
    order_by: str | None
    page_size: int | None
    page_token: str | None
    read_mask: str | None
    show_deleted: bool | None
    """Only for deployments: whether to include deleted ones."""
    target_model: str | None
    """Only for shapes: list those that fit this model (a full name)."""
    shape: str
    """Only for shape versions: list those of this shape."""
    user: str
    """Only for API keys: the user who owns them."""


class WaitArgs(TypedDict, Generic[R], total=False):
    """Common arguments of waits. `on_change` gets each changed resource; `clock` returns monotonic seconds."""

    on_change: Callable[[R], None] | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]


class Resource(Generic[R]):
    """The calls for one collection of the API. A `name` is an ID in the client's account, or a full name."""

    collection: ClassVar[str]
    rows: ClassVar[str | None] = None
    """The key of the rows in a list's answer, if it differs from the collection's name."""
    schema: type[R]
    look: ClassVar[str] = ""
    """The command that shows one resource, without its name. Used in the hint when a wait fails or times out."""

    def __init__(self, client: Api) -> None:
        self._client = client

    def full_name(self, name: str) -> str:
        """`my-model` → `accounts/a/models/my-model`; InputError if `name` is not valid in this collection."""
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
        """Describe the row's state in a few words: `UPLOADING (checking the files)`."""
        status: Status | None = getattr(row, "status", None)
        state = getattr(row, "state", None)
        return f"{state} ({status.message})" if status and status.message else f"{state}"

    def _seen(self, row: R) -> Hashable:
        """Return a value that changes when a wait should report the row again."""
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
        """Wait until a row is `done`, and return it.

        If the row `existed` and then is NOT_FOUND, use `gone` (if given).
        """

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

        return wait_for(
            poll,
            done,
            what=f"{full_name} is not {wanted}",
            timeout=timeout,
            seen=self._seen,
            describe=self.describe,
            hint=f"{self.look} {full_name}",
            **args,
        )

    def _failed(self, full_name: str, status: Status | None) -> ResourceFailed:
        reason = (status and status.message) or "the server gives no reason"
        return ResourceFailed(f"{full_name} failed: {reason}", hint=f"{self.look} {full_name}")

    def left_of(self, name: str) -> R:
        """Return the row after its delete, or only its name if the row cannot be read. Raises no ApiError."""
        full_name = self.full_name(name)
        try:
            return self.get(full_name, max_retries=0)
        except ApiError:
            return self.schema.model_validate({"name": full_name})

    def _read(self, answer: object, path: str) -> R:
        """Read an answer as a resource of this collection. NetworkError if its name is in another collection."""
        found = read(self.schema, answer, path)
        name = getattr(found, "name", None) or ""
        if name.startswith("accounts/") and f"/{self.collection}/" not in f"/{name}":
            raise unreadable(path, f"expected one of {self.collection}, got {name}")
        return found

    def _one(self, answer: Mapping[str, Any], path: str, *, made: bool = False) -> R:
        """Like `_read`, but the answer must not be empty. If the resource was `made`, the answer must name it."""
        found = self._read(answer, path)
        if not answer or (made and not getattr(found, "name", None)):
            raise unreadable(path, f"expected one of {self.collection}, got no name")
        return found

    def list_page(self, **args: Unpack[ListArgs]) -> ListPage[R]:
        """Return one page of the list."""
        return self._page(self._parent(args), _query(args))

    def list(self, **args: Unpack[ListArgs]) -> Iterator[R]:
        """Yield the rows of all pages, beginning with `page_token`. Each page is fetched when its rows are needed."""
        path, query = self._parent(args), {"pageSize": LARGEST_PAGE, **_query(args)}
        seen: set[str] = set()
        before: tuple[R, ...] = ()
        while True:
            page = self._page(path, query)
            if page.next_page_token in seen or (page.rows and page.rows == before):
                raise unreadable(path, "pagination repeats: the server returned the same page twice")
            before = page.rows
            yield from page.rows
            if page.next_page_token is None:
                return
            seen.add(page.next_page_token)
            query["pageToken"] = page.next_page_token

    def update(self, name: str, resource: R, mask: Iterable[str] | None = None) -> R:
        """Change the fields in `mask` (snake_case paths).

        Without a mask, change the fields that are set on `resource`.
        """
        return self._update(name, resource, mask, {})

    def delete(self, name: str) -> None:
        self._delete(name, {})

    def _parent(self, args: ListArgs) -> str:
        return f"/v1/accounts/{args.get('account') or self._client.account}/{self.collection}"

    def _page(self, path: str, query: Mapping[str, QueryValue]) -> ListPage[R]:
        answer = self._client.request("GET", path, query=query)
        key = self.rows or self.collection
        rows = [] if answer.get(key) is None else answer[key]
        if not isinstance(rows, _List):
            raise unreadable(path, f"{key} is not a list")
        token, size = answer.get("nextPageToken"), answer.get("totalSize")
        return ListPage(
            rows=tuple(self._read(row, path) for row in rows),
            next_page_token=token if isinstance(token, str) and token else None,
            total_size=int(size) if isinstance(size, int | str) and str(size).isdecimal() else None,
        )

    def _create(
        self,
        body: Wire,
        *,
        query: Mapping[str, QueryValue] | None = None,
        read_back: Callable[[], R | None],
        look: str,
    ) -> R:
        """Create a resource; safe to retry. `read_back` returns what an earlier attempt created, or None.

        `look`: the command that shows whether the resource exists, for the hint when all answers were lost.
        """
        path = self._parent({})

        def settled(error: ApiError) -> dict[str, Any] | None:
            try:
                made = read_back() if error.code is Code.ALREADY_EXISTS else None
            except ApiError as lost:
                if lost.code is not Code.NOT_FOUND:
                    raise
                made = None
            return None if made is None else made.to_wire()

        try:
            answer = self._client.request(
                "POST", path, query=query, body=body.to_wire(), repeatable=True, settled=settled
            )
            if (query or {}).get("validateOnly"):
                return self._read(answer, path)
            return self._one(answer, path, made=True)
        except NetworkError as error:
            error.hint = error.hint or f"it may have been created: {look}"
            raise

    def _read_back(self, name: str, same: Callable[[R], bool]) -> Callable[[], R | None]:
        """Make a `read_back` for `_create`. It returns the row `name` if new and accepted by `same`, otherwise None."""
        started = datetime.now(UTC)

        def read_back() -> R | None:
            made = self.get(name)
            created = getattr(made, "create_time", None)
            return made if same(made) and (created is None or created > started - CLOCK_SLACK) else None

        return read_back

    def _update(self, name: str, resource: R, mask: Iterable[str] | None, query: Mapping[str, QueryValue]) -> R:
        paths = [*_set_paths(resource)] if mask is None else [*mask]
        fields = {path.partition(".")[0] for path in paths}
        body = resource.model_dump(mode="json", by_alias=True, exclude_none=True, include=fields)
        path = f"/v1/{self.full_name(name)}"
        answer = self._client.request("PATCH", path, query={"updateMask": paths, **query}, body=body)
        return self._one(answer, path)

    def _delete(self, name: str, query: Mapping[str, QueryValue]) -> None:
        def gone(error: ApiError) -> dict[str, Any] | None:
            return {} if error.code is Code.NOT_FOUND else None

        self._client.request("DELETE", f"/v1/{self.full_name(name)}", query=query, settled=gone)


def _set_paths(resource: Wire) -> Iterator[str]:
    """Yield the snake_case path of each field that was set: `a`, or `a.b` for a field of a nested message."""
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
    """Convert a 2xx answer to `schema`. NetworkError names the first field that does not fit."""
    try:
        return schema.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise unreadable(path, f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def unreadable(path: str, what: str) -> NetworkError:
    return NetworkError(Code.UNKNOWN, f"unexpected answer to {path}: {what}")
