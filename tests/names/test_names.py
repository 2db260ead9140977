"""IDs, full names, and what holds of routes whatever the string is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firectl.errors import InputError
from firectl.names import (
    ResourceName,
    canonical_route,
    check_id,
    check_route,
    is_id,
    parse_route,
    random_id,
    resolve,
)
from firectl.names.draft import Draft
from firectl.names.route_mistakes import explain_route
from firectl.names.routes import LONGEST_ROUTE

ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

ids = st.from_regex(ID, fullmatch=True)
accounts = st.none() | ids
sides = st.sampled_from(["models", "deployments"])
full_names = st.builds(lambda a, c, i: f"accounts/{a}/{c}/{i}", ids, sides, ids)
names = full_names | st.builds(lambda a, i: f"{a}/{i}", ids, ids) | ids
routes = names | st.builds(lambda m, d: f"{m}#{d}", names, names)
slips = st.sampled_from(
    [*" #/-_.%<>\"'`\\${}@:?&,;A", "\n", "\t", "\0", "%23", "%2F", "%00", "%20", "##", "//", "accounts/", "models/",
     "deployments/", "deployedModels/", "https://", "<ACCOUNT_ID>", "$X", "…", "...", "\u200b", "\ufeff", "\u00a0",
     "\u00ad", "\u2028", "\u202e", "\u0301", "é", "ß", "ﬁ", "İ", "ǅ", "日", "＃", "–", "а", "\ud800", "\U000e0001",
     "x" * 64]
)  # fmt: skip


@st.composite
def slipped(draw: st.DrawFn) -> str:
    """A route with a few mistakes put anywhere into it."""
    text = draw(routes)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(slips) + text[at + draw(st.integers(0, 2)) :]
    return text


strings = st.text() | slipped() | st.lists(slips, max_size=12).map("".join)


@given(strings, accounts)
def test_a_report_is_whole_whatever_the_string_is(text: str, account: str | None) -> None:
    report = check_route(text, account)
    assert report.valid == (not report.errors)
    assert report.valid == (report.canonical is not None)
    assert len(report.errors) <= 20
    assert len(report.warnings) <= report.valid
    positions = [problem.position for problem in report.errors]
    assert positions == sorted(set(positions))
    assert all(0 <= position <= len(text) for position in positions)
    for problem in (*report.errors, *report.warnings):
        assert problem.message.isascii()
        assert problem.message.isprintable()
    assert json.loads(json.dumps(report.to_document()))["input"] == text


@given(strings, accounts)
def test_the_canonical_form_means_itself_without_an_account(text: str, account: str | None) -> None:
    report = check_route(text, account)
    if report.canonical is not None:
        again = check_route(report.canonical)
        assert (again.canonical, again.kind, again.model, again.deployment, again.warnings) == (
            report.canonical,
            report.kind,
            report.model,
            report.deployment,
            (),
        )


@given(strings, accounts)
def test_every_suggestion_is_a_canonical_route(text: str, account: str | None) -> None:
    for problem in check_route(text, account).errors:
        if problem.suggestion is not None:
            assert check_route(problem.suggestion).canonical == problem.suggestion


@given(routes, accounts)
def test_nothing_is_found_wrong_with_the_characters_of_a_well_formed_string(text: str, account: str | None) -> None:
    assert Draft.of(text, account, 2000, LONGEST_ROUTE).text == text


@given(routes, ids)
def test_a_well_formed_string_is_refused_only_for_its_sides(text: str, account: str) -> None:
    report = check_route(text, account)
    if not report.valid:
        assert re.search("swapped|wrong collection", report.errors[0].message)


@given(full_names, full_names)
def test_two_full_names_make_a_route_exactly_as_a_model_and_a_deployment(left: str, right: str) -> None:
    report = check_route(canonical_route(left, right))
    assert report.valid == (left.split("/")[2] == "models" and right.split("/")[2] == "deployments")


@given(strings, accounts)
def test_parsing_raises_exactly_what_checking_reports(text: str, account: str | None) -> None:
    report = check_route(text, account)
    if report.route is not None:
        assert parse_route(text, account) == report.route
    else:
        with pytest.raises(InputError) as raised:
            parse_route(text, account)
        assert raised.value.message.isascii()


@given(slipped(), ids)
def test_a_mistake_in_the_middle_of_two_full_names_is_mended_to_names_made_of_the_same_words(
    text: str, account: str
) -> None:
    suggestion = check_route(text, account).suggestion
    for name in suggestion.split("#") if suggestion else []:
        assert re.fullmatch(rf"accounts/{ID.pattern}/(models|deployments)/{ID.pattern}", name)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "#" * 1_000_000, "%23" * 600, " /" * 900, "\u200b" * 1999])
def test_a_hostile_string_is_refused_in_no_time(text: str) -> None:
    begin = time.process_time()
    report = check_route(text, "acme")
    assert time.process_time() - begin < 1
    assert not report.valid
    assert len(report.errors) <= 20


def test_a_string_longer_than_any_route_is_refused_at_the_first_character_too_many() -> None:
    longest = "#".join(f"accounts/{'a' * 63}/{side}/{'b' * 63}" for side in ("models", "deployments"))
    assert len(longest) == LONGEST_ROUTE
    assert check_route(longest).canonical == longest
    (problem,) = check_route("x" * 2001).errors
    assert (problem.position, problem.message) == (292, "2001 characters: far too long for a name")


def test_the_public_catalog_is_never_guessed_as_the_account_of_a_deployment() -> None:
    assert check_route("fireworks/base#prod").suggestion is None
    assert check_route("acme/tuned#prod").suggestion == "accounts/acme/models/tuned#accounts/acme/deployments/prod"


def test_every_mistake_of_a_string_is_told_at_once() -> None:
    report = check_route(' "Accounts/acme/models/My_Model/"#acme/prod')
    assert [(problem.position, problem.message) for problem in report.errors] == [
        (0, "a space: names have none"),
        (1, "a quotation mark: it belongs to the code or shell around the name"),
        (2, "'Accounts': write 'accounts'"),
        (23, "a capital letter: IDs are lower case"),
        (25, "'_': IDs are made of a-z, 0-9 and '-'"),
        (31, "a trailing slash"),
        (32, "a quotation mark: it belongs to the code or shell around the name"),
    ]
    assert report.suggestion == "accounts/acme/models/my-model#accounts/acme/deployments/prod"


def test_an_explanation_is_given_to_servers_without_an_account() -> None:
    with pytest.raises(InputError) as raised:
        parse_route("tuned#accounts/acme/deployments/prod")
    assert raised.value.message == (
        "'tuned#accounts/acme/deployments/prod' is not a route: a short name, and no account is known to complete it: "
        "write accounts/<ACCOUNT_ID>/models/tuned (character 0)"
    )
    assert raised.value.hint == "write accounts/acme/models/tuned#accounts/acme/deployments/prod"


def test_the_explanation_of_an_empty_string_is_one_problem() -> None:
    assert explain_route("", None) == ([(0, "empty: a model or a deployment is wanted")], None)


# IDs


@pytest.mark.parametrize("text", ["a", "0", "a-b", "a--b", "llama-v3p1-8b-instruct", "a" * 63])
def test_a_valid_id_passes(text: str) -> None:
    check_id(text)
    assert is_id(text)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "'' is not a valid model ID: empty: a model ID is wanted (character 0)", None),
        (
            "My-Model",
            "'My-Model' is not a valid model ID: a capital letter: IDs are lower case (character 0)",
            "write my-model",
        ),
        (
            "a_b",
            "'a_b' is not a valid model ID: '_': IDs are made of a-z, 0-9 and '-' (character 1)",
            "write a-b",
        ),
        (
            "-a-",
            "'-a-' is not a valid model ID: a hyphen: IDs begin with a letter or digit (character 0); "
            "a hyphen: IDs end with a letter or digit (character 2)",
            "write a",
        ),
        ("-", "'-' is not a valid model ID: a hyphen: IDs begin with a letter or digit (character 0)", None),
        (
            "a" * 64,
            f"'{'a' * 64}' is not a valid model ID: "
            "the model ID has 64 characters: at most 63 are allowed (character 63)",
            None,
        ),
        ("a\n", "'a\\n' is not a valid model ID: a line break: names have none (character 1)", "write a"),
        ("a/b", "'a/b' is not a valid model ID: '/': IDs are made of a-z, 0-9 and '-' (character 1)", None),
        ("a#b", "'a#b' is not a valid model ID: '#': IDs are made of a-z, 0-9 and '-' (character 1)", None),
        (
            "accounts/a/models/b",
            "'accounts/a/models/b' is a full name: here the model ID alone is wanted",
            "write b",
        ),
    ],
)
def test_an_invalid_id_is_refused_saying_where_and_what_to_write(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InputError) as raised:
        check_id(text)
    assert raised.value.message == message
    assert raised.value.hint == hint


def test_the_noun_of_an_id_is_in_the_message() -> None:
    with pytest.raises(InputError, match="'A' is not a valid deployment ID"):
        check_id("A", "deployment")


@given(st.text() | slipped())
def test_an_id_is_valid_or_refused_with_a_reason_and_a_valid_hint(text: str) -> None:
    if ID.fullmatch(text):
        check_id(text)
        return
    with pytest.raises(InputError) as raised:
        check_id(text)
    assert "character" in raised.value.message or "full name" in raised.value.message
    assert raised.value.hint is None or is_id(raised.value.hint.removeprefix("write "))


@pytest.mark.parametrize("n", [1, 8, 63])
def test_a_random_id_is_a_valid_id_of_the_length_asked_for(n: int) -> None:
    made = {random_id(n) for _ in range(200)}
    assert {len(text) for text in made} == {n}
    assert all(is_id(text) for text in made)


def test_random_ids_use_every_letter_and_do_not_repeat() -> None:
    made = [random_id() for _ in range(2000)]
    assert len(set(made)) == 2000
    assert set("".join(made)) == set("abcdefghijklmnopqrstuvwxyz0123456789")


# Full names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("accounts/acme/models/tuned", ResourceName("acme", "models", "tuned")),
        ("accounts/acme/deployedModels/tuned-x1", ResourceName("acme", "deployedModels", "tuned-x1")),
        ("accounts/acme/deploymentShapes/fast", ResourceName("acme", "deploymentShapes", "fast")),
        ("accounts/acme/deploymentShapes/fast/versions/v1", ResourceName("acme", "deploymentShapes", "fast", "v1")),
    ],
)
def test_a_full_name_is_taken_apart_and_put_together(text: str, name: ResourceName) -> None:
    assert ResourceName.parse(text) == name
    assert str(name) == text


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "tuned",
            "'tuned' is not the name of a resource: "
            "a full name is wanted: accounts/ACCOUNT_ID/COLLECTION/ID (character 0)",
            None,
        ),
        (
            "accounts/acme/model/tuned",
            "'accounts/acme/model/tuned' is not the name of a resource: 'model': write 'models' (character 14)",
            "write accounts/acme/models/tuned",
        ),
        (
            "accounts/acme/models/tuned/versions/v1",
            "'accounts/acme/models/tuned/versions/v1' is not the name of a resource: "
            "nothing follows the ID (character 27)",
            "write accounts/acme/models/tuned",
        ),
        (
            "accounts/acme/datasets/d",
            "'accounts/acme/datasets/d' is not the name of a resource: "
            "a full name is wanted: accounts/ACCOUNT_ID/COLLECTION/ID (character 0)",
            None,
        ),
    ],
)
def test_what_is_no_full_name_is_refused(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InputError) as raised:
        ResourceName.parse(text)
    assert raised.value.message == message
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("text", "collection", "full"),
    [
        ("tuned", "models", "accounts/acme/models/tuned"),
        ("models", "models", "accounts/acme/models/models"),
        ("prod", "deployments", "accounts/acme/deployments/prod"),
        ("accounts/fireworks/models/base", "models", "accounts/fireworks/models/base"),
        ("accounts/a/deploymentShapes/s/versions/v", "deploymentShapes", "accounts/a/deploymentShapes/s/versions/v"),
    ],
)
def test_an_argument_is_an_id_or_a_full_name(text: str, collection: str, full: str) -> None:
    assert resolve(text, collection, "acme") == full


def test_a_full_name_needs_no_account() -> None:
    assert resolve("accounts/a/models/m", "models", None) == "accounts/a/models/m"


@pytest.mark.parametrize(
    ("text", "collection", "account", "message", "hint"),
    [
        (
            "tuned",
            "models",
            None,
            "no account is known to complete the model ID 'tuned'",
            "write accounts/<ACCOUNT_ID>/models/tuned, or give the account: -a ACCOUNT_ID",
        ),
        (
            "tuned",
            "models",
            "Acme",
            "'Acme' is not a valid account ID: a capital letter: IDs are lower case (character 0)",
            "write acme",
        ),
        (
            "accounts/a/models/m",
            "deployments",
            "acme",
            "'accounts/a/models/m' is a model: here a deployment is wanted",
            "firectl deployment list shows what could stand here",
        ),
        (
            "accounts/a/model/m",
            "deployments",
            "acme",
            "'accounts/a/model/m' is not the name of a deployment: 'model': write 'models' (character 11)",
            None,
        ),
        (
            "accounts/a/datasets/m",
            "models",
            "acme",
            "'accounts/a/datasets/m' is not the name of a model: "
            "'datasets' is the wrong collection: 'models' is wanted (character 11)",
            None,
        ),
        (
            "My Model",
            "models",
            "acme",
            "'My Model' is not the name of a model: a capital letter: IDs are lower case (character 0); "
            "a space: names have none (character 2)",
            "write accounts/acme/models/my-model",
        ),
        (
            "a/tuned",
            "models",
            "acme",
            "'a/tuned' is not the name of a model: "
            "a full name is wanted: accounts/ACCOUNT_ID/COLLECTION/ID (character 0)",
            "write accounts/a/models/tuned",
        ),
        (
            "accounts/a/deployments/prod/",
            "deployments",
            "acme",
            "'accounts/a/deployments/prod/' is not the name of a deployment: a trailing slash (character 27)",
            "write accounts/a/deployments/prod",
        ),
        (
            "accounts/a/models/m#accounts/a/deployments/d",
            "deployments",
            "acme",
            "'accounts/a/models/m#accounts/a/deployments/d' is a route to a model on a deployment: "
            "here the name of one deployment is wanted",
            "write accounts/a/deployments/d",
        ),
        (
            "accounts/a/deploymentShapes/Fast/versions/V1",
            "deploymentShapes",
            "acme",
            "'accounts/a/deploymentShapes/Fast/versions/V1' is not the name of a deployment shape: "
            "a capital letter: IDs are lower case (characters 28, 42)",
            "write accounts/a/deploymentShapes/fast/versions/v1",
        ),
        ("", "models", "acme", "'' is not the name of a model: a name is missing (character 0)", None),
    ],
)
def test_an_argument_that_cannot_be_completed_is_refused(
    text: str, collection: str, account: str | None, message: str, hint: str | None
) -> None:
    with pytest.raises(InputError) as raised:
        resolve(text, collection, account)
    assert raised.value.message == message
    assert raised.value.hint == hint


@given(strings, st.sampled_from(["models", "deployments", "deployedModels", "deploymentShapes"]), accounts)
def test_resolving_gives_a_full_name_of_the_collection_or_an_input_error(
    text: str, collection: str, account: str | None
) -> None:
    try:
        full = resolve(text, collection, account)
    except InputError:
        full = f"accounts/x/{collection}/x"
    assert ResourceName.parse(full).collection == collection


def test_importing_names_loads_nothing_slow_and_nothing_that_explains_mistakes() -> None:
    code = "import sys, firectl.names, firectl.names as n; n.check_route('a/b#c/d'); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "firectl.names.routes" in loaded
    third_party = {"click", "httpx", "pydantic", "rich", "torch"}
    slow = {"urllib.parse", "json", "configparser", "logging", "asyncio", "subprocess", "unicodedata", "random"}
    mistakes = {"firectl.names.draft", "firectl.names.mistakes", "firectl.names.route_mistakes", "firectl.config"}
    assert (third_party | slow | mistakes) & set(loaded) == set()
