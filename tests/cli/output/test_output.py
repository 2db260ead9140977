"""What the formats have in common for every result, and what they refuse."""

from __future__ import annotations

import io
import json

import pytest

from firectl.cli.output.output import Output
from firectl.cli.views import tables
from firectl.errors import ApiError, Code, InputError
from firectl.schemas.account import Account
from firectl.schemas.model import DeployedModelRef, Model
from tests.cli.conftest import Cli
from tests.cli.hosted import Api


def written(format: str, result: object, view: object = tables.MODEL, encoding: str = "utf-8") -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    Output(format, stdout=out, stderr=io.StringIO()).emit(result, view)  # type: ignore[arg-type]
    return out.buffer.getvalue().decode(encoding)


def test_a_list_can_come_from_anything_that_can_be_gone_through() -> None:
    rows = (Model(name=f"accounts/a/models/{name}") for name in "xy")
    assert written("name", rows) == "accounts/a/models/x\naccounts/a/models/y\n"
    assert json.loads(written("json", [])) == []
    assert written("yaml", []) == "[]\n"


def test_where_a_model_is_deployed_is_shown_message_by_message() -> None:
    refs = [DeployedModelRef(deployment="d1", default=True), DeployedModelRef(deployment="d2", default=False)]
    shown = written("text", Model(name="n", deployed_model_refs=refs))
    assert shown == (
        "Name: n\nDeployed Model Refs:\n  Deployment: d1\n  Default: true\n  Deployment: d2\n  Default: false\n"
    )


def test_json_is_json_in_any_encoding_of_the_terminal() -> None:
    model = Model(name="n", description="naïve 🔥")
    assert "naïve 🔥" in written("json", model)
    assert json.loads(written("json", model, encoding="ascii"))["description"] == "naïve 🔥"


def test_what_has_no_name_or_no_flags_says_what_to_use_instead() -> None:
    with pytest.raises(InputError, match="the result has no name"):
        written("name", {"state": "UP"})
    with pytest.raises(InputError, match="there are no flags that create such a resource"):
        written("flag", Account(name="accounts/a"), tables.ACCOUNT)


def test_a_result_of_no_known_kind_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="cannot emit a int"):
        written("json", 3)


def test_a_stream_ends_its_line_once() -> None:
    for pieces, text in ((["a", "b"], "ab\n"), (["a\n"], "a\n"), ([], ""), (["a", ""], "a\n")):
        out = io.StringIO()
        Output(stdout=out).stream(pieces)
        assert out.getvalue() == text


def test_notes_can_be_silenced_and_errors_cannot() -> None:
    err = io.StringIO()
    output = Output(quiet=True, stderr=err)
    output.note("a note")
    output.warn("twice")
    output.warn("twice")
    output.fail(ApiError(Code.NOT_FOUND, "gone", hint="look again"))
    assert err.getvalue() == "Warning: twice\nError: gone (code = NotFound)\nHint: look again\n"


def test_a_closed_stderr_does_not_cost_the_result() -> None:
    err = io.StringIO()
    err.close()
    Output(stderr=err).note("nobody hears this")


@pytest.mark.parametrize("noun", ["account", "deployment-shape"])
def test_formats_that_a_noun_cannot_have_are_errors_with_an_empty_stdout(cli: Cli, api: Api, noun: str) -> None:
    path = {"account": "/v1/accounts/acme", "deployment-shape": "/v1/accounts/acme/deploymentShapes/acme"}[noun]
    api.on("GET", path, {"name": path.removeprefix("/v1/")})
    ran = cli(noun, "get", "acme", "-o", "flag")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"Error: firectl {noun} get cannot write 'flag', only text, json, yaml, name (code = InvalidArgument)\n"
        f"Hint: firectl {noun} get --help\n"
    )
    assert cli(noun, "list", "-o", "flag").code == 2, "whether or not there are rows"
