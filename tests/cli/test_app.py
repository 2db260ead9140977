"""What one invocation needs: the client and its key, where commands go, questions, and what an interrupt leaves."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest

from firectl.cli.app import App
from firectl.errors import InputError
from firectl.schemas.deployment import Deployment
from tests.cli.conftest import KEY, Cli
from tests.cli.hosted import Api
from tests.client.script_server import answer

NAME = "accounts/acme/deployments/d1"
MINE = "/v1/accounts/acme"


def test_without_a_key_nothing_is_sent_and_both_ways_out_are_named(cli: Cli) -> None:
    ran = cli("deployment", "get", "d1")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "Error: no API key: not in --api-key, FIREWORKS_API_KEY or the profile (code = InvalidArgument)\n"
        "Hint: firectl set-api-key - < FILE, or for a platform on this machine: firectl local up\n"
    )


def test_verbose_shows_each_request_and_never_the_key(cli: Cli, api: Api) -> None:
    api.on("GET", f"/v1/{NAME}", answer(200, {"name": "accounts/acme/deployments/d1"}, {"x-request-id": "r-7"}))
    ran = cli("-v", "deployment", "get", "d1", "-o", "name")
    assert ran.out == "accounts/acme/deployments/d1\n"
    assert re.fullmatch(r"GET /v1/accounts/acme/deployments/d1 200 \d+ ms request-id=r-7\n", ran.err)
    assert KEY not in ran.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("deployment", "create", "my model"), "'my model' is not the name of a model"),
        (("deployment", "create", "m", "--enable-addons", "--precision", "FP8"), "quantized precisions"),
        (("deployment", "create", "m", "--deployment-shape", "s", "--accelerator-type", "X"), "sets the accelerator"),
        (("bench", "m #d"), "is not a route"),
        (("bench", "--compare", "live-merge", "--model", "a b"), "'a b' is not the name of a model"),
        (("bench", "m", "--rate", "5", "--concurrency", "5"), "exclude each other"),
    ],
)
def test_a_malformed_argument_is_refused_before_a_missing_key(cli: Cli, argv: tuple[str, ...], says: str) -> None:
    ran = cli(*argv)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert "no API key" not in ran.err


def test_a_key_too_short_to_be_one_is_not_redacted(cli: Cli, api: Api) -> None:
    api.on("GET", f"{MINE}/models", {"models": []})
    ran = cli("model", "list", "--api-key", "mod", "--verbose")
    assert ran.err.startswith("GET /v1/accounts/acme/models 200 ")


def test_a_malformed_name_or_route_is_refused_without_a_key(cli: Cli) -> None:
    with pytest.raises(InputError, match="is not the name of a model"):
        App().full_name("my model", "models")
    with pytest.raises(InputError, match="is not a route"):
        App().check_route("m #d")
    App().check_route("m#d")
    assert App().full_name("accounts/a/models/m", "models") == "accounts/a/models/m"


def environ(url: str) -> dict[str, str]:
    return {"FIREWORKS_BASE_URL": url, "FIREWORKS_API_KEY": KEY, "FIREWORKS_ACCOUNT_ID": "acme"}


@pytest.mark.parametrize(
    ("url", "bills"),
    [
        ("https://api.fireworks.ai", True),
        ("https://api.eu.fireworks.ai", True),
        ("http://127.0.0.1:1", False),
        ("http://localhost:1", False),
        ("https://notfireworks.ai", True),
    ],
)
def test_the_address_decides_whether_a_deployment_bills(cli: Cli, url: str, bills: bool) -> None:
    assert App(environ(url)).bills is bills


def test_the_service_is_known_by_its_address_or_by_its_answer(cli: Cli, api: Api) -> None:
    assert App(environ("https://api.fireworks.ai")).is_hosted
    platform = App(environ(api.url))
    assert (platform.is_hosted, platform.bills) == (False, False)
    api.hosted()
    behind_a_proxy = App(environ(api.url))
    assert (behind_a_proxy.bills, behind_a_proxy.is_hosted, behind_a_proxy.bills) == (False, True, True)
    platform.close()
    behind_a_proxy.close()


@pytest.mark.parametrize(
    ("ending", "left"), [(None, ["before"]), (InputError("no"), ["before"]), (KeyboardInterrupt(), ["inner"])]
)
def test_an_interrupt_leaves_the_lines_of_the_innermost_block(ending: BaseException | None, left: list[str]) -> None:
    app = App({})
    app.left_running = ["before"]
    with suppress(InputError, KeyboardInterrupt), app.leaving("outer"):
        assert app.left_running == ["outer"]
        with app.leaving("inner"):
            if ending is not None:
                raise ending
    assert app.left_running == left


def test_a_delete_is_a_note_for_people_and_a_document_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    for format, out in (("text", ""), ("name", f"{NAME}\n")):
        app = App({})
        app.set_flag("output", format)
        app.emit_deleted(f"Deleted {NAME}", lambda: Deployment(name=NAME))
        assert capsys.readouterr() == (out, f"Deleted {NAME}\n")


def test_without_a_terminal_nothing_is_asked() -> None:
    app = App({})
    app.confirm("Delete it?")
    assert app.choose("Which one", ["first", "second"]) == 0


def test_the_key_is_redacted_in_any_text(cli: Cli) -> None:
    app = App(environ("http://127.0.0.1:1"))
    assert app.redact(f"Bearer {KEY}") == "Bearer [key]"
    app.set_flag("api_key", "fw_another_key_1234")
    assert app.redact(f"fw_another_key_1234 {KEY}") == "[key] [key]"


@pytest.mark.parametrize(
    ("flags", "environment", "color"), [({}, {}, True), ({"no_color": True}, {}, False), ({}, {"NO_COLOR": "1"}, False)]
)
def test_a_flag_or_the_environment_turns_colours_off(
    flags: dict[str, Any], environment: dict[str, str], color: bool
) -> None:
    app = App(environment)
    app.flags.update(flags)
    assert app.output.color is color
