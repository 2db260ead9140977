"""`server/lists/pages.py` over HTTP: pages, order, masks; the same arguments from one page to the next."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from tests.server.process import Api, PlatformProcess, Refusal

COUNT = 7


@pytest.fixture(scope="module")
def models(platform: PlatformProcess) -> Iterator[list[str]]:
    """IDs of models that only this module makes, in the public account, where no other test counts."""
    api = platform.api.at("fireworks")
    ids = [f"page-{number}" for number in range(COUNT)]
    for number, model_id in enumerate(ids):
        api.create_model(model_id, displayName=f"Group {number % 2}", contextLength=10 - number)
    yield ids
    for model_id in ids:
        api.ok("DELETE", f"models/{model_id}")


MINE = "name:page-"


def test_pages_follow_each_other_to_the_end(api: Api, models: list[str]) -> None:
    public = api.at("fireworks")
    found: list[str] = []
    sizes: list[int] = []
    token = ""
    while True:
        page = public.ok("GET", "models", pageSize=3, pageToken=token, filter=MINE)
        found += [model["name"].rsplit("/", 1)[1] for model in page["models"]]
        sizes.append(len(page["models"]))
        assert page["totalSize"] == COUNT
        token = page["nextPageToken"]
        if not token:
            break
    assert found == models
    assert sizes == [3, 3, 1]


def test_a_page_goes_on_after_its_last_row_though_rows_came_and_went(api: Api, models: list[str]) -> None:
    public = api.at("fireworks")
    token = public.ok("GET", "models", pageSize=3, filter=MINE)["nextPageToken"]
    public.ok("DELETE", "models/page-2")
    public.create_model("page-00")
    rest = public.names("models", "models", pageSize=3, pageToken=token, filter=MINE)
    public.ok("DELETE", "models/page-00")
    public.create_model("page-2", displayName="Group 0", contextLength=8)
    assert rest == ["page-3", "page-4", "page-5"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("name desc", "6543210"),
        ("context_length", "6543210"),
        ("displayName desc, context_length", "5316420"),
        ("display_name asc,contextLength desc", "0246135"),
        ("create_time desc", "6543210"),
    ],
)
def test_order_by_takes_fields_in_either_case_and_direction(
    api: Api, models: list[str], order: str, expected: str
) -> None:
    public = api.at("fireworks")
    if order.startswith("create"):
        made = {m["name"][-1]: m["createTime"] for m in public.ok("GET", "models", filter=MINE)["models"]}
        expected = "".join(sorted(made, key=made.__getitem__, reverse=True))
    paged: list[str] = []
    token = ""
    while True:
        page = public.ok("GET", "models", orderBy=order, filter=MINE, pageSize=2, pageToken=token)
        paged += [model["name"][-1] for model in page["models"]]
        token = page["nextPageToken"]
        if not token:
            break
    assert "".join(paged) == expected


def test_a_read_mask_leaves_the_named_fields_alone(api: Api, models: list[str]) -> None:
    public = api.at("fireworks")
    page = public.ok("GET", "models", readMask="display_name,status.code", filter="name:page-1")
    assert page["models"] == [{"displayName": "Group 1", "status": {"code": "OK"}}]
    assert public.ok("GET", "models/page-1", readMask="contextLength") == {"contextLength": 9}
    assert public.ok("GET", "models/page-1", readMask="*") == public.ok("GET", "models/page-1")


def test_a_size_above_the_most_is_the_most_and_none_is_the_default(api: Api, models: list[str]) -> None:
    public = api.at("fireworks")
    for size in (0, 200, 5000):
        assert len(public.names("models", "models", pageSize=size, filter=MINE)) == COUNT


def test_parameters_are_read_in_snake_case_too(api: Api, models: list[str]) -> None:
    assert len(api.at("fireworks").names("models", "models", page_size=2, filter=MINE)) == 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"pageSize": -1}, "page_size must not be negative, it is -1"),
        ({"pageSize": "many"}, "query parameter page_size: 'many' is not an integer"),
        ({"pageSize": "9" * 30}, f"query parameter page_size: '{'9' * 30}' is not an integer"),
        ({"orderBy": "frobs"}, "Model has no field 'frobs'"),
        ({"orderBy": "name down"}, "order_by: 'name down' is not FIELD, FIELD asc or FIELD desc"),
        ({"orderBy": "name,,state"}, "order_by 'name,,state' has an empty part"),
        ({"orderBy": "status"}, "order_by: status has no order, name a field in it"),
        ({"readMask": "frobs"}, "Model has no field 'frobs'"),
        ({"filter": "frobs=1"}, "filter, position 0: Model has no field 'frobs'"),
        ({"pageToken": "nonsense"}, "page_token was not issued by this server"),
        ({"pageToken": "é"}, "page_token was not issued by this server"),
    ],
)
def test_what_cannot_be_read_is_named(api: Api, query: dict[str, str | int], message: str) -> None:
    assert api.refused("GET", "models", **query) == Refusal(400, 3, message, None)


@pytest.mark.parametrize("changed", [{"filter": "name:page"}, {"orderBy": "name desc"}, {"pageSize": 4}])
def test_a_token_is_bound_to_the_other_arguments(api: Api, models: list[str], changed: dict[str, str | int]) -> None:
    public = api.at("fireworks")
    query: dict[str, str | int] = {"pageSize": 3, "filter": MINE}
    token = public.ok("GET", "models", **query)["nextPageToken"]
    said = public.refused("GET", "models", **{**query, **changed}, pageToken=token)
    assert (said.status, said.message) == (400, "page_token belongs to a list call with other arguments")


def test_a_token_is_bound_to_its_collection_and_account(api: Api, models: list[str]) -> None:
    token = api.at("fireworks").ok("GET", "models", pageSize=3)["nextPageToken"]
    said = api.refused("GET", "models", pageSize=3, pageToken=token)
    assert said.message == "page_token belongs to a list call with other arguments"


@pytest.mark.parametrize("after", [[[1, 2]], [[1, "x"], [2, "y"]], "x", [[3, 4], [2, "a"]], [[2, "a"]] * 9, None])
def test_a_token_that_was_tampered_with_is_refused(api: Api, models: list[str], after: object) -> None:
    public = api.at("fireworks")
    token = public.ok("GET", "models", pageSize=3)["nextPageToken"]
    document = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps({**document, "after": after}).encode()).decode().rstrip("=")
    said = public.refused("GET", "models", pageSize=3, pageToken=forged)
    assert (said.status, said.code) == (400, 3)
