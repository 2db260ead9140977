"""`cli/route/check.py`: the report on a string and on a request, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.cli.live_route import DEPLOYMENT, MODEL, ROUTE, serving

__all__ = ["serving"]


@pytest.mark.parametrize(
    ("body", "code", "errors"),
    [
        ({"model": ROUTE}, 0, 0),
        ({"model": "acme/m d"}, 2, 1),
        ({"model": ROUTE, "deployedModel": "x"}, 2, 1),
        ({"model": MODEL, "deployedModel": None}, 0, 0),
    ],
)
def test_a_request_is_checked_by_its_model_and_the_old_key(
    cli: Cli, tmp_path: Path, body: dict[str, Any], code: int, errors: int
) -> None:
    file = tmp_path / "body.json"
    file.write_text(json.dumps(body))
    for ran in (
        cli("route", "check", "--request", str(file), "-o", "json"),
        cli("route", "check", "--request", "-", "-o", "json", stdin=json.dumps(body)),
    ):
        assert ran.code == code
        assert len(ran.json["errors"]) == errors


def test_the_old_key_is_told_what_to_send_instead(cli: Cli) -> None:
    body = json.dumps({"model": MODEL, "deployedModel": "accounts/acme/deployedModels/m-1"})
    ran = cli("route", "check", "--request", "-", "-o", "json", stdin=body)
    assert ran.code == 2
    assert ran.json["errors"][0]["message"].startswith("deployedModel is deprecated and refused on new deployments")
    assert ran.json["errors"][0]["suggestion"] is None
    assert ran.json["errors"][0]["field"] == "deployedModel"
    assert body[ran.json["errors"][0]["position"] :].startswith('"deployedModel"')
    text = cli("route", "check", "--request", "-", stdin=body).out
    assert f"Error: character {body.index('deployedModel') - 1} of the request: deployedModel is deprecated" in text
    both = json.dumps({"model": ROUTE, "deployedModel": "accounts/acme/deployedModels/m-1"})
    ran = cli("route", "check", "--request", "-", "-o", "json", stdin=both)
    assert ran.json["errors"][0]["suggestion"] == ROUTE
    old = json.dumps({"deployedModel": ROUTE})
    assert cli("route", "check", "--request", "-", stdin=old).code == 2


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model": 3}'])
def test_what_is_no_request_is_an_error(cli: Cli, text: str) -> None:
    ran = cli("route", "check", "--request", "-", stdin=text)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Error: the request ")


def test_nothing_to_check_is_told_an_example(cli: Cli) -> None:
    ran = cli("route", "check")
    assert (ran.code, ran.out) == (2, "")
    example = "accounts/my-account/models/my-lora#accounts/my-account/deployments/my-deployment"
    assert ran.err == (f"Error: no route given (code = InvalidArgument)\nHint: firectl route check '{example}'\n")
    assert cli("route", "check", example).code == 0


def test_only_one_of_the_two_is_taken(cli: Cli) -> None:
    ran = cli("route", "check", ROUTE, "--request", "-")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Error: give either a route or --request, and not both (code = InvalidArgument)\n")


def test_live_says_first_whether_it_is_ready_and_below_each_failed_check_what_to_run(cli: Cli, serving: Api) -> None:
    serving.on("GET", "/v1/accounts/acme/deployedModels", {})
    ran = cli("route", "check", ROUTE, "--live")
    assert ran.code == 5
    assert ran.out.startswith("Ready: false\nValid: true\n")
    assert (
        "Check: FAILED: the model is not loaded on the deployment\n"
        f"  To do: firectl load-lora {MODEL} --deployment {DEPLOYMENT} --wait\n"
    ) in ran.out
    assert cli("route", "check", MODEL).out.startswith("Valid: true\n")


@pytest.mark.parametrize("text", ["m:d", "m@d"])
def test_another_mark_between_two_ids_is_told_the_hash(cli: Cli, text: str) -> None:
    ran = cli("-a", "acme", "route", "check", text)
    assert ran.code == 2
    assert ran.out.endswith("Write: accounts/acme/models/m#accounts/acme/deployments/d\n")


def test_live_asks_nothing_about_a_bad_route(cli: Cli, serving: Api) -> None:
    assert cli("route", "check", f"{MODEL}#", "--live").code == 2
    assert serving.asked == []
