from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.client.http.retry import Failure, Verdict, backoff, judge, retry_after
from firectl.errors import ApiError, Code

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def judged(
    status: int | None,
    *,
    code: Code = Code.UNKNOWN,
    headers: dict[str, str] | None = None,
    tries: int = 1,
    repeatable: bool = True,
    sent: bool = True,
) -> Verdict:
    failure = Failure(error=ApiError(code, "no"), status=status, headers=headers or {}, sent=sent)
    return judge(failure, tries=tries, max_retries=2, repeatable=repeatable, now=NOW, random=lambda: 0.0)


@pytest.mark.parametrize("status", [None, 408, 429, 500, 502, 503, 504, 599])
def test_failures_that_pass_are_tried_again(status: int | None) -> None:
    assert judged(status).delay == 0.5


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 412, 422, 499, 501])
def test_failures_that_stay_are_not_tried_again(status: int) -> None:
    assert judged(status).delay is None


def test_a_conflict_is_tried_again_only_when_the_server_aborted() -> None:
    assert judged(409, code=Code.ABORTED).delay == 0.5
    assert judged(409, code=Code.ALREADY_EXISTS).delay is None


def test_there_are_two_more_tries_and_no_third() -> None:
    assert [judged(503, tries=tries).delay for tries in (1, 2, 3)] == [0.5, 1.0, None]


def test_the_delay_doubles_to_eight_seconds_and_jitter_takes_up_to_a_quarter() -> None:
    assert [backoff(tries, lambda: 0.0) for tries in range(1, 8)] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert backoff(3, lambda: 1.0) == 1.5
    assert backoff(10_000, lambda: 0.0) == 8.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 -0000"}, 30.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "0"}, None),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:10 GMT"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1" * 400}, None),
        ({"retry-after": "tomorrow"}, None),
        ({}, None),
    ],
)
def test_the_servers_wish_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_the_servers_wish_is_obeyed_up_to_a_minute_and_not_beyond() -> None:
    assert judged(429, headers={"retry-after": "60"}) == Verdict(delay=60.0, asked=60.0)
    assert judged(429, headers={"retry-after": "61"}) == Verdict(delay=None, asked=61.0)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 501])
def test_a_wish_on_what_asking_again_cannot_change_is_not_heard(status: int) -> None:
    assert judged(status, headers={"retry-after": "90"}) == Verdict(delay=None)


def test_the_server_may_say_whether_to_retry() -> None:
    assert judged(503, headers={"x-should-retry": "false"}).delay is None
    assert judged(404, headers={"x-should-retry": "True"}).delay == 0.5
    assert judged(503, headers={"x-should-retry": "perhaps"}).delay == 0.5


@pytest.mark.parametrize("status", [None, 408, 500, 503, 504])
def test_what_may_have_been_done_is_not_done_twice(status: int | None) -> None:
    assert judged(status, repeatable=False).delay is None
    assert judged(status, repeatable=False, headers={"x-should-retry": "true"}).delay is None


def test_what_was_certainly_not_done_is_tried_again_even_so() -> None:
    assert judged(None, sent=False, repeatable=False).delay == 0.5
    assert judged(429, repeatable=False).delay == 0.5
    assert judged(409, code=Code.ABORTED, repeatable=False).delay == 0.5


@given(st.text())
def test_no_header_breaks_the_policy(text: str) -> None:
    asked = retry_after({"retry-after": text, "retry-after-ms": text}, NOW)
    assert asked is None or asked > 0
