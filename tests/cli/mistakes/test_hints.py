"""What to type after a refusal: every error that a wrong name or a conflict makes ends in a command."""

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
         "firectl api-key list, without --user, is about the only user of the account"),
        ("deployment-shape get nope", "GET", "deploymentShapes/nope", "no", "firectl deployment-shape list"),
    ],
)  # fmt: skip
def test_what_is_not_found_is_followed_by_the_command_that_shows_what_there_is(
    cli: Cli, api: Api, argv: str, method: str, path: str, message: str, hint: str
) -> None:
    api.on(method, f"{MINE}/{path}", refused(404, 5, message))
    ran = cli(*argv.split())
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"Error: {message} (code = NotFound)\nHint: {hint}\n"


@pytest.mark.parametrize(
    ("argv", "method", "path", "meant"),
    [
        ("deployment get shard", "GET", "deployments/shard", "shared"),
        ("load-lora sample-poet --deployment shard", "POST", "deployedModels", "shared"),
        ("load-lora sample-poett --deployment shared", "POST", "deployedModels", "sample-poet"),
        ("model get sample-poett", "GET", "models/sample-poett", "sample-poet"),
        ("model get sample-llama", "GET", "models/sample-llama", "accounts/fireworks/models/sample-llama"),
        ("deployment create sample-lama", "POST", "deployments", "accounts/fireworks/models/sample-llama"),
    ],
)
def test_a_mistyped_name_is_told_what_it_resembles(
    cli: Cli, api: Api, argv: str, method: str, path: str, meant: str
) -> None:
    public = {"name": "accounts/fireworks/models/sample-llama"}
    api.on("GET", f"{MINE}/models", {"models": [{"name": "accounts/acme/models/sample-poet"}]})
    api.on("GET", f"{MINE}/deployments", {"deployments": [{"name": "accounts/acme/deployments/shared"}]})
    api.on("GET", "/v1/accounts/fireworks/models", {"models": [public]})
    api.on("GET", "/v1/accounts/fireworks/models/sample-llama", public)
    api.on(method, f"{MINE}/{path}", refused(404, 5, "not found"))
    ran = cli(*argv.split())
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[-1].startswith(f"Hint: did you mean {meant}? All there are: firectl ")


def test_a_model_where_its_record_is_wanted_is_told_how_to_find_the_records(cli: Cli, api: Api) -> None:
    row = {"name": "accounts/acme/deployedModels/m-1", "model": "accounts/acme/models/m"}
    api.on("GET", f"{MINE}/deployedModels", {"deployedModels": [row]})
    assert cli("deployed-model", "get", "m").err.splitlines()[-1] == (
        "Hint: that is a model; where it is loaded: "
        "firectl deployed-model list --filter 'model = \"accounts/acme/models/m\"'"
    )


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        ("load-lora m --deployment", "firectl load-lora --help"),
        ("deployment create m --deployment-name x",
         "did you mean --deployment-id or --display-name? See: firectl deployment create --help"),
        ("deployment ls", "did you mean list? See: firectl deployment --help"),
        ("remove deployment shared", "did you mean delete? See: firectl --help"),
        ("model rm m", "did you mean delete? See: firectl model --help"),
        ("lora load m", "did you mean firectl load-lora? See: firectl load-lora --help"),
        ("scale shared 2", "firectl scale shared --replica-count 2; more: firectl scale --help"),
        ("load-lora m shared", "firectl load-lora m --deployment shared; more: firectl load-lora --help"),
        ("get shared", "say of what: firectl get NOUN shared, with NOUN one of deployment, deployed-model, "
         "deployment-shape, deployment-shape-version, model, account"),
        ("lora merge . --base-model accounts/fireworks/models/b --out nope",
         "a folder is wanted: firectl model download accounts/fireworks/models/b ./base, then --base-model ./base"),
    ],
)  # fmt: skip
def test_a_command_line_as_another_tool_has_it_is_told_how_it_is_written_here(cli: Cli, argv: str, hint: str) -> None:
    ran = cli(*argv.split())
    assert (ran.code, ran.out, ran.err.splitlines()[-1]) == (2, "", f"Hint: {hint}")


def test_a_folder_where_a_name_is_wanted_is_to_be_imported_first(cli: Cli, api: Api, tmp_path: Path) -> None:
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


def test_a_server_that_does_not_answer_is_said_with_where_it_came_from(cli: Cli, api: Api) -> None:
    away = cli("model", "list", "-s", "http://127.0.0.1:1")
    assert away.code == 7
    assert away.err.splitlines()[-1] == (
        "Hint: that server is from --server; another: -s HOST, or for a platform on this machine: firectl local up"
    )


def test_a_count_of_replicas_in_a_file_is_told_the_two_bounds(cli: Cli, api: Api, tmp_path: Path) -> None:
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


def test_an_empty_list_of_a_state_that_nothing_has_names_the_states(cli: Cli, api: Api) -> None:
    api.on("GET", f"{MINE}/deployments", {"deployments": []})
    ran = cli("deployment", "list", "--filter", "state = DEAD AND region = X")
    said = "No state that is known is called DEAD: there are CREATING, READY, UPDATING, DELETING, DELETED, FAILED\n"
    assert (ran.code, ran.err) == (0, said)
    for text in ("state = READY", "state != DEAD", "status.state = DEAD"):
        assert cli("deployment", "list", "--filter", text).err == ""


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


@pytest.mark.parametrize("argv", ["deployment delete d", "delete deployment d"])
def test_a_refused_delete_ends_in_the_command_that_deletes_all_the_same(cli: Cli, api: Api, argv: str) -> None:
    said = "deployment has received inference requests in the last hour, pass --ignore-checks to skip this check"
    api.on("DELETE", f"{MINE}/deployments/d", refused(400, 9, said))
    ran = cli(*argv.split())
    assert (ran.code, ran.err.splitlines()[-1]) == (5, "Hint: firectl deployment delete d --ignore-checks")


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


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("deployment", "create", "my model"), "'my model' is not the name of a model"),
        (("deployment", "create", "m", "--enable-addons", "--precision", "FP8"), "quantized precisions"),
        (("deployment", "create", "m", "--deployment-shape", "s", "--accelerator-type", "NVIDIA_L4_24GB"), "a shape"),
        (("bench", "m #d"), "is not a route"),
        (("bench", "--compare", "live-merge", "--model", "a b"), "'a b' is not the name of a model"),
        (("bench", "m", "--rate", "5", "--concurrency", "5"), "exclude each other"),
    ],
)
def test_what_is_wrong_in_itself_is_said_before_a_key_is_missed(cli: Cli, argv: tuple[str, ...], says: str) -> None:
    ran = cli(*argv)
    assert (ran.code, ran.out) == (2, "")
    assert says.replace("a shape", "a deployment shape brings its accelerator") in ran.err
    assert "no API key" not in ran.err


def test_an_update_of_nothing_names_the_help_with_the_flags(cli: Cli, api: Api) -> None:
    for noun in ("deployed-model", "model", "deployment"):
        ran = cli(noun, "update", "x")
        assert (ran.code, ran.err.splitlines()[-1]) == (2, f"Hint: firectl {noun} update --help")
    assert api.asked == []


def test_an_empty_account_is_said_in_the_words_of_the_flag(cli: Cli, api: Api) -> None:
    ran = cli("-a", "", "model", "list")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "Error: --account-id is empty (code = InvalidArgument)")


def test_ctrl_c_while_an_unload_is_waited_for_says_what_goes_on_and_how_to_see_it(cli: Cli, api: Api) -> None:
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
        "accounts/acme/models/m goes on being unloaded without you. "
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


def test_a_key_too_short_to_be_one_is_not_cut_out_of_words(cli: Cli, api: Api) -> None:
    api.on("GET", f"{MINE}/models", {"models": []})
    ran = cli("model", "list", "--api-key", "mod", "--verbose")
    assert ran.err.startswith("GET /v1/accounts/acme/models 200 ")
