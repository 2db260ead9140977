"""Filters by AIP-160, on deployments that differ in one field each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.errors import ApiError, Code
from firectl.schemas.deployment import Deployment
from firectl.schemas.model import Model
from firectl.server.lists.filter_text import MAX_LENGTH
from firectl.server.lists.filters import parse_filter


def deployment(number: int) -> Deployment:
    document = {
        "name": f"accounts/a/deployments/d{number}",
        "displayName": f'The "{number}" one',
        "minReplicaCount": number % 3,
        "createTime": f"2026-01-01T00:00:0{number}Z",
        "state": "READY" if number % 2 else "CREATING",
        "status": {"code": "OK", "message": f"step {number}"},
        "autoscalingPolicy": {"scaleUpWindow": f"{number}s", "loadTargets": {"default": number / 10}},
        "directRouteApiKeys": [f"k{number}", "shared"],
    }
    if number == 3:
        document |= {"enableAddons": True, "autoscalingPolicy": {"loadTargets": {"requests_per_second": 2}}}
    return Deployment.model_validate(document)


ALL = [deployment(number) for number in range(6)]


def matching(text: str) -> str:
    """The numbers of the deployments that match."""
    predicate = parse_filter(text, Deployment)
    return "".join((found.name or "")[-1] for found in ALL if predicate(found))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "012345"),
        ("  ", "012345"),
        ("state=READY", "135"),
        ('state = "READY"', "135"),
        ("state = 'READY'", "135"),
        ("state != READY", "024"),
        ("min_replica_count=0", "03"),
        ("minReplicaCount = 0", "03"),
        ("min_replica_count >= 1", "1245"),
        ("min_replica_count < 1.5", "0134"),
        ("min_replica_count:2", "25"),
        ("enable_addons=true", "3"),
        ("enableAddons = false", "01245"),
        ("enable_addons != true", "01245"),
        ("create_time > 2026-01-01T00:00:03Z", "45"),
        ('create_time <= "2026-01-01T01:00:01+01:00"', "01"),
        ("autoscaling_policy.scale_up_window >= 4s", "45"),
        ('autoscalingPolicy.scaleUpWindow = "2s"', "2"),
        ("autoscaling_policy.load_targets:default", "01245"),
        ("autoscaling_policy.load_targets.requests_per_second = 2", "3"),
        ("autoscaling_policy.load_targets.default > 0.35", "45"),
        ("autoscaling_policy.load_targets.default = high", ""),
        ("autoscaling_policy.scale_up_window:*", "01245"),
        ("delete_time:*", ""),
        ("NOT delete_time:*", "012345"),
        ("direct_route_api_keys:k4", "4"),
        ("status.message = 'step 2'", "2"),
        ("status.message : STEP", "012345"),
        ("name = '*d3'", "3"),
        ("name = accounts/a/*", "012345"),
        ("name = *deployments*", "012345"),
        ("name != '*d3'", "01245"),
        (r'display_name = "The \"4\" one"', "4"),
        ("name > accounts/a/deployments/d3", "45"),
        ("d4", "4"),
        ('"the \\"2\\""', "2"),
        ("state=READY AND min_replica_count=0", "3"),
        ("state=READY min_replica_count=0", "3"),
        ("state=READY OR min_replica_count=0", "0135"),
        # OR binds tighter than AND.
        ("state=READY OR min_replica_count=0 AND enable_addons=true", "3"),
        ("enable_addons=true AND min_replica_count=0 OR state=READY", "3"),
        ("(enable_addons=true AND min_replica_count=1) OR state=CREATING", "024"),
        ("NOT (state=READY OR min_replica_count=0)", "24"),
        ("NOT state=READY", "024"),
        ("-state=READY", "024"),
        ("-(state=READY)", "024"),
        ("-d4", "01235"),
        ('-"d4"', "01235"),
        ("state=READY AND NOT enable_addons=true", "15"),
        ("description = ''", "012345"),
        ("max_replica_count = 0", "012345"),
    ],
)
def test_a_filter_matches_what_it_says(text: str, expected: str) -> None:
    assert matching(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo=1", "filter, position 0: Deployment has no field 'foo'"),
        ("state=READY AND status.foo=1", "filter, position 16: Deployment has no field 'status.foo'"),
        ("min_replica_count=abc", "filter, position 18: min_replica_count is a number, got 'abc'"),
        ("enable_addons=yes", "filter, position 14: enable_addons is a boolean, got 'yes'"),
        ("create_time>yesterday", "filter, position 12: create_time is a time, got 'yesterday'"),
        (
            "autoscaling_policy.scale_up_window=5m",
            "filter, position 35: autoscaling_policy.scale_up_window is a duration, got '5m'",
        ),
        ("state=", "filter, position 6: a value is missing after '='"),
        ("state == READY", "filter, position 7: write = instead of =="),
        ("state= )", "filter, position 7: a value is missing after '='"),
        ("(state=READY", "filter, position 12: a closing parenthesis is missing"),
        ("state=READY)", "filter, position 11: unexpected ')'"),
        ('state="READY', "filter, position 6: unexpected '\"'"),
        ("AND state=READY", "filter, position 0: expected a field, got 'AND'"),
        ("state=READY AND", "filter, position 15: the filter ends too early"),
        ("NOT", "filter, position 3: the filter ends too early"),
        ('"state"=READY', "filter, position 0: expected a field before the operator, got a quoted string"),
        ("regex(name)", "filter, position 0: functions such as regex() are not supported"),
        ("status=OK", "filter, position 7: status holds several values: use status:VALUE"),
        ("=", "filter, position 0: expected a field, got '='"),
        ("a" * (MAX_LENGTH + 1), f"filter is longer than {MAX_LENGTH} characters"),
        ("(" * 60 + "a" + ")" * 60, "filter, position 40: nested too deeply"),
    ],
)
def test_a_filter_that_cannot_be_read_says_where(text: str, message: str) -> None:
    with pytest.raises(ApiError) as raised:
        parse_filter(text, Deployment)
    assert (raised.value.code, raised.value.message) == (Code.INVALID_ARGUMENT, message)


def test_an_int64_is_compared_as_a_number_though_it_travels_as_text() -> None:
    model = Model.model_validate({"baseModelDetails": {"parameterCount": "9000"}})
    assert parse_filter("base_model_details.parameter_count < 10000", Model)(model)
    assert not parse_filter("base_model_details.parameter_count > 10000", Model)(model)


def test_a_path_through_a_list_matches_any_of_it() -> None:
    model = Model.model_validate({"deployedModelRefs": [{"state": "DEPLOYED"}, {"state": "DEPLOYING"}]})
    assert parse_filter("deployed_model_refs.state = DEPLOYING", Model)(model)
    assert not parse_filter("deployed_model_refs.state = UNDEPLOYING", Model)(model)


PIECES = st.sampled_from(
    [
        "state",
        "status.code",
        "=",
        "!=",
        ":",
        "<",
        "READY",
        "(",
        ")",
        "AND",
        "OR",
        "NOT",
        "-",
        '"',
        "'",
        " ",
        "*",
        ",",
        "\\",
    ]
)


@given(st.lists(PIECES | st.text(max_size=4), max_size=12).map("".join))
def test_no_text_makes_anything_but_a_filter_or_a_refusal(text: str) -> None:
    try:
        predicate = parse_filter(text, Deployment)
    except ApiError as error:
        refused = error.code
    else:
        assert predicate(ALL[0]) in (True, False)
        refused = Code.INVALID_ARGUMENT
    assert refused is Code.INVALID_ARGUMENT
