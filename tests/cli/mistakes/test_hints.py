"""Hints: every error about a wrong name or a conflict ends in a command. About `cli/mistakes/hints.py`."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.client.script_server import answer

MINE = "/v1/accounts/acme"
PUBLIC = ", or for public ones firectl -a fireworks model list"


def refused(status: int, code: int, message: str) -> object:
    return answer(status, {"code": code, "message": message, "details": []})


@pytest.mark.parametrize(
    ("argv", "method", "path", "message", "hint"),
    [
        ("deployment get nope", "GET", "deployments/nope", "deployment accounts/acme/deployments/nope not found",
         "firectl deployment list"),
        ("get deployment nope", "GET", "deployments/nope", "not found", "firectl deployment list"),
        ("deployed-model update nope --default", "PATCH", "deployedModels/nope",
         "deployed model accounts/acme/deployedModels/nope not found", "firectl deployed-model list"),
        ("load-lora m --deployment nope", "POST", "deployedModels",
         "deployment accounts/acme/deployments/nope not found", "firectl deployment list"),
        ("load-lora m --deployment nope", "POST", "deployedModels", "Not Found.",
         "firectl model list and firectl deployment list"),
        ("deployment create nope --deployment-id d", "POST", "deployments",
         "model accounts/acme/models/nope not found", f"firectl model list{PUBLIC}"),
        ("deployment create accounts/other/models/nope --deployment-id d", "POST", "deployments",
         "model accounts/other/models/nope not found", f"firectl -a other model list{PUBLIC}"),
        ("deployment create accounts/fireworks/models/nope --deployment-id d", "POST", "deployments",
         "model accounts/fireworks/models/nope not found", "firectl -a fireworks model list"),
        ("model list", "GET", "models", "account accounts/acme not found", "firectl account list"),
        ("model delete nope", "DELETE", "models/nope", "no", "firectl model list"),
        ("api-key delete ci --user u", "POST", "users/u/apiKeys:delete", "API key 'ci' not found",
         "firectl api-key list shows the KEY ID of each, which is what delete takes"),
        ("api-key list --user u", "GET", "users/u/apiKeys", "user accounts/acme/users/u not found",
         "firectl api-key list, without --user, uses the only user of the account"),
        ("deployment-shape get nope", "GET", "deploymentShapes/nope", "no", "firectl deployment-shape list"),
    ],
)  # fmt: skip
def test_a_missing_resource_is_followed_by_the_command_that_lists_the_existing_ones(
    cli: Cli, api: Api, argv: str, method: str, path: str, message: str, hint: str
) -> None:
    api.on(method, f"{MINE}/{path}", refused(404, 5, message))
    ran = cli(*argv.split())
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"Error: {message} (code = NotFound)\nHint: {hint}\n"


def test_a_folder_in_place_of_a_name_is_to_be_imported_first(cli: Cli, api: Api, tmp_path: Path) -> None:
    folder = str(tmp_path)
    swapped = cli("model", "create", folder, "my-lora")
    assert (swapped.code, swapped.err) == (
        2,
        f"Error: {folder} is a folder, not a model ID (code = InvalidArgument)\n"
        f"Hint: MODEL_ID comes first: firectl model create my-lora {folder}\n",
    )
    for argv in (["deployment", "create", folder], ["load-lora", folder, "--deployment", "d"], ["chat", folder, "hi"]):
        ran = cli(*argv)
        first = f"Hint: that is a folder; import it first: firectl model create MODEL_ID {folder}"
        assert (ran.code, ran.err.splitlines()[-1]) == (2, first)
    assert api.asked == []


def test_a_model_where_a_folder_is_expected_is_to_be_downloaded_first(cli: Cli) -> None:
    base = "accounts/fireworks/models/b"
    ran = cli("lora", "merge", ".", "--base-model", base, "--out", "nope")
    hint = f"Hint: expected a folder: firectl model download {base} ./base, then --base-model ./base"
    assert (ran.code, ran.out, ran.err.splitlines()[-1]) == (2, "", hint)


def test_a_load_onto_another_base_names_the_deployment_that_it_needs(cli: Cli, api: Api) -> None:
    base = "accounts/fireworks/models/b"
    lora = {"name": "accounts/acme/models/m", "state": "READY", "peftDetails": {"baseModel": base}}
    other = {"name": "accounts/acme/deployments/d", "state": "READY", "baseModel": "accounts/acme/models/other"}
    api.on("GET", f"{MINE}/models/m", lora)
    api.on("GET", f"{MINE}/deployments/d", {**other, "enableAddons": True})
    api.on("POST", f"{MINE}/deployedModels", refused(400, 9, "another base"))
    ran = cli("load-lora", "m", "--deployment", "d")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        5,
        f"Hint: base {base}, deployment of accounts/acme/models/other: "
        f"firectl deployment create {base} --enable-addons --wait",
    )


def test_a_server_that_does_not_answer_is_named_with_its_source(cli: Cli, api: Api) -> None:
    away = cli("model", "list", "-s", "http://127.0.0.1:1")
    assert away.code == 7
    assert away.err.splitlines()[-1] == (
        "Hint: that server is from --server; another: -s HOST, or for a platform on this machine: firectl local up"
    )


def test_a_count_of_replicas_in_a_file_gets_the_two_bounds_as_a_hint(cli: Cli, api: Api, tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"replicas": 2}')
    ran = cli("deployment", "create", "m", "--file", str(tmp_path / "d.json"))
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "Hint: did you mean minReplicaCount and maxReplicaCount?")


def test_an_undelete_that_was_waited_for_lists_what_came_back(cli: Cli, api: Api) -> None:
    name = "accounts/acme/deployments/d"
    back = {"name": name, "baseModel": "accounts/acme/models/b", "state": "READY", "maxReplicaCount": 0}
    row = {"name": "accounts/acme/deployedModels/m-1", "model": "accounts/acme/models/m", "deployment": name}
    api.on("POST", f"{MINE}/deployments/d:undelete", back)
    api.on("GET", f"/v1/{name}", back)
    api.on("GET", f"{MINE}/deployedModels", {"deployedModels": [{**row, "state": "DEPLOYED"}]})
    ran = cli("deployment", "undelete", "d", "--wait")
    assert ran.code == 0
    assert "Loaded again: accounts/acme/models/m, which is DEPLOYED\n" in ran.err


def test_what_the_server_finds_wrong_ends_in_the_help_of_the_verb(cli: Cli, api: Api) -> None:
    api.on("PATCH", f"{MINE}/deployments/d", refused(400, 3, "enable_addons cannot be changed"))
    for argv in ("deployment update d --enable-addons", "update deployment d --enable-addons"):
        ran = cli(*argv.split())
        assert (ran.code, ran.err.splitlines()[-1]) == (6, "Hint: firectl deployment update --help")


def test_an_upload_to_a_model_that_is_not_there_names_the_create(cli: Cli, api: Api) -> None:
    Path("config.json").write_text("{}")
    ran = cli("model", "upload", "nope", ".")
    assert ran.code == 3
    assert ran.err.endswith("Hint: firectl model create nope .\n")


def test_what_exists_already_is_named_with_the_command_that_shows_it(cli: Cli, api: Api) -> None:
    name = "accounts/acme/deployments/d"
    api.on("POST", f"{MINE}/deployments", refused(409, 6, f"deployment {name} already exists and is READY"))
    hint = f"firectl deployment get {name} shows what is there; to make a second one, give it another --deployment-id"
    ran = cli("deployment", "create", "m", "--deployment-id", "d")
    assert (ran.code, ran.err.splitlines()[-1]) == (5, f"Hint: {hint}")
    api.on("POST", f"{MINE}/deployments", refused(409, 6, "already exists"))
    ran = cli("create", "deployment", "m", "--deployment-id", "d", "-o", "json")
    assert '"hint": "firectl deployment get d shows' in ran.err


@pytest.mark.parametrize(
    ("argv", "flags"),
    [
        ("deployment delete d", ""),
        ("delete deployment d", ""),
        ("deployment delete d --hard", " --hard"),
        ("delete deployment --wait-timeout 90s d --yes --wait --hard", " --hard --wait --wait-timeout 1m30s --yes"),
    ],
)
def test_a_refused_delete_ends_in_the_command_that_deletes_anyway(cli: Cli, api: Api, argv: str, flags: str) -> None:
    said = "deployment has received inference requests in the last hour, pass --ignore-checks to skip this check"
    api.on("DELETE", f"{MINE}/deployments/d", refused(400, 9, said))
    ran = cli(*argv.split())
    assert (ran.code, ran.err.splitlines()[-1]) == (5, f"Hint: firectl deployment delete d{flags} --ignore-checks")
    api.on("DELETE", f"{MINE}/deployments/d", {})
    assert cli(*ran.err.splitlines()[-1].split()[2:], "--dry-run").code == 0


def test_a_load_that_does_not_fit_ends_in_the_check_of_its_route(cli: Cli, api: Api) -> None:
    api.on("POST", f"{MINE}/deployedModels", refused(400, 9, "no addons here"))
    ran = cli("load-lora", "m", "--deployment", "d")
    assert (ran.code, ran.err.splitlines()[-1]) == (5, "Hint: firectl route check 'm#d' --live")


def test_no_permission_and_no_server_say_where_account_key_and_server_come_from(cli: Cli, api: Api) -> None:
    api.on("GET", f"{MINE}/models", refused(403, 7, "no"))
    assert "Hint: firectl whoami shows the account and where the key comes from" in cli("model", "list").err
    away = cli("whoami", "--timeout", "1s", env={"FIREWORKS_BASE_URL": "https://nowhere.invalid"})
    assert (away.code, away.out) == (7, "")
    assert away.err.endswith(
        "Hint: that server is from FIREWORKS_BASE_URL; another: -s HOST, or for a platform on this machine: "
        "firectl local up\n"
    )


def test_an_update_of_nothing_names_the_help_with_the_flags(cli: Cli, api: Api) -> None:
    for noun in ("deployed-model", "model", "deployment"):
        ran = cli(noun, "update", "x")
        assert (ran.code, ran.err.splitlines()[-1]) == (2, f"Hint: firectl {noun} update --help")
    assert api.asked == []


def test_an_empty_account_is_reported_by_the_name_of_its_flag(cli: Cli, api: Api) -> None:
    ran = cli("-a", "", "model", "list")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "Error: --account-id is empty (code = InvalidArgument)")


def test_ctrl_c_during_a_wait_for_an_unload_says_what_still_runs(cli: Cli, api: Api) -> None:
    row = {"name": "accounts/acme/deployedModels/m-1", "model": "accounts/acme/models/m",
           "deployment": "accounts/acme/deployments/d", "state": "UNDEPLOYING"}  # fmt: skip
    api.on("GET", f"{MINE}/deployedModels", {"deployedModels": [row]})
    api.on("GET", f"/v1/{row['name']}", row)
    api.on("DELETE", f"/v1/{row['name']}", {})
    argv = [sys.executable, "-m", "firectl", "unload-lora", "m", "--deployment", "d", "--wait"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "UNDEPLOYING" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[0] == (
        "accounts/acme/models/m is still being unloaded. "
        "To see whether it is gone: firectl deployed-model get accounts/acme/deployedModels/m-1"
    )


def test_an_undelete_of_what_was_not_deleted_names_the_command_that_shows_it(cli: Cli, api: Api) -> None:
    message = "deployment accounts/acme/deployments/d is READY: only a DELETED one can be undeleted"
    api.on("POST", f"{MINE}/deployments/d:undelete", refused(400, 9, message))
    ran = cli("deployment", "undelete", "d")
    assert (ran.code, ran.err.splitlines()[-1]) == (5, "Hint: firectl deployment get d shows its state")


def test_a_name_of_another_kind_is_followed_by_the_list_of_the_right_one(cli: Cli, api: Api) -> None:
    ran = cli("deployment", "get", "accounts/acme/models/m")
    assert (ran.code, api.asked) == (2, [])
    assert ran.err == (
        "Error: expected a deployment, got the model 'accounts/acme/models/m' (code = InvalidArgument)\n"
        "Hint: firectl deployment list\n"
    )
    ran = cli("deployed-model", "get", "accounts/acme/models/m")
    assert ran.err.splitlines()[-1] == "Hint: firectl deployed-model list"


def test_bounds_that_cannot_both_hold_are_followed_by_those_that_can(cli: Cli, api: Api) -> None:
    ran = cli("deployment", "create", "m", "--min-replica-count", "3", "--max-replica-count", "2")
    assert ran.err.splitlines()[-1] == "Hint: --max-replica-count 3, or --min-replica-count 2"
