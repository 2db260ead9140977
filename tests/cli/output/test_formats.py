"""What each format of `-o` writes, of one result and of a list, and what it refuses."""

from __future__ import annotations

import io
import json

import pytest

from firectl.cli.output.formats import DOCUMENT, FORMATS, NAMED, RESOURCE, with_counts
from firectl.cli.output.output import Output
from firectl.cli.views import tables
from firectl.errors import InputError
from firectl.schemas.account import Account
from firectl.schemas.model import DeployedModelRef, Model
from tests.cli.conftest import Cli
from tests.cli.hosted import Api


def written(format: str, result: object, view: object = tables.MODEL, encoding: str = "utf-8") -> str:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    Output(format, stdout=out, stderr=io.StringIO()).emit(result, view)  # type: ignore[arg-type]
    return out.buffer.getvalue().decode(encoding)


def test_what_a_format_needs_decides_which_results_it_is_offered_for() -> None:
    assert {"text", "json", "yaml"} == DOCUMENT < NAMED < RESOURCE == FORMATS.keys()
    assert {"flag"} == RESOURCE - NAMED
    assert {"name"} == NAMED - DOCUMENT


def test_a_list_of_one_is_still_a_list() -> None:
    model = Model(name="accounts/a/models/x", public=True)
    one = {name: FORMATS[name].write(model, tables.MODEL, False) for name in FORMATS}
    many = {name: FORMATS[name].write([model], tables.MODEL, False) for name in FORMATS}
    assert many["json"] == f"[\n{''.join(f'  {line}' for line in one['json'].splitlines(True))}]\n"
    assert one["yaml"] == "name: accounts/a/models/x\npublic: true\n"
    assert many["yaml"] == "- name: accounts/a/models/x\n  public: true\n"
    assert one["text"] == "Name: accounts/a/models/x\nPublic: true\n"
    assert many["text"].splitlines()[0].split() == ["NAME", "KIND", "STATE", "BASE", "MODEL", "CREATE", "TIME",
                                                    "DISPLAY", "NAME"]  # fmt: skip
    assert one["name"] == many["name"] == "accounts/a/models/x\n"
    assert one["flag"] == many["flag"] == "x --public\n"


def test_counts_that_the_wire_left_out_are_zero() -> None:
    assert with_counts({"a": {"x": 1}, "b": 2}, ["a.y", "b", "c", "d.e"]) == {
        "a": {"x": 1, "y": 0}, "b": 2, "c": 0, "d": {"e": 0},
    }  # fmt: skip


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
